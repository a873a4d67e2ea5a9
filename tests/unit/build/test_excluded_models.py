"""Which models a build excludes when a source could not be loaded."""

from typing import Any

import pytest

from ecommerce.build.excluded_models import exclusions_for, nodes_of_models
from ecommerce.build.lease import NO_EXCLUSIONS, Exclusions


def node(*parents: str, kind: str = "model", **meta: Any) -> dict[str, Any]:
    return {"resource_type": kind, "depends_on": {"nodes": list(parents)}, "config": {"meta": meta}}


NODES = {
    "model.shop.stg_orders": node("source.shop.raw.orders"),
    "model.shop.stg_rain": node("source.shop.raw.rain"),
    "model.shop.stg_keys": node("source.shop.raw.keys"),
    # Keys that only orders name: built from the rows that are loaded, also if one of the two sources has failed.
    "model.shop.unknown": node("model.shop.stg_orders", "model.shop.stg_keys", also_without=["orders", "keys"]),
    "model.shop.dim": node("model.shop.unknown", "model.shop.stg_keys"),
    "model.shop.sales": node("model.shop.stg_orders", "model.shop.dim", claimed_from=["orders", "keys"]),
    "model.shop.weather": node("model.shop.stg_rain", claimed_from=["rain"]),
    "model.shop.revenue": node("model.shop.sales", "seed.shop.rules"),
    # As in dbt's manifest: a seed depends on macros alone.
    "seed.shop.rules": {"resource_type": "seed", "depends_on": {"macros": []}, "config": {"meta": {}}},
    "model.shop.impact": node("model.shop.sales", "model.shop.weather"),
    "test.shop.unique_dim": node("model.shop.dim", kind="test"),
    "test.shop.dim_of_sales": node("model.shop.sales", "model.shop.dim", kind="test"),
    "unit_test.shop.impact": node("model.shop.impact", kind="unit_test"),
}
MANIFEST = {
    "nodes": {unique_id: entry | {"name": unique_id.split(".")[2]} for unique_id, entry in NODES.items()},
    "sources": {f"source.shop.raw.{name}": {"schema": "raw", "name": name} for name in ("orders", "rain", "keys")}
    | {"source.shop.ops.orders": {"schema": "ops", "name": "orders"}},
}


def test_no_failed_source_excludes_nothing() -> None:
    assert exclusions_for([], MANIFEST) == NO_EXCLUSIONS


@pytest.mark.parametrize(
    ("failed", "models", "unsettled"),
    [
        (["rain"], {"stg_rain", "weather", "impact"}, {"rain"}),
        # The staging view is built, because `unknown` can be built without the load and reads it.
        (["orders"], {"sales", "revenue", "impact"}, {"orders", "keys"}),
        (["keys"], {"dim", "sales", "revenue", "impact"}, {"orders", "keys"}),
        (["rain", "orders"], {"stg_rain", "weather", "sales", "revenue", "impact"}, {"rain", "orders", "keys"}),
        (["of_no_model"], set(), {"of_no_model"}),
    ],
)
def test_failed_source_excludes_models_that_depend_on_it(
    failed: list[str], models: set[str], unsettled: set[str]
) -> None:
    assert exclusions_for(failed, MANIFEST) == Exclusions(frozenset(failed), frozenset(models), frozenset(unsettled))


def test_nodes_of_models_include_every_test_that_reads_one() -> None:
    assert nodes_of_models(["sales"], MANIFEST) == {"model.shop.sales", "test.shop.dim_of_sales"}


def test_exclusions_cover_their_sources_and_models() -> None:
    exclusions = exclusions_for(["rain"], MANIFEST)
    assert exclusions.covers("rain")
    assert exclusions.covers("raw.rain last days")
    assert exclusions.covers("marts_build.impact amount")
    assert not exclusions.covers("raw.orders")
    assert str(exclusions) == "rain could not be loaded; left as before: impact, stg_rain, weather"
