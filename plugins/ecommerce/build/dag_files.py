"""
The files from which Airflow makes the DAGs, and which of them have changed since.

Airflow by itself reads a DAG again only after minutes when a file has changed that is not the DAG's own. A run before
that has the sources and the checks of before. Code in `plugins/` takes a restart.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ecommerce.build.dbt_project import DBT_PROJECT, MANIFEST, project_files
from ecommerce.common.shop import PROFILE, PROJECT, VARIABLE, profile_folder

#: The DAG that reads, builds, checks and publishes.
WAREHOUSE_DAG = "ecommerce_warehouse"
#: DAGs whose form offers the shop's sources, and the beginning of the ids of those that read one source each.
_REPLAY_DAG, _EXTRACT_DAGS = "replay_quarantine", "extract_"
#: Names in a sentence.
_NAMED = 3


def files_of_dag(dag_id: str, *, chosen: str | None = None, root: Path = PROJECT) -> list[Path]:
    """
    The files besides the code that decide which tasks and which fields of a form a DAG has.

    :param chosen: the name or folder of the shop's profile; None: the one that `ECOMMERCE_SHOP` chooses
    """
    if dag_id != WAREHOUSE_DAG and dag_id != _REPLAY_DAG and not dag_id.startswith(_EXTRACT_DAGS):
        return []
    files = [profile_folder(chosen or os.environ.get(VARIABLE, "").strip() or "default") / PROFILE]
    if dag_id == WAREHOUSE_DAG:
        files += [
            root / "include" / "quality" / "checks.yml",
            root / MANIFEST.relative_to(PROJECT),
            root / "dags" / f"{WAREHOUSE_DAG}.py",
        ]
    return [path for path in files if path.exists()]


def unparsed_files(dag_id: str, *, root: Path = PROJECT) -> list[Path]:
    """Files of the dbt project that have changed since dbt parsed it; none for a DAG without dbt."""
    manifest = root / MANIFEST.relative_to(PROJECT)
    if dag_id != WAREHOUSE_DAG or not manifest.is_file():
        return []
    parsed_at = manifest.stat().st_mtime
    return [path for path in project_files(root / DBT_PROJECT.relative_to(PROJECT)) if path.stat().st_mtime > parsed_at]


def restart_in_words(started_at: float, *, root: Path = PROJECT) -> str | None:
    """
    That code has changed since Airflow was started; None if it has not.

    Its services and their forks have imported the code, such as the registry of sources, and do not read it again.

    :param started_at: seconds since 1970
    """
    newer = sorted(path for path in (root / "plugins").rglob("*.py") if path.stat().st_mtime > started_at)
    if not newer:
        return None
    return (
        f"{names_of(newer, root=root)} changed after Airflow was started: it still runs the code of "
        "before. To take up the change: make restart"
    )


def names_of(files: Iterable[Path], *, root: Path = PROJECT) -> str:
    """The first files of a list, as paths in the project, and how many more there are."""
    names = [os.path.relpath(path, root) for path in files]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
