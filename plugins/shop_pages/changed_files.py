"""
Airflow reads files that have changed before somebody starts a run by a form: the run is as the files say now.

Without it such a run would have the sources and checks of before for some minutes, and fail late and in riddles.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from fastapi import HTTPException, Request

from ecommerce.build.dag_files import files_of_dag, names_of, restart_in_words, unparsed_files
from ecommerce.common.shown_text import one_line
from shop_pages.access import may_trigger
from shop_pages.airflow_access import UnknownDag, ask_to_read, dag_reading, user_of
from shop_pages.limits import READ_FILES_AGAIN_SECONDS, READ_FILES_POLL_SECONDS, READ_FILES_SECONDS

_STARTED_AT = time.time()
#: Characters of an error in a sentence.
_ERROR_LENGTH = 400


class FilesNotRead(Exception):
    """Airflow does not have the DAG of the files as they are now; the message says what to do."""


async def read_changed_files(dag_id: str, *, seconds: float = READ_FILES_SECONDS) -> None:
    """
    Wait until Airflow has read the files that a DAG is made from, if one has changed; returns at once if none has.

    :raises UnknownDag: Airflow has no such DAG
    :raises FilesNotRead: it could not read them, has not in this time, or dbt has to parse its project first
    """
    if unparsed := await asyncio.to_thread(unparsed_files, dag_id):
        raise FilesNotRead(
            f"{names_of(unparsed)} changed after dbt had parsed the project, so a run would not have all of its tasks. "
            "So no run is started. Start it by make run, which lets dbt parse the project first; or run dbt parse in "
            "include/dbt, then start the run again."
        )
    asked_at = datetime.now(UTC)
    changed = await asyncio.to_thread(_changed_files, dag_id, asked_at)
    deadline, asks_again_at = time.monotonic() + seconds, 0.0
    while newer := await asyncio.to_thread(_still_newer, dag_id, changed):
        error_at, error = (await asyncio.to_thread(dag_reading, dag_id)).error or (None, "")
        if error_at and error_at >= asked_at:
            raise FilesNotRead(
                f"{names_of(newer)} changed, and Airflow cannot read the DAG since: {one_line(error, _ERROR_LENGTH)}. "
                "So no run is started. Correct the file, then start the run again."
                + (f" {restart}" if (restart := await asyncio.to_thread(restart_needed)) else "")
            )
        if time.monotonic() > deadline:
            raise FilesNotRead(
                f"{names_of(newer)} changed, and Airflow has not read the DAG again within {seconds:.0f} s. So no run "
                "is started. Start it again in half a minute; if this stays, look whether Airflow's DAG processor runs."
            )
        if time.monotonic() >= asks_again_at:
            await asyncio.to_thread(ask_to_read, dag_id)
            # A reading soon after the one before may not have counted.
            asks_again_at = time.monotonic() + READ_FILES_AGAIN_SECONDS
        await asyncio.sleep(READ_FILES_POLL_SECONDS)


async def problem_with_files(request: Request, dag_id: str) -> str | None:
    """
    Why Airflow itself may not start a run of a DAG now; None if it may, or if this user may not start one anyway.

    It asks Airflow to read changed files, and waits for it.
    """
    try:
        user = await user_of(request)
        if await asyncio.to_thread(may_trigger, dag_id, user):
            await read_changed_files(dag_id)
    except FilesNotRead as problem:
        return str(problem)
    except (HTTPException, UnknownDag):
        # Airflow answers these itself.
        return None
    return None


def restart_needed() -> str | None:
    """That code has changed since this server was started; None if it has not."""
    return restart_in_words(_STARTED_AT)


def _changed_files(dag_id: str, now: datetime) -> Mapping[Path, datetime]:
    """File of the DAG → when it changed; a time in the future, as of another machine's clock, counts as now."""
    changed = {path: datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in files_of_dag(dag_id)}
    return _still_newer(dag_id, {path: min(changed_at, now) for path, changed_at in changed.items()})


def _still_newer(dag_id: str, changed: Mapping[Path, datetime]) -> Mapping[Path, datetime]:
    if not changed:
        return {}
    read_at = dag_reading(dag_id).read_at
    return {path: changed_at for path, changed_at in changed.items() if read_at is None or changed_at > read_at}
