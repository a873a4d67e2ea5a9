"""From when on a run's deadline counts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk.definitions.deadline import BaseDeadlineReference


class RunCreated(BaseDeadlineReference):
    """
    When the run was made, which is when it was queued.

    Airflow's own `DAGRUN_QUEUED_AT` says the same, but a run that has it cannot be cleared in Airflow 3.3.2
    (apache/airflow#70368): the API answers 500. This one stays where it was when a run is cleared.
    """

    def _evaluate_with(self, *, session: Any, **_: Any) -> datetime:
        # CheckContext for while the run is made.
        return datetime.now(UTC)
