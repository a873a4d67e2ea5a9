"""Where the dbt project lies, what dbt has parsed of it, and a digest that tells one version of it from another."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

from ecommerce.common.errors import ManifestMissing

DBT_PROJECT = Path(__file__).parents[3] / "include" / "dbt"
MANIFEST = DBT_PROJECT / "target" / "manifest.json"

#: Profile and target by which Airflow builds. dbt's parse of the project is good for these names only.
DBT_PROFILE, DBT_TARGET = "ecommerce", "airflow"

_FOLDERS_OF_DBT = {"target", "logs", "dbt_packages"}
_SUFFIXES = {".sql", ".yml", ".yaml", ".md", ".csv", ".py"}


def project_files(project: Path | None = None) -> list[Path]:
    """Every file of the project that people write, sorted by path."""
    project = project or DBT_PROJECT
    return sorted(
        path
        for path in project.rglob("*")
        if path.suffix in _SUFFIXES and not _FOLDERS_OF_DBT & set(path.relative_to(project).parts)
    )


def manifest_file() -> Path:
    """
    The file `manifest.json`, with what dbt has parsed of the project.

    :raises ManifestMissing: this machine does not have it
    """
    if not MANIFEST.is_file():
        raise ManifestMissing(
            f"{MANIFEST} is missing on {socket.gethostname()}, so the tasks of the models are not known there. dbt "
            "writes it: `dbt parse` in include/dbt. `make up` and the Dockerfile do so; a worker with files of its own "
            "needs it as well"
        )
    return MANIFEST


def read_manifest() -> dict[str, Any]:
    """
    What dbt has parsed of the project.

    :raises ManifestMissing: this machine does not have it
    """
    content: dict[str, Any] = json.loads(manifest_file().read_text())
    return content


def project_digest(project: Path | None = None) -> str:
    """A digest of the project's files: another one after any change of them."""
    project = project or DBT_PROJECT
    digest = hashlib.sha256()
    for path in project_files(project):
        digest.update(f"{path.relative_to(project)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
