"""`make contracts` makes a valid data contract of each mart and each source, from what is there."""

import importlib.util
import json
from typing import Any

import jsonschema
import pytest

from ecommerce.common.shop import shop
from ecommerce.common.sources import SOURCES
from include.demo.state import ROOT
from tests.integration.dbt_runs import parsed_project

_spec = importlib.util.spec_from_file_location("contracts", ROOT / ".ci" / "contracts.py")
assert _spec is not None
assert _spec.loader is not None
contracts = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(contracts)

MARTS = {path.stem for path in (ROOT / "include" / "dbt" / "models" / "marts").rglob("*.sql")}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("target") / "manifest.json"
    parsed_project().write_manifest(path)
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def marts(manifest: dict[str, Any]) -> dict[str, Any]:
    return contracts.marts_of(manifest)


@pytest.fixture(scope="module")
def sources(manifest: dict[str, Any]) -> dict[str, Any]:
    return contracts.sources_of(manifest)


def test_each_mart_and_source_has_a_valid_contract(marts: dict[str, Any], sources: dict[str, Any]) -> None:
    assert set(marts) == {f"marts.{name}" for name in MARTS}
    assert set(sources) == {f"sources.{name}" for name in shop().sources}
    every = [*marts.values(), *sources.values()]
    for contract in every:
        contracts.validate(contract)
        (table,) = contract["schema"]
        assert all(column["description"] for column in table["properties"]), contract["name"]
        assert [column for column in table["properties"] if column.get("primaryKey")] or contract["name"].endswith(
            "kafka_stream"
        )
        assert contract["team"]["name"] == "data-platform"
        assert contract["slaProperties"]
        assert table["quality"]
        if contract["name"].startswith("marts."):
            key = [column["name"] for column in table["properties"] if column.get("primaryKey")]
            assert set(table["quality"][0]["arguments"]["properties"]) == set(key)
    assert len({contract["id"] for contract in every}) == len(every)


def test_contract_of_a_mart_has_its_columns_keys_and_tests(marts: dict[str, Any], manifest: dict[str, Any]) -> None:
    for name in MARTS:
        columns = manifest["nodes"][f"model.ecommerce.{name}"]["columns"]
        found = {column["name"]: column for column in marts[f"marts.{name}"]["schema"][0]["properties"]}
        assert {column: entry["physicalType"] for column, entry in found.items()} == {
            column: entry["data_type"] for column, entry in columns.items()
        }
    trend = marts["marts.revenue_trend"]["schema"][0]
    positions = {column["name"]: column.get("primaryKeyPosition") for column in trend["properties"]}
    assert [name for name, place in sorted(positions.items(), key=lambda entry: entry[1] or 99) if place] == [
        "grain", "period_start", "category_name"
    ]  # fmt: skip
    segments = marts["marts.customer_segments"]["schema"][0]["properties"]
    tier = next(column for column in segments if column["name"] == "customer_tier")
    (accepted,) = [entry for entry in tier["quality"] if entry.get("metric") == "invalidValues"]
    assert accepted["arguments"] == {"validValues": ["High Value", "Medium Value", "Low Value"]}
    daily = marts["marts.daily_revenue"]["schema"][0]
    (day,) = [column for column in daily["properties"] if column.get("primaryKey")]
    assert (day["name"], day["logicalType"], day["required"], day["unique"]) == ("order_date", "date", True, True)
    assert "revenue_in_the_marts_is_that_of_the_facts" in {entry["name"] for entry in daily["quality"]}


def test_contract_of_a_source_has_its_rules_and_says_who_a_person_is(sources: dict[str, Any]) -> None:
    orders = {column["name"]: column for column in sources["sources.sales_fact"]["schema"][0]["properties"]}
    assert list(orders) == [column.name for column in SOURCES["sales_fact"].columns]
    assert orders["discount_applied"]["logicalTypeOptions"] == {"minimum": 0, "maximum": 1}
    assert (orders["order_amount"]["required"], orders["customer_id"]["required"]) == (True, False)
    assert sources["sources.sales_fact"]["slaProperties"][0]["value"] == 26
    for name, source in SOURCES.items():
        found = sources[f"sources.{name}"]["schema"][0]["properties"]
        personal = {column["name"] for column in found if column.get("classification") == "personal"}
        assert personal == {column.name for column in source.columns if column.is_personal}
    assert sources["sources.kafka_stream"]["servers"][0]["type"] == "kafka"
    assert "reconciliation_source" in {entry["name"] for entry in sources["sources.sales_fact"]["schema"][0]["quality"]}


def test_absent_source_has_no_contract(manifest: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECOMMERCE_SHOP", "example")
    found = contracts.sources_of(manifest)
    assert set(found) == {f"sources.{name}" for name in shop().sources}
    assert "sources.weather_data" not in found
    for contract in found.values():
        contracts.validate(contract)


@pytest.mark.parametrize(
    "mistake", [{"kind": "Contract"}, {"status": 1}, {"schema": [{"properties": []}]}, {"sla": []}]
)
def test_contract_with_a_mistake_is_refused(marts: dict[str, Any], mistake: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        contracts.validate(marts["marts.daily_revenue"] | mistake)
