"""The rules of `include/dbt/models/README.md`, checked against the manifest of the dbt project."""

import fnmatch
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ecommerce.build.dbt_project import DBT_PROJECT
from ecommerce.verify.scratch import AGGREGATES
from tests.integration.dbt_runs import parsed_project

Node = dict[str, Any]

#: Sections of the manifest with entries that have a description; `nodes` are models and data tests.
DESCRIBED = ("nodes", "sources", "macros", "exposures", "unit_tests", "semantic_models", "metrics")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Node]]:
    """The manifest as dbt writes it."""
    path = tmp_path_factory.mktemp("target") / "manifest.json"
    parsed_project().write_manifest(path)
    return json.loads(path.read_text())


def test_dbt_warns_of_nothing() -> None:
    """It warns, for example, of arguments that a macro does not take."""
    assert parsed_project().warnings == []


def own(manifest: dict[str, dict[str, Node]], section: str, kind: str | None = None) -> dict[str, Node]:
    """The entries of a section by unique id, without those of dbt itself and without hooks."""
    entries = {
        name: entry
        for name, entry in manifest[section].items()
        if entry["package_name"] == "ecommerce"
        and entry["resource_type"] != "operation"
        and kind in (None, entry["resource_type"])
    }
    assert entries, f"no {kind or section}"
    return entries


def descriptions(name: str, entry: Node) -> Iterator[tuple[str, str]]:
    """The descriptions of an entry and of its parts: (name, description)."""
    yield name, entry["description"] or ""
    if "source_description" in entry:
        yield f"source {entry['source_name']}", entry["source_description"]
    for column in entry.get("columns", {}).values():
        yield f"{name}.{column['name']}", column["description"]
    for argument in entry.get("arguments", []):
        yield f"{name}({argument['name']})", argument["description"] or ""


@pytest.mark.parametrize("section", DESCRIBED)
def test_everything_is_described(manifest, section: str) -> None:
    undescribed = {
        part
        for name, entry in own(manifest, section).items()
        for part, description in descriptions(name, entry)
        if not description.strip()
    }
    assert undescribed == set()


def test_models_and_sources_name_their_columns(manifest) -> None:
    """That they name all columns of the tables is tested in tests/integration/dbt."""
    tables = own(manifest, "nodes", "model") | own(manifest, "sources")
    assert {name for name, entry in tables.items() if not entry["columns"]} == set()


def test_every_doc_block_is_used(manifest) -> None:
    texts = "".join(path.read_text() for path in (DBT_PROJECT / "models").rglob("*.yml"))
    used = set(re.findall(r"doc\(\"(\w+)\"\)", texts))
    assert {entry["name"] for entry in own(manifest, "docs").values()} - {"__overview__"} == used


#: Layer → the layers that its models may read.
MAY_READ = {
    "staging": {"source", "staging"},
    "core": {"staging", "core"},
    "marts": {"core"},
    "quality": {"source", "quality"},
}


def layer(node: Node) -> str:
    """The folder of a model; the schema of a seed, which lies in none."""
    return str(node["schema"] if node["resource_type"] == "seed" else node["fqn"][1])


def is_claim(model: Node) -> bool:
    """Whether a model lists what a build must rebuild. It holds no data, so every incremental model may read it."""
    return str(model["name"]).startswith("stg_claimed_")


def test_models_read_the_layer_below(manifest) -> None:
    models = own(manifest, "nodes", "model")
    tables = models | own(manifest, "nodes", "seed")
    for name, model in models.items():
        for parent in model["depends_on"]["nodes"]:
            if parent in models and is_claim(models[parent]):
                assert model["config"]["materialized"] == "incremental", f"{name} reads {parent}"
                continue
            below = layer(tables[parent]) if parent in tables else "source"
            assert below in MAY_READ[layer(model)], f"{name} reads {parent}"


def test_aggregates_match_the_name_pattern_of_the_verification(manifest) -> None:
    """The verification computes aggregates from the current core tables, and all other core tables from raw."""
    models = own(manifest, "nodes", "model")
    tables = models | own(manifest, "nodes", "seed")
    made_of_core = {
        model["name"]
        for model in models.values()
        if layer(model) == "core"
        and {
            layer(tables[parent]) if parent in tables else "source"
            for parent in model["depends_on"]["nodes"]
            if not (parent in models and is_claim(models[parent]))
        }
        == {"core"}
    }
    core = {model["name"] for model in models.values() if layer(model) == "core"}
    assert made_of_core == set(fnmatch.filter(core, AGGREGATES))
    assert len(made_of_core) > 3


def test_core_and_mart_models_begin_with_their_grain(manifest) -> None:
    for name, model in own(manifest, "nodes", "model").items():
        if layer(model) != "staging":
            assert model["raw_code"].startswith("-- Grain: one row per "), name


def keys(model: Node) -> list[list[str]]:
    """The keys that a model declares as constraints: their columns."""
    kinds = ("primary_key", "unique")
    return [rule["columns"] for rule in model["constraints"] if rule["type"] in kinds] + [
        [column["name"]]
        for column in model["columns"].values()
        for rule in column["constraints"]
        if rule["type"] in kinds
    ]


#: Models without a primary key that dbt recognises: see the exceptions in models/README.md.
WITHOUT_PRIMARY_KEY = {
    "stg_claimed_days",
    "order_profitability_monthly",
    "product_category_revenue_monthly",
    "product_revenue_payment_analysis",
    "repeat_purchases",
    "seasonal_index",
}


def test_models_have_a_primary_key(manifest) -> None:
    """dbt derives `primary_key` from constraints and tests, as catalogues and BI tools do."""
    models = own(manifest, "nodes", "model").values()
    assert {model["name"] for model in models if not model["primary_key"]} == WITHOUT_PRIMARY_KEY


def test_tables_declare_one_key(manifest) -> None:
    """Postgres enforces it; the publication matches the rows of a mart by it."""
    for name, model in own(manifest, "nodes", "model").items():
        if model["config"]["materialized"] == "view":
            continue
        (key,) = keys(model)
        assert set(key) <= set(model["columns"]), name
        if model["primary_key"]:
            assert set(model["primary_key"]) == set(key), name
        if layer(model) == "core":
            hooks = [hook["sql"] for hook in model["config"]["post-hook"]]
            assert "{{ finish_new_table(add_keys=true) }}" in hooks, name
            required = [
                column["name"]
                for column in model["columns"].values()
                if any(rule["type"] == "not_null" for rule in column["constraints"])
            ]
            assert set(key) <= set(required) or "nulls not distinct" in str(model["constraints"]), name


def test_core_keys_have_a_uniqueness_test(manifest) -> None:
    """By dbt's own test or the one of dbt_utils' name. fact_weather has its constraint alone."""
    tested = {
        test["attached_node"]
        for test in own(manifest, "nodes", "test").values()
        if (test.get("test_metadata") or {}).get("name") in ("unique", "unique_combination_of_columns")
    }
    core = {name for name, model in own(manifest, "nodes", "model").items() if layer(model) == "core"}
    assert {name.rpartition(".")[2] for name in core - tested} == {"fact_weather"}


def test_marts_have_a_contract_an_exposure_and_a_unit_test(manifest) -> None:
    exposed = {node for exposure in own(manifest, "exposures").values() for node in exposure["depends_on"]["nodes"]}
    tested = {node for test in own(manifest, "unit_tests").values() for node in test["depends_on"]["nodes"]}
    for name, model in own(manifest, "nodes", "model").items():
        if layer(model) != "marts":
            continue
        assert model["config"]["contract"]["enforced"], name
        (key,) = keys(model)
        assert list(model["columns"])[: len(key)] == key, f"the key comes first in {name}"
        assert name in exposed
        assert name in tested


def test_exposures_read_public_models(manifest) -> None:
    models = own(manifest, "nodes", "model")
    public = {name for name, model in models.items() if model["access"] == "public"}
    assert public == {name for name, model in models.items() if layer(model) == "marts"}
    for name, exposure in own(manifest, "exposures").items():
        assert set(exposure["depends_on"]["nodes"]) <= public, name


#: Staging models that read another one: see the exceptions in models/README.md.
STAGING_ON_STAGING = {
    ("stg_products", "stg_product_versions"),
    ("stg_product_categories", "stg_product_category_versions"),
    ("stg_customer", "stg_customer_versions"),
    ("stg_subscriptions", "stg_subscription_versions"),
    ("stg_subscriptions", "stg_as_of"),
    ("stg_claimed_customers", "stg_customer_versions"),
    ("stg_claimed_products", "stg_product_versions"),
    ("stg_claimed_stock_days", "stg_product_category_versions"),
}


def test_staging_reads_sources_except_where_listed(manifest) -> None:
    models = own(manifest, "nodes", "model")
    pairs = {
        (model["name"], models[parent]["name"])
        for model in models.values()
        for parent in model["depends_on"]["nodes"]
        if layer(model) == "staging" and parent in models
    }
    assert pairs == STAGING_ON_STAGING


def test_models_have_their_yaml_beside_them(manifest) -> None:
    for model in own(manifest, "nodes", "model").values():
        beside = Path(model["original_file_path"]).with_suffix(".yml")
        assert model["patch_path"] == f"ecommerce://{beside.as_posix()}"


def test_sources_have_a_file_per_system(manifest) -> None:
    for source in own(manifest, "sources").values():
        assert Path(source["original_file_path"]).name == f"_{source['source_name']}__sources.yml"


def test_unit_tests_are_named_after_their_model(manifest) -> None:
    for test in own(manifest, "unit_tests").values():
        assert test["name"].startswith(f"test_{test['model']}_")


def test_no_model_reads_the_wall_clock(manifest) -> None:
    clock = re.compile(r"\b(now\(\)|current_(date|time|timestamp)|local(time|timestamp)|clock_timestamp)\b", re.I)
    for name, model in own(manifest, "nodes", "model").items():
        assert not clock.search(model["raw_code"]), name


#: Mart → its figures that may be added up over rows. Every other numeric column of a mart says `additive: false` in
#: its YAML: shares, averages, comparisons, balances, what repeats over rows, and numbers of different orders and
#: customers, one of which may be in several rows.
ADDITIVE = {
    "conversion_funnel_daily": {"views", "add_to_carts", "purchases"},
    "customer_cohorts_monthly": {"revenue"},
    "customer_segments": {"lifetime_revenue", "lifetime_value", "refunded_amount"},
    "daily_revenue": {
        "daily_gross_profit", "daily_revenue", "guest_revenue", "net_revenue", "new_customer_revenue", "new_customers",
        "refunded_amount", "returning_customer_revenue",
    },
    "inventory_daily": {"estimated_lost_units", "units_sold"},
    "inventory_status": {"stock_level", "stock_value", "suggested_order_quantity", "units_sold_30d"},
    "order_for_reviews": {"contribution_amount", "expected_loss", "gross_profit", "order_amount"},
    "order_profitability_monthly": {
        "contribution_amount", "cost_amount", "discount_amount", "gross_profit", "list_amount", "loss_amount",
        "revenue", "shipping_cost", "units",
    },
    "payment_method_preference": {"total_revenue"},
    "product_category_revenue_monthly": {
        "net_revenue", "refunded_amount", "total_gross_profit", "total_revenue", "units_sold",
    },
    "product_performance_monthly": {
        "contribution_amount", "gross_profit", "net_revenue", "refunded_amount", "revenue", "units_sold",
    },
    "product_revenue_payment_analysis": {"revenue"},
    # Within a grain, and either over the categories or over their total: `additive_within`.
    "revenue_trend": {"gross_profit", "net_revenue", "refunded_amount", "revenue", "units"},
    # Of a rule: `additive_within`.
    "rule_compliance_daily": {"amount_at_risk", "orders_checked", "violations"},
    "seasonal_sales_analysis": {"monthly_revenue"},
    "subscription_customers": {"active_subscriptions", "lifetime_fees", "monthly_fee"},
    # Of a plan, or of their total: `additive_within`.
    "subscription_performance_monthly": {
        "churned_mrr", "churned_subscriptions", "contraction_mrr", "expansion_mrr", "new_mrr", "new_subscriptions",
        "reactivated_mrr",
    },
}  # fmt: skip


def test_numeric_mart_columns_are_additive_or_say_that_they_are_not(manifest) -> None:
    for name, model in own(manifest, "nodes", "model").items():
        if layer(model) != "marts":
            continue
        numeric = {
            column["name"]: column["config"]["meta"].get("additive", True)
            for column in model["columns"].values()
            if column["data_type"].startswith(("numeric", "integer", "bigint", "double", "real", "smallint"))
        }
        assert set(numeric.values()) <= {True, False}, name
        additive = {column for column, adds_up in numeric.items() if adds_up}
        assert additive == ADDITIVE.get(model["name"], set()), name


def test_marts_with_grains_or_totals_say_within_which_columns_they_add_up(manifest) -> None:
    """A row of a year has what the rows of its months have, and a total what its categories or plans have."""
    mixed = set()
    for model in own(manifest, "nodes", "model").values():
        within = model["config"]["meta"].get("additive_within")
        columns = model["columns"]
        has_total = any("`All " in columns[name]["description"] for key in keys(model) for name in key)
        adds_up = model["name"] in ADDITIVE and (has_total or "grain" in columns)
        if layer(model) == "marts" and (adds_up or within is not None):
            mixed.add(model["name"])
            assert within, model["name"]
            assert set(within) <= set(*keys(model)), model["name"]
    assert mixed == {"revenue_trend", "rule_compliance_daily", "subscription_performance_monthly"}
