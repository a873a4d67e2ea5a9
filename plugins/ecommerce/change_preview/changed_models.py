"""
Which models a change touches, and which are made of them.

dbt's own comparison (`state:modified`) is used for what a model's file and YAML say. It is not enough: it does not look
at the vars of `dbt_project.yml` and at materializations, and it can overlook a macro that is called by another one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

_BUILT = ("model", "seed")


def built_nodes(manifest: Manifest) -> dict[str, Any]:
    """What dbt builds of a project, by its id: models and seeds."""
    return {key: node for key, node in manifest.nodes.items() if node.resource_type in _BUILT}


def marts_of(manifest: Manifest) -> dict[str, str]:
    """The marts of a project: id → name."""
    return {key: node.name for key, node in built_nodes(manifest).items() if node.schema == "marts_build"}


def changed_nodes(before: Manifest, after: Manifest, changed_vars: Collection[str]) -> set[str]:
    """
    The ids of models and seeds that are new, or would be built in another way than before.

    :param changed_vars: names of the project's vars whose values differ
    """
    changed_macros = {key for key in {*before.macros, *after.macros} if _code(before, key) != _code(after, key)}
    uses_changed_var = _pattern(changed_vars)
    old_nodes = built_nodes(before)
    return {
        key
        for key, node in built_nodes(after).items()
        if key not in old_nodes
        or not node.same_contents(old_nodes[key], "postgres")
        or _uses(after, node, changed_macros, uses_changed_var)
    }


def with_followers(manifest: Manifest, keys: Collection[str]) -> set[str]:
    """Those of these models that the project has, and all that are made of them."""
    return _reachable(manifest.child_map, manifest, keys)


def with_origins(manifest: Manifest, keys: Collection[str]) -> set[str]:
    """Those of these models that the project has, and all that they are made of."""
    return _reachable(manifest.parent_map, manifest, keys)


def _reachable(edges: dict[str, list[str]], manifest: Manifest, keys: Collection[str]) -> set[str]:
    known = built_nodes(manifest)
    found: set[str] = set()
    waiting = [key for key in keys if key in known]
    while waiting:
        if (key := waiting.pop()) not in found:
            found.add(key)
            waiting += [other for other in edges.get(key, ()) if other in known]
    return found


def _code(manifest: Manifest, macro: str) -> str | None:
    return manifest.macros[macro].macro_sql if macro in manifest.macros else None


def _pattern(names: Collection[str]) -> re.Pattern[str] | None:
    """What finds the use of one of these vars in a model or macro."""
    alternatives = "|".join(map(re.escape, sorted(names)))
    return re.compile(rf"""\bvar\(\s*['"](?:{alternatives})['"]""") if names else None


def _uses(manifest: Manifest, node: Any, changed_macros: Collection[str], var: re.Pattern[str] | None) -> bool:
    """Whether a model's rows come from one of these macros, or from one of the vars."""
    if var and var.search(node.raw_code):
        return True
    return any(
        key in changed_macros or (var and var.search(manifest.macros[key].macro_sql))
        for key in _macros_of(manifest, node)
        if key in manifest.macros
    )


def _macros_of(manifest: Manifest, node: Any) -> Iterator[str]:
    """The ids of all macros that are run to build a model, those of its materialization too."""
    project = manifest.metadata.project_name
    waiting = [
        *node.depends_on.macros,
        f"macro.{project}.materialization_{node.config.materialized}_{manifest.metadata.adapter_type}",
    ]
    seen = set()
    while waiting:
        if (key := waiting.pop()) not in seen:
            seen.add(key)
            yield key
            if key in manifest.macros:
                waiting += manifest.macros[key].depends_on.macros
