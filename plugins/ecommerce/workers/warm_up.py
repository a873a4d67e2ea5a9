"""
What every task imports, loaded once before workers fork, and dbt's own preparations, made once.

A task runs in a process of its own. Forked from one that has imported nothing, it pays about five seconds for
Airflow's task runner, Cosmos and dbt before its first line runs; forked from a warm one it pays nothing, and the pages
of what was imported are shared. With LocalExecutor the workers are forks of the scheduler. Off with
``ECOMMERCE_WARM_WORKERS=off``.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path

from dbt_triggerer.errors import BuildError
from dbt_triggerer.invocation import PARSED
from ecommerce.build.dbt_project import DBT_PROJECT, MANIFEST

log = logging.getLogger(__name__)

#: In the order in which a task comes to need them.
MODULES = (
    # Airflow's side of a task.
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.sdk.execution_time.secrets.execution_api",
    "airflow.sdk.execution_time.cache",
    "airflow.sdk.definitions.connection",
    "airflow.sdk.api.client",
    "airflow.dag_processing.dagbag",
    "airflow.dag_processing.bundles.manager",
    "airflow.dag_processing.bundles.local",
    "airflow.providers.standard.operators.empty",
    # What the DAG files import, and our operators when they run.
    "dbt_triggerer.task_group",
    "dbt_triggerer.tasks",
    "ecommerce.build.warehouse_group",
    "ecommerce.build.claim_dirty_dates",
    "ecommerce.load.extract_source",
    "ecommerce.audit.quality_check",
    "ecommerce.publish.refresh_marts",
    "ecommerce.extract.resolve_window",
    "cosmos",
    "cosmos.converter",
    "cosmos.airflow.task_group",
    "cosmos.operators.local",
    "cosmos.profiles",
    # dbt, for the task that builds.
    "dbt.cli.main",
    "dbt.task.build",
    "dbt.adapters.postgres.impl",
    "dbt_common.clients.agate_helper",
    "google.protobuf.json_format",
    "multiprocessing.dummy",
)


def is_wanted() -> bool:
    """Whether the setting leaves it on."""
    return os.environ.get("ECOMMERCE_WARM_WORKERS", "on").lower() not in ("off", "0", "false", "no")


def warm_up() -> None:
    """
    Import what tasks import, let dbt parse once, and have workers free as soon as their tasks are.

    Only ever saves time: what fails here is named in the log, and fails the tasks that need it with its own message.
    """
    started = time.monotonic()
    for module in MODULES:
        try:
            importlib.import_module(module)
        except ImportError as error:
            log.warning("workers start without %s: %s", module, error)
    try:
        _parse_once()
    except Exception as error:
        log.warning("workers start with a dbt that has parsed nothing: %s", error)
    _keep_shared()
    # Imports what a task imports, so not where warming is off.
    from dbt_triggerer.airflow_internals import refine_workers

    refine_workers()
    log.info("workers start warm: %d modules in %.1f s", len(MODULES), time.monotonic() - started)


def _keep_shared() -> None:
    """
    Keep the pages of what was imported shared with the workers.

    The first full garbage collection after the fork would write to each object's header, and so give the scheduler a
    copy of all of them, over 100 MB. LocalExecutor freezes the objects while it forks and thaws them right after; the
    first full collection freezes them again instead of looking at them.
    """
    is_forked = False

    def note_fork() -> None:
        nonlocal is_forked
        is_forked = True

    def freeze_once(phase: str, info: dict[str, int]) -> None:
        if is_forked and phase == "start" and info["generation"] == 2:
            gc.callbacks.remove(freeze_once)
            gc.freeze()

    os.register_at_fork(after_in_parent=note_fork)
    gc.callbacks.append(freeze_once)


def _parse_once() -> None:
    """
    Parse the project and throw the outcome away.

    dbt generates the code that reads and writes its classes when they are first used, which in a build is a good part
    of the time before its first node. No connection is made: the profile is the project's own, with its defaults.
    """
    from dbt.adapters.factory import reset_adapters
    from dbt.cli.main import dbtRunner

    with tempfile.TemporaryDirectory(prefix="dbt-") as folder:
        parsed = MANIFEST.with_name(PARSED)
        if parsed.exists():
            shutil.copyfile(parsed, Path(folder) / PARSED)
        outcome = dbtRunner().invoke(
            [
                *("--quiet", "parse", "--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)),
                *("--target-path", folder, "--log-path", folder, "--log-level-file", "none"),
            ]
        )
    if outcome.exception is not None:
        raise BuildError(str(outcome.exception))
    # The adapter's locks are the machine's, and go when nothing holds it.
    reset_adapters()
    gc.collect()
