"""The dbt docs: what is read from a manifest, and the picture of the lineage."""

from typing import Any

from shop_pages.dbt_docs import DbtTest, ProjectDocs, parse_manifest
from shop_pages.lineage import lineage


def _node(name: str, *parents: str, **other: Any) -> dict[str, Any]:
    return {
        "resource_type": "model", "name": name, "fqn": ["shop", "core", name], "columns": {},
        "config": {"materialized": "table", "severity": "warn"}, "depends_on": {"nodes": list(parents)}, **other,
    }  # fmt: skip


def _project() -> ProjectDocs:
    order_id = {"name": "order_id", "data_type": "text", "description": "The order."}
    return parse_manifest(
        {
            "metadata": {"generated_at": "2024-03-01T00:00:00"},
            "sources": {
                "s.orders": {
                    "resource_type": "source", "name": "orders", "fqn": ["shop", "raw", "orders"], "columns": {},
                    "meta": {"owner": "data-platform"},
                }
            },
            "nodes": {
                "m.staged": _node("staged", "s.orders", fqn=["shop", "staging", "staged"]),
                "m.fact": _node("fact", "m.staged", "macro.x", columns={"order_id": order_id}),
                "m.mart": _node("mart", "m.fact", "m.staged", fqn=["shop", "marts", "finance", "mart"]),
                "t.unique": _node(
                    "unique", "m.fact", resource_type="test", column_name="order_id", attached_node="m.fact"
                ),
                "t.own": _node("own", "m.fact", resource_type="test"),
            },
            "unit_tests": {"u": {"name": "adds_up", "model": "mart", "depends_on": {"nodes": ["m.mart", "m.fact"]}}},
            "exposures": {"e": {"name": "report", "owner": {"name": "Finance"}, "depends_on": {"nodes": ["m.mart"]}}},
        }
    )  # fmt: skip


def test_manifest_gives_models_with_tests_owners_and_exposures() -> None:
    models = _project().models
    assert list(models) == ["staged", "fact", "mart", "raw.orders"]
    assert models["raw.orders"].owner == "data-platform"
    assert models["fact"].tests == [DbtTest("own", "", "warn"), DbtTest("unique", "order_id", "warn")]
    assert models["mart"].tests == [DbtTest("adds_up", "", "unit test")]
    assert models["mart"].exposures == [{"label": "report", "owner": "Finance", "description": ""}]
    assert models["mart"].folder == "marts / finance"
    assert models["fact"].columns == [{"name": "order_id", "type": "text", "description": "The order."}]


def test_models_are_grouped_by_layer_in_data_order() -> None:
    assert {layer: [model.name for model in models] for layer, models in _project().by_layer().items()} == {
        "raw": ["raw.orders"], "staging": ["staged"], "core": ["fact"], "marts": ["mart"],
    }  # fmt: skip


def test_lineage_places_each_model_right_of_its_parents() -> None:
    models = _project().models
    assert (models["staged"].parents, models["staged"].children) == (["raw.orders"], ["fact", "mart"])
    picture = lineage(models, "fact")
    boxes = {box["name"]: box for box in picture["boxes"]}
    assert list(boxes) == ["raw.orders", "staged", "fact", "mart"]
    assert len({box["x"] for box in boxes.values()}) == 4
    assert [name for name, box in boxes.items() if box["is_own"]] == ["fact"]
    assert len(picture["paths"]) == 4
