"""
A digest of each model, by which a claim knows which of them a change of the dbt project rebuilds.

A model's table is that of its files: its SQL, its entry in YAML, the files of the macros that it uses, and all of that
of the models before it. So its digest has theirs in it, and another digest of one model is another digest of all that
follow. Descriptions, tests, exposures and metrics make no rows, and count for nothing. What may concern any model
counts for each: `dbt_project.yml`, the sources, and macros that dbt itself calls.

The files are read as they are now; only what uses what comes from the manifest. An older manifest does no harm: a model
that begins to use another model or macro has changed itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ecommerce.build.dbt_project import DBT_PROJECT, project_files, read_manifest

#: Keys of an entry in YAML that make no rows.
_WITHOUT_ROWS = {"description", "docs", "tests", "data_tests", "unit_tests", "freshness"}
#: Parts of a file of YAML that make no rows. Models and seeds count for themselves, anything else for all models.
_PARTS_WITHOUT_ROWS = {
    "version", "exposures", "metrics", "semantic_models", "unit_tests", "data_tests", "macros", "groups",
}  # fmt: skip
_NODES = ("models", "seeds")


def model_digests(project: Path = DBT_PROJECT, manifest: Mapping[str, Any] | None = None) -> dict[str, str]:
    """
    Model or seed → a digest of all that its rows are made by, besides data.

    :param manifest: what dbt has parsed of the project; default: the one beside it
    :raises ManifestMissing: this machine does not have it
    """
    manifest = manifest or read_manifest()
    files = _Files(project)
    nodes = {
        unique_id: node for unique_id, node in manifest["nodes"].items() if node["resource_type"] in ("model", "seed")
    }
    macros_of = {unique_id: _macros_of(node, manifest["macros"]) for unique_id, node in nodes.items()}
    used = {manifest["macros"][name]["original_file_path"] for names in macros_of.values() for name in names}
    for_all = _digest([files.for_all, *(files.content(path) for path in _other_macros(manifest, used))]).encode()

    @cache
    def digest_of(unique_id: str) -> str:
        node = nodes[unique_id]
        macros = {manifest["macros"][name]["original_file_path"] for name in macros_of[unique_id]}
        parents = sorted(parent for parent in node["depends_on"].get("nodes", ()) if parent in nodes)
        return _digest(
            [
                for_all,
                files.content(node["original_file_path"]),
                files.entries.get(node["name"], b""),
                *(files.content(path) for path in sorted(macros)),
                *(digest_of(parent).encode() for parent in parents),
            ]
        )

    return {node["name"]: digest_of(unique_id) for unique_id, node in nodes.items()}


def _macros_of(node: Mapping[str, Any], macros: Mapping[str, Any]) -> set[str]:
    """The project's macros that a model uses, directly or by others."""
    found: set[str] = set()
    waiting = list(node["depends_on"].get("macros", ()))
    while waiting:
        name = waiting.pop()
        if name not in found and name in macros:
            found.add(name)
            waiting += macros[name]["depends_on"]["macros"]
    return {name for name in found if macros[name]["package_name"] == node["package_name"]}


def _other_macros(manifest: Mapping[str, Any], used: set[str]) -> Iterator[str]:
    """The files with macros that no model uses: dbt calls them, for any model. Those with tests only make no rows."""
    project = manifest["metadata"]["project_name"]
    names_by_file: dict[str, list[str]] = {}
    for macro in manifest["macros"].values():
        if macro["package_name"] == project:
            names_by_file.setdefault(macro["original_file_path"], []).append(macro["name"])
    for path, names in sorted(names_by_file.items()):
        if path not in used and not all(name.startswith("test_") for name in names):
            yield path


class _Files:
    """
    The files of a project.

    :ivar entries: model or seed → what YAML says of its rows
    :ivar for_all: what counts for each model
    """

    def __init__(self, project: Path) -> None:
        self._project = project
        self.entries: dict[str, bytes] = {}
        for_all = [self.content("dbt_project.yml")]
        for path in project_files(project):
            if path.suffix in (".yml", ".yaml") and path.name not in ("dbt_project.yml", "profiles.yml"):
                for part, content in (yaml.safe_load(path.read_text()) or {}).items():
                    if part in _NODES:
                        self.entries |= {entry["name"]: _canonical(entry) for entry in content}
                    elif part not in _PARTS_WITHOUT_ROWS:
                        for_all.append(_canonical({part: content}))
        self.for_all = _digest(for_all).encode()

    def content(self, path: str) -> bytes:
        """A file's content; nothing of one that is gone."""
        file = self._project / path
        return file.read_bytes() if file.is_file() else b""


def _canonical(entry: Any) -> bytes:
    return json.dumps(_with_rows(entry), sort_keys=True, default=str).encode()


def _with_rows(value: Any) -> Any:
    """The value without what makes no rows."""
    if isinstance(value, dict):
        return {name: _with_rows(part) for name, part in value.items() if name not in _WITHOUT_ROWS}
    return [_with_rows(part) for part in value] if isinstance(value, list) else value


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.hexdigest()[:32]
