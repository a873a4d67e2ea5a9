"""What a build leaves as it is when sources could not be loaded: by the graph that dbt has of its models."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from ecommerce.build.dbt_project import MANIFEST
from ecommerce.build.lease import NO_EXCLUSIONS, Exclusions

#: A model's `meta`: sources without whose load it is built all the same, from what is loaded.
ALSO_WITHOUT = "also_without"


def exclusions_for(failed: Collection[str], manifest: Mapping[str, Any] | None = None) -> Exclusions:
    """
    The models that depend on a source that failed, but for those that say that they can do without its load.

    :param failed: names of sources
    :param manifest: dbt's; the project's own, if it is not given
    """
    if not failed:
        return NO_EXCLUSIONS
    manifest = manifest or json.loads(MANIFEST.read_text())
    models = {
        unique_id: node for unique_id, node in manifest["nodes"].items() if node["resource_type"] not in _NOT_BUILT
    }
    reached = set().union(*(_reached(models, manifest["sources"], source) for source in failed))
    # What is built needs what it is made of, were it only a view.
    left = reached - _made_of(models, models.keys() - reached)
    followed = (models[unique_id]["config"]["meta"].get("claimed_from", ()) for unique_id in left)
    return Exclusions(
        sources=frozenset(failed),
        models=frozenset(models[unique_id]["name"] for unique_id in left),
        unsettled=frozenset(failed).union(*followed),
    )


def nodes_of_models(names: Collection[str], manifest: Mapping[str, Any] | None = None) -> set[str]:
    """Unique ids of models, and of every test that looks at one of them."""
    nodes = (manifest or json.loads(MANIFEST.read_text()))["nodes"]
    models = {
        unique_id
        for unique_id, node in nodes.items()
        if node["resource_type"] not in _NOT_BUILT and node["name"] in names
    }
    return models | {
        unique_id
        for unique_id, node in nodes.items()
        if node["resource_type"] == "test" and not models.isdisjoint(node["depends_on"]["nodes"])
    }


_NOT_BUILT = ("test", "unit_test", "operation", "analysis")


def _reached(models: Mapping[str, Any], sources: Mapping[str, Any], source: str) -> set[str]:
    """Everything downstream of a source."""
    reached: set[str] = set()
    new = {
        unique_id for unique_id, entry in sources.items() if entry["schema"] == "raw" and entry["identifier"] == source
    }
    while new:
        new = {
            unique_id
            for unique_id, node in models.items()
            if not new.isdisjoint(node["depends_on"]["nodes"])
            and source not in node["config"]["meta"].get(ALSO_WITHOUT, ())
        } - reached
        reached |= new
    return reached


def _made_of(models: Mapping[str, Any], built: Collection[str]) -> set[str]:
    """Everything upstream of models."""
    found: set[str] = set()
    new = set(built)
    while new:
        new = {parent for unique_id in new for parent in models[unique_id]["depends_on"]["nodes"]} & models.keys()
        new -= found
        found |= new
    return found
