"""Which models a change touches: by their files, by macros however far away, by vars, and by what follows."""

from copy import deepcopy

import pytest
from dbt.contracts.graph.manifest import Manifest

from ecommerce.change_preview.changed_models import changed_nodes, marts_of, with_followers, with_origins
from tests.integration.dbt_runs import parsed_project

MODEL, MACRO = "model.ecommerce.", "macro.ecommerce."


@pytest.fixture(scope="module")
def before() -> Manifest:
    manifest = deepcopy(parsed_project().manifest)
    manifest.build_parent_and_child_maps()
    return manifest


@pytest.fixture
def after(before: Manifest) -> Manifest:
    return deepcopy(before)


def names(keys: set[str]) -> set[str]:
    return {key.rpartition(".")[2] for key in keys}


def test_nothing_has_changed_in_an_equal_project(before: Manifest, after: Manifest) -> None:
    assert changed_nodes(before, after, []) == set()


def test_file_configuration_and_new_model_are_changes(before: Manifest, after: Manifest) -> None:
    after.nodes[f"{MODEL}daily_revenue"].raw_code += " "
    after.nodes[f"{MODEL}dim_date"].unrendered_config["materialized"] = "view"
    after.nodes[f"{MODEL}made_later"] = after.nodes.pop(f"{MODEL}seasonal_index")
    assert names(changed_nodes(before, after, [])) == {"daily_revenue", "dim_date", "made_later"}


def test_macro_that_another_macro_calls_is_a_change(before: Manifest, after: Manifest) -> None:
    """`first_day_of` is called by `claimed_periods`, which `only_claimed` calls in the models."""
    after.macros[f"{MACRO}first_day_of"].macro_sql += " "
    changed = names(changed_nodes(before, after, []))
    assert {"int_daily_sales", "fact_sales"} <= changed
    assert "payment_method_preference" not in changed


def test_materialization_is_a_change_of_its_models(before: Manifest, after: Manifest) -> None:
    after.macros[f"{MACRO}materialization_view_postgres"].macro_sql += " "
    changed = names(changed_nodes(before, after, []))
    assert "stg_sales_fact" in changed
    assert "daily_revenue" not in changed


def test_var_is_a_change_of_the_models_and_macros_that_read_it(before: Manifest, after: Manifest) -> None:
    assert names(changed_nodes(before, after, ["high_value_threshold"])) == {"customer_segments"}
    assert names(changed_nodes(before, after, ["high_value"])) == set(), "a name is no part of another"
    assert "int_daily_sales" in names(changed_nodes(before, after, ["sources_of_sales"]))


def test_what_follows_and_what_it_is_made_of(before: Manifest) -> None:
    followers = names(with_followers(before, [f"{MODEL}int_daily_sales", f"{MODEL}not_there"]))
    assert {"int_daily_sales", "daily_revenue"} <= followers
    assert "fact_sales" not in followers
    origins = names(with_origins(before, [f"{MODEL}daily_revenue"]))
    assert {"daily_revenue", "int_daily_sales", "fact_sales", "stg_sales_fact"} <= origins
    assert "payment_method_preference" not in origins
    assert len(marts_of(before)) == 23
