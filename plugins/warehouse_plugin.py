"""What this project adds to Airflow's own processes, by the hook that Airflow has for it."""

import gc
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin


class Lifecycle:
    """Hears of a process of Airflow that is about to start its work."""

    @hookimpl
    def on_starting(self, component: Any) -> None:
        """Warm the scheduler before it forks its workers, and teach the triggerer about dbt's nodes."""
        # Heard in tasks as well, whose component is no job. A job does not know its own type as early as this; the
        # command line does.
        if type(component).__name__ != "Job" or Path(sys.argv[0]).name not in ("airflow", "__main__.py"):
            return
        if "scheduler" in sys.argv[1:2]:
            from ecommerce.workers.warm_up import is_wanted, warm_up

            if is_wanted():
                warm_up()
        elif "triggerer" in sys.argv[1:2]:
            from dbt_triggerer.airflow_internals import refine_triggerer

            refine_triggerer("ecommerce.audit.quality_trigger.QualityTrigger")
            # The process that runs triggers is a fork: a garbage collection of either would copy what they share.
            gc.freeze()


class WarehousePlugin(AirflowPlugin):
    """The plugin."""

    name = "ecommerce_warehouse"
    listeners = [Lifecycle()]  # noqa: RUF012 – as Airflow declares it

    @cached_property
    def deadline_references(self) -> list[Any]:  # type: ignore[override]
        """From when on a deadline counts, for whoever makes runs; others never ask."""
        from ecommerce.alerts.deadline import RunCreated

        return [RunCreated]
