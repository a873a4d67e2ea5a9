"""
The dbt project for readers: models, columns, tests, owners and lineage.

Read from the manifest from which Airflow renders the DAG, so that it always shows the version that runs, together with
the last build of each model. dbt's own site is one page of inline script, which the pages' security policy forbids.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ecommerce.build.dbt_project import MANIFEST
from shop_pages.limits import SHOWN_CHARACTERS

LAYERS = ("raw", "staging", "core", "marts")

#: The last build of each model.
LAST_BUILDS = """
    select distinct on (model) model, run_id, period, rows_inserted, rows_deleted, rebuilt_at
    from ops.rebuild
    order by model, rebuilt_at desc"""

#: The last result of each check, dbt's tests included if runs record them.
LAST_CHECKS = f"""
    select distinct on (check_name, subject)
        check_name, subject, status, left(message, {SHOWN_CHARACTERS}) as message, checked_at
    from ops.check_result
    order by check_name, subject, check_result_id desc"""


@dataclass(frozen=True)
class DbtTest:
    """A test of a model, with the column it tests."""

    name: str
    column: str
    severity: str


@dataclass
class ModelDocs:
    """A model, or a source table; parents and children by name."""

    name: str
    layer: str
    folder: str
    description: str
    owner: str
    materialized: str
    path: str
    code: str
    columns: list[dict[str, str]]
    parents: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    tests: list[DbtTest] = field(default_factory=list)
    exposures: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class ProjectDocs:
    """All models by name, from one manifest."""

    models: Mapping[str, ModelDocs]
    generated_at: datetime | None

    def by_layer(self) -> dict[str, list[ModelDocs]]:
        """Each layer, in the order in which data passes them, with its models by name."""
        models = sorted(self.models.values(), key=lambda model: model.name)
        return {layer: [model for model in models if model.layer == layer] for layer in LAYERS}


_lock = threading.Lock()
_cached: tuple[float, ProjectDocs] | None = None


def read_project(path: Path = MANIFEST) -> ProjectDocs:
    """
    The project of the manifest, read again when the file has changed.

    :raises FileNotFoundError: dbt has not parsed the project yet
    """
    global _cached
    with _lock:
        changed_at = path.stat().st_mtime
        if _cached is None or _cached[0] != changed_at:
            _cached = (changed_at, parse_manifest(json.loads(path.read_text())))
        return _cached[1]


def parse_manifest(manifest: Mapping[str, Any]) -> ProjectDocs:
    """The models and sources of a manifest, with their tests, exposures and lineage."""
    nodes = {**manifest["nodes"], **manifest["sources"]}
    models = {
        unique_id: _model(node)
        for unique_id, node in nodes.items()
        if node["resource_type"] in ("model", "source", "seed")
    }
    _add_lineage(models, nodes)
    _add_tests(models, manifest)
    _add_exposures(models, manifest["exposures"].values())
    by_name = {model.name: model for model in models.values()}
    generated_at = manifest["metadata"].get("generated_at")
    return ProjectDocs(by_name, datetime.fromisoformat(generated_at) if generated_at else None)


def _model(node: Mapping[str, Any]) -> ModelDocs:
    is_source = node["resource_type"] == "source"
    # A seed lies in no folder: its layer is its schema.
    folders = node["fqn"][1:-1] or [node["schema"]]
    meta = node.get("meta") or node.get("config", {}).get("meta") or {}
    return ModelDocs(
        name=f"raw.{node['name']}" if is_source else node["name"],
        layer="raw" if is_source else folders[0],
        folder=" / ".join(folders),
        description=node.get("description") or "",
        owner=meta.get("owner", ""),
        materialized="table" if is_source else node["config"]["materialized"],
        path=node.get("original_file_path", ""),
        code=node.get("raw_code") or "",
        columns=[_column(column) for column in node["columns"].values()],
    )


def _column(column: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": column["name"],
        "type": column.get("data_type") or "",
        "description": column.get("description") or "",
    }


def _add_lineage(models: Mapping[str, ModelDocs], nodes: Mapping[str, Mapping[str, Any]]) -> None:
    for unique_id, model in models.items():
        for parent in _parents(models, nodes[unique_id]):
            model.parents.append(parent.name)
            parent.children.append(model.name)
    for model in models.values():
        model.children.sort()


def _parents(models: Mapping[str, ModelDocs], node: Mapping[str, Any]) -> Iterator[ModelDocs]:
    """Models and sources that a node depends on."""
    for unique_id in node.get("depends_on", {}).get("nodes", []):
        if unique_id in models:
            yield models[unique_id]


def _add_tests(models: Mapping[str, ModelDocs], manifest: Mapping[str, Any]) -> None:
    for node in manifest["nodes"].values():
        if node["resource_type"] == "test":
            model = models.get(node.get("attached_node") or next(iter(node["depends_on"]["nodes"]), ""))
            if model is not None:
                severity = str(node["config"].get("severity", "error"))
                model.tests.append(DbtTest(node["name"], node.get("column_name") or "", severity))
    for unit_test in manifest.get("unit_tests", {}).values():
        for model in _parents(models, unit_test):
            if model.name == unit_test["model"]:
                model.tests.append(DbtTest(unit_test["name"], "", "unit test"))
    for model in models.values():
        model.tests.sort(key=lambda test: (test.column, test.name))


def _add_exposures(models: Mapping[str, ModelDocs], exposures: Any) -> None:
    for exposure in exposures:
        docs = {
            "label": exposure.get("label") or exposure["name"],
            "owner": exposure["owner"].get("name") or "",
            "description": exposure.get("description") or "",
        }
        for model in _parents(models, exposure):
            model.exposures.append(docs)
