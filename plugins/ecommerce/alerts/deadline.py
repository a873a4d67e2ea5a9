"""The reference of the warehouse's deadline: when a run was created."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk.definitions.deadline import BaseDeadlineReference


class RunCreated(BaseDeadlineReference):
    """
    A deadline that counts from the creation of a run, which is when it was queued.

    Airflow's own `DAGRUN_QUEUED_AT` means the same, but a run that has it cannot be cleared in Airflow 3.3.2
    (apache/airflow#70368): the API answers 500. This deadline does not move when a run is cleared.
    """

    def _evaluate_with(self, *, session: Any, **_: Any) -> datetime:
        # Airflow calls this while it creates the run.
        return datetime.now(UTC)
