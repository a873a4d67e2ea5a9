"""Which models a build excludes when sources could not be loaded, by dbt's graph of the models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dbt_triggerer import parents_of
from ecommerce.build.dbt_project import read_manifest
from ecommerce.build.lease import NO_EXCLUSIONS, Exclusions

#: A model's `meta`: sources that it can be built without. It then uses the rows that were loaded before.
ALSO_WITHOUT = "also_without"

_NOT_BUILT = ("test", "unit_test", "operation", "analysis")


def exclusions_for(failed: Collection[str], manifest: Mapping[str, Any] | None = None) -> Exclusions:
    """
    The models that depend on a failed source, except those that can be built without it (`also_without`).

    :param failed: names of sources
    :param manifest: dbt's manifest; by default the project's own
    """
    if not failed:
        return NO_EXCLUSIONS
    manifest = manifest or read_manifest()
    models = {
        unique_id: node for unique_id, node in manifest["nodes"].items() if node["resource_type"] not in _NOT_BUILT
    }
    downstream = set().union(*(_downstream_of(models, manifest["sources"], source) for source in failed))
    # A model that is built needs its parents, even if they depend on a failed source and are only views.
    excluded = downstream - _upstream_of(models, models.keys() - downstream)
    claimed_from = (models[unique_id]["config"]["meta"].get("claimed_from", ()) for unique_id in excluded)
    return Exclusions(
        sources=frozenset(failed),
        models=frozenset(models[unique_id]["name"] for unique_id in excluded),
        unsettled=frozenset(failed).union(*claimed_from),
    )


def nodes_of_models(names: Collection[str], manifest: Mapping[str, Any] | None = None) -> set[str]:
    """Unique ids of models, and of every test that reads one of them."""
    nodes = (manifest or read_manifest())["nodes"]
    models = {
        unique_id
        for unique_id, node in nodes.items()
        if node["resource_type"] not in _NOT_BUILT and node["name"] in names
    }
    tests = {
        unique_id
        for unique_id, node in nodes.items()
        if node["resource_type"] == "test" and not models.isdisjoint(node["depends_on"]["nodes"])
    }
    return models | tests


def _downstream_of(models: Mapping[str, Any], sources: Mapping[str, Any], source: str) -> set[str]:
    """Every model that depends on a source of `raw`, but not what lies behind a model that can be built without it."""
    downstream: set[str] = set()
    parents = {
        unique_id for unique_id, entry in sources.items() if entry["schema"] == "raw" and entry["name"] == source
    }
    while parents:
        children = {
            unique_id
            for unique_id, node in models.items()
            if not parents.isdisjoint(parents_of(node)) and source not in node["config"]["meta"].get(ALSO_WITHOUT, ())
        }
        parents = children - downstream
        downstream |= parents
    return downstream


def _upstream_of(models: Mapping[str, Any], children: Collection[str]) -> set[str]:
    """Every model that one of these depends on."""
    upstream: set[str] = set()
    children = set(children)
    while children:
        parents = {parent for unique_id in children for parent in parents_of(models[unique_id])}
        children = (parents & models.keys()) - upstream
        upstream |= children
    return upstream
