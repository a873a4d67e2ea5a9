"""
What this project adds to Airflow's own processes: warm workers, faster triggerers, what deadlines count from, and that
nobody keeps whom a run has erased.
"""

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from dbt_triggerer import ServiceListener
from ecommerce.erase.run_conf import ForgetCustomer


def warm_workers() -> None:
    """Import what tasks import, unless the setting turns it off; nothing of it is imported before this is called."""
    from ecommerce.workers.warm_up import is_wanted, warm_up

    if is_wanted():
        warm_up()


class WarehousePlugin(AirflowPlugin):
    """The plugin that every process of Airflow loads."""

    name = "ecommerce_warehouse"
    listeners = [  # noqa: RUF012 – as Airflow declares it
        ServiceListener(
            before_fork=warm_workers,
            triggers_without_dag=("ecommerce.audit.quality_trigger.QualityTrigger",),
        ),
        ForgetCustomer(),
    ]

    @cached_property
    def deadline_references(self) -> list[Any]:  # type: ignore[override]
        """From when on a deadline counts; only processes that make runs ask for it."""
        from ecommerce.alerts.deadline import RunCreated

        return [RunCreated]
