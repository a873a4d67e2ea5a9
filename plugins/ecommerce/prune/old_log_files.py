"""Deletes old log files of tasks on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from stat import S_ISREG

from ecommerce.prune.pruning import Pruned
from ecommerce.prune.retention_file import AIRFLOW_LOGS


def prune_logs(folder: Path, before: datetime, *, dry_run: bool = False) -> Pruned:
    """
    Delete the logs below Airflow's folder of logs that nobody has written to since; files, and their bytes.

    Only in its subfolders, where Airflow writes those of tasks and DAG files: a file right in the folder is that of a
    service, which has it open. Links are not followed.
    """
    files = size = 0
    for path, length in _old_files(folder, before):
        files, size = files + 1, size + length
        if not dry_run:
            path.unlink(missing_ok=True)
            _remove_empty_folders(path.parent, folder)
    return Pruned(AIRFLOW_LOGS, files, size, before)


def _old_files(folder: Path, before: datetime) -> Iterator[tuple[Path, int]]:
    for name, _, files in os.walk(folder, topdown=False):
        for path in (Path(name, file) for file in sorted(files) if Path(name) != folder and ".log" in file):
            # Another process may delete it, too.
            with suppress(FileNotFoundError):
                status = path.lstat()
                if S_ISREG(status.st_mode) and status.st_mtime < before.timestamp():
                    yield path, status.st_size


def _remove_empty_folders(emptied: Path, folder: Path) -> None:
    """Remove a folder that has lost its last file, and those around it."""
    # One that is not empty, or is filled at this moment.
    with suppress(OSError):
        while emptied != folder:
            emptied.rmdir()
            emptied = emptied.parent
