"""
The dbt project as people read it: models, columns, tests, owners, lineage.

From the manifest that Airflow renders the DAG from, so it is never of another version than what runs, beside what the
last run did to each model. dbt's own site is one page of inline script, which the pages' security policy forbids.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecommerce.build.dbt_project import MANIFEST

LAYERS = ("raw", "staging", "core", "marts")

#: What the latest builds did to each model.
REBUILDS = """
    select distinct on (model) model, run_id, period, rows_inserted, rows_deleted, rebuilt_at
    from ops.rebuild
    order by model, rebuilt_at desc"""

#: What was last judged of each subject, the tests of dbt among them where runs write them down.
JUDGED = """
    select distinct on (check_name, subject) check_name, subject, status, message, checked_at
    from ops.check_result
    order by check_name, subject, check_result_id desc"""

_NODE_WIDTH, _NODE_HEIGHT, _GAP_X, _GAP_Y = 210, 30, 60, 12


@dataclass(frozen=True)
class Test:
    """A test of a model, with the column it is about."""

    name: str
    column: str
    severity: str


@dataclass
class Model:
    """A model, or a source table."""

    unique_id: str
    name: str
    layer: str
    folder: str
    description: str
    owner: str
    materialized: str
    path: str
    code: str
    columns: list[dict[str, str]]
    parents: list[str]
    children: list[str] = field(default_factory=list)
    tests: list[Test] = field(default_factory=list)
    exposures: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Project:
    """All models by name, as of one manifest."""

    models: Mapping[str, Model]
    generated_at: str

    def by_layer(self) -> dict[str, list[Model]]:
        """In the order in which data goes through them."""
        return {
            layer: sorted((m for m in self.models.values() if m.layer == layer), key=lambda model: model.name)
            for layer in LAYERS
        }


_lock = threading.Lock()
_read: tuple[float, Project] | None = None


def project(path: Path = MANIFEST) -> Project:
    """
    The project of the manifest, read again when the file is another.

    :raises FileNotFoundError: dbt has not parsed the project yet
    """
    global _read
    with _lock:
        at = path.stat().st_mtime
        if _read is None or _read[0] != at:
            _read = (at, _project(json.loads(path.read_text())))
        return _read[1]


def _project(manifest: Mapping[str, Any]) -> Project:
    nodes = {**manifest["nodes"], **manifest["sources"]}
    found = {
        unique_id: _model(unique_id, node)
        for unique_id, node in nodes.items()
        if node["resource_type"] in ("model", "source")
    }
    for node in manifest["nodes"].values():
        if node["resource_type"] == "model":
            for parent in node["depends_on"]["nodes"]:
                if parent in found:
                    found[parent].children.append(node["unique_id"])
        elif node["resource_type"] == "test":
            of = node.get("attached_node") or next(iter(node["depends_on"]["nodes"]), None)
            if of in found:
                test = Test(node["name"], node.get("column_name") or "", str(node["config"].get("severity", "error")))
                found[of].tests.append(test)
    for unit in manifest.get("unit_tests", {}).values():
        for of in unit["depends_on"]["nodes"]:
            if of in found and found[of].name == unit["model"]:
                found[of].tests.append(Test(unit["name"], "", "unit test"))
    for exposure in manifest["exposures"].values():
        for of in exposure["depends_on"]["nodes"]:
            if of in found:
                found[of].exposures.append(
                    {
                        "label": exposure.get("label") or exposure["name"],
                        "owner": exposure["owner"].get("name") or "",
                        "description": exposure.get("description") or "",
                    }
                )
    for model in found.values():
        model.tests.sort(key=lambda test: (test.column, test.name))
        model.parents = [found[parent].name for parent in model.parents if parent in found]
        model.children = sorted(found[child].name for child in model.children)
    return Project({m.name: m for m in found.values()}, str(manifest["metadata"].get("generated_at") or ""))


def _model(unique_id: str, node: Mapping[str, Any]) -> Model:
    is_source = node["resource_type"] == "source"
    folders = node["fqn"][1:-1]
    owner = (node.get("meta") or node.get("config", {}).get("meta") or {}).get("owner", "")
    return Model(
        unique_id=unique_id,
        name=f"raw.{node['name']}" if is_source else node["name"],
        layer="raw" if is_source else folders[0],
        folder=" / ".join(folders),
        description=node.get("description") or "",
        owner=owner,
        materialized="table" if is_source else node["config"]["materialized"],
        path=node.get("original_file_path", ""),
        code=node.get("raw_code") or "",
        columns=[
            {"name": column["name"], "type": column.get("data_type") or "", "text": column.get("description") or ""}
            for column in node["columns"].values()
        ],
        parents=list(node.get("depends_on", {}).get("nodes", [])),
    )


def lineage(models: Mapping[str, Model], name: str) -> dict[str, Any]:
    """
    A picture of all that a model is made of and all that is made of it, from left to right.

    Each stands one column right of the rightmost it is made of.
    """
    kept = {name} | _reached(models, name, "parents") | _reached(models, name, "children")
    depth: dict[str, int] = {}

    def place(of: str) -> int:
        if of not in depth:
            depth[of] = 1 + max((place(parent) for parent in models[of].parents if parent in kept), default=-1)
        return depth[of]

    for one in kept:
        place(one)
    lanes: dict[int, list[str]] = {}
    for one in sorted(kept):
        lanes.setdefault(depth[one], []).append(one)
    tallest = max(len(lane) for lane in lanes.values())
    boxes: dict[str, dict[str, Any]] = {}
    for lane, names in lanes.items():
        offset = (tallest - len(names)) * (_NODE_HEIGHT + _GAP_Y) / 2
        for n, one in enumerate(names):
            boxes[one] = {
                "name": one,
                "x": lane * (_NODE_WIDTH + _GAP_X) + 2,
                "y": round(offset + n * (_NODE_HEIGHT + _GAP_Y)) + 2,
                "is_own": one == name,
                "layer": models[one].layer,
            }
    paths = []
    for one in kept:
        for parent in models[one].parents:
            if parent in kept:
                start, end = boxes[parent], boxes[one]
                x1, y1 = start["x"] + _NODE_WIDTH, start["y"] + _NODE_HEIGHT / 2
                x2, y2 = end["x"], end["y"] + _NODE_HEIGHT / 2
                middle = (x1 + x2) / 2
                paths.append(f"M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}")
    return {
        "boxes": sorted(boxes.values(), key=lambda box: (box["x"], box["y"])),
        "paths": paths,
        "width": (max(lanes) + 1) * (_NODE_WIDTH + _GAP_X) - _GAP_X + 4,
        "height": tallest * (_NODE_HEIGHT + _GAP_Y) - _GAP_Y + 4,
        "node_width": _NODE_WIDTH,
        "node_height": _NODE_HEIGHT,
    }


def _reached(models: Mapping[str, Model], name: str, direction: str) -> set[str]:
    found: set[str] = set()
    waiting = list(getattr(models[name], direction))
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += getattr(models[one], direction)
    return found
