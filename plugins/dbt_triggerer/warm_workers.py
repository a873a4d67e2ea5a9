"""
Import what tasks need once, before workers are forked, and let dbt make its own preparations once.

A task runs in a process of its own. Forked from one that has imported nothing, it takes about five seconds for
Airflow's task runner, Cosmos and dbt before its first line runs; forked from a warm one it takes none, and the memory
of what was imported is shared. With LocalExecutor the workers are forks of the scheduler.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dbt_triggerer.errors import BuildError
from dbt_triggerer.invocation import PARSED

if TYPE_CHECKING:
    from cosmos import ProfileConfig

log = logging.getLogger(__name__)

#: What every task of a DAG with a dbt task group imports, in the order in which it needs them.
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
    # What the DAG file imports.
    "dbt_triggerer.task_group",
    "dbt_triggerer.tasks",
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


def warm_up(*, project: Path, profile: ProfileConfig | None = None, modules: Sequence[str] = ()) -> None:
    """
    Import what tasks import, let dbt parse once, and patch the workers. To be called before workers are forked.

    Only ever saves time: what fails here is named in the log, and the tasks that need it fail with their own message.

    :param project: the folder of the dbt project, with its `profiles.yml`
    :param profile: that of the DAG: its names choose the profile and the target of `profiles.yml`
    :param modules: what the tasks import besides `MODULES`: the operators of the DAG
    """
    started = time.monotonic()
    names = (*MODULES, *modules)
    for module in names:
        try:
            importlib.import_module(module)
        except ImportError as error:
            log.warning("workers start without %s: %s", module, error)
    try:
        parse_once(project, profile)
    except Exception as error:
        log.warning("workers start without a parsed dbt project: %s", error)
    keep_pages_shared()
    # Imports what a task imports, so not where warming is off.
    from dbt_triggerer.airflow_internals import patch_workers

    patch_workers()
    log.info("workers start warm: %d modules in %.1f s", len(names), time.monotonic() - started)


def parse_once(project: Path, profile: ProfileConfig | None = None) -> None:
    """
    Parse the project and throw the result away.

    dbt generates the code that reads and writes its classes when they are first used, which in a build is a good part
    of the time before its first node. No connection is made: the profile is the project's own, with its defaults.

    :raises BuildError: dbt cannot parse the project
    """
    from dbt.adapters.factory import reset_adapters
    from dbt.cli.main import dbtRunner

    with tempfile.TemporaryDirectory(prefix="dbt-") as folder:
        parsed = project / "target" / PARSED
        if parsed.exists():
            shutil.copyfile(parsed, Path(folder) / PARSED)
        outcome = dbtRunner().invoke(
            [
                *("--quiet", "parse", "--project-dir", str(project), "--profiles-dir", str(project)),
                *("--target-path", folder, "--log-path", folder, "--log-level-file", "none"),
                *(("--profile", profile.profile_name, "--target", profile.target_name) if profile else ()),
                # dbt's static parser starts threads, and a fork has none of them: a `dbt build` in a forked worker
                # would wait for them for ever.
                "--no-static-parser",
            ]
        )
    if outcome.exception is not None:
        raise BuildError(str(outcome.exception))
    # The adapter's locks are shared with all processes of the machine, and are released when nothing refers to them.
    reset_adapters()
    gc.collect()


def keep_pages_shared() -> None:
    """
    Keep the memory of what was imported shared with the workers.

    The first full garbage collection after the fork would write to each object's header, and so give the scheduler a
    copy of all of them, over 100 MB. LocalExecutor freezes the objects while it forks and thaws them right after; the
    first full collection freezes them again instead of collecting.
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
