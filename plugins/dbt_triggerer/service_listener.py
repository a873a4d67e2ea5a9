"""Prepare Airflow's own processes as they start: warm workers, and the patches of the triggerer."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from airflow.configuration import conf
from airflow.listeners import hookimpl


class ServiceListener:
    """
    An Airflow listener for a plugin: warms a scheduler that forks its workers, and patches the triggerer.

    :param before_fork: called in the scheduler before its workers are forked, usually `warm_up` with a dbt project
    :param triggers_without_dag: class paths of further triggers (`BuildWatcher`) that need nothing of their DAG
    """

    def __init__(
        self, *, before_fork: Callable[[], None] | None = None, triggers_without_dag: Sequence[str] = ()
    ) -> None:
        self._before_fork = before_fork
        self._triggers_without_dag = tuple(triggers_without_dag)

    @hookimpl
    def on_starting(self, component: Any) -> None:
        """Called by Airflow in each of its processes, once."""
        # Also called in tasks, whose component is no job. A job does not know its own type as early as this; the
        # command line does.
        if type(component).__name__ != "Job" or Path(sys.argv[0]).name not in ("airflow", "__main__.py"):
            return
        if "scheduler" in sys.argv[1:2]:
            # With another executor no worker is a fork of the scheduler.
            if self._before_fork is not None and "LocalExecutor" in conf.get("core", "executor"):
                self._before_fork()
        elif "triggerer" in sys.argv[1:2]:
            from dbt_triggerer.airflow_internals import patch_triggerer

            patch_triggerer(*self._triggers_without_dag)
            # The process that runs triggers is a fork: a garbage collection of either would copy what they share.
            gc.freeze()
