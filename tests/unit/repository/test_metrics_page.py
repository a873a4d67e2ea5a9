"""docs/metrics.md explains each mart and each figure of it, and calculates right."""

from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import metrics_page

MODELS = Path(__file__).parents[3] / "include" / "dbt" / "models" / "marts"
NUMBERS = ("numeric", "integer", "bigint", "double precision")


@cache
def marts() -> dict[str, dict[str, Any]]:
    """The marts of the dbt project, by name."""
    return {
        model["name"]: model
        for path in MODELS.rglob("*.yml")
        for model in yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader).get("models", [])
    }


def numeric_columns(mart: dict[str, Any]) -> set[str]:
    return {column["name"] for column in mart["columns"] if column["data_type"].startswith(NUMBERS)}


def test_each_mart_has_a_section_of_its_name() -> None:
    headings = {name for name in metrics_page.sections() if "_" in name}
    assert headings == set(marts())


@pytest.mark.parametrize("name", marts())
def test_section_describes_exactly_the_figures_of_its_mart(name: str) -> None:
    described = metrics_page.sections()[name].described_columns
    assert sorted(described) == sorted(numeric_columns(marts()[name]))


@pytest.mark.parametrize("name", marts())
def test_section_says_what_it_leaves_out_and_has_query_and_example(name: str) -> None:
    section = metrics_page.sections()[name]
    assert "**Leaves out:**" in section.text
    assert section.queries
    assert section.examples


@pytest.mark.parametrize("name", marts())
def test_description_of_mart_leads_to_its_section(name: str) -> None:
    assert f"docs/metrics.md#{name}" in marts()[name]["description"]


@pytest.mark.parametrize(("calculation", "result"), metrics_page.calculations())
def test_calculation_is_right(calculation: str, result: str) -> None:
    value = metrics_page.evaluate(calculation)
    assert Decimal(value).quantize(Decimal(result), ROUND_HALF_UP) == Decimal(result)


def test_page_has_calculations() -> None:
    assert len(metrics_page.calculations()) > len(marts())
