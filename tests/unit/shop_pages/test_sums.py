"""No page adds up what may not be added up: distinct orders and customers, averages and percentages."""

import re
from collections.abc import Iterator

import pytest
import yaml

from include.demo.state import ROOT
from shop_pages.pages import PAGES

#: Sums that are right all the same, with the reason.
ALLOWED = {
    ("payments", "order_count"): "of one category, month and method, which is one row; null for all categories",
    ("cohorts", "active_customers"): "a customer is in one cohort only, and months after the first are not added up",
    ("cohorts", "cohort_customers"): "the same",
    ("cohort_money", "cohort_customers"): "the same, of one month after the first",
    ("cohort_share", "active_customers"): "the same",
    ("cohort_share", "cohort_customers"): "the same",
    ("conversion", "viewers"): "to weigh the days of a period; the figure's help says so",
    ("conversion", "carters"): "the same",
    ("conversion", "buyers"): "the same",
    ("subscriptions", "opening_mrr"): "over the plans of one month",
    ("plans", "active_subscriptions"): "over the plans that are drawn as Other, at the end of one period",
}


def not_additive() -> dict[str, set[str]]:
    """Mart → its columns that must not be added up, as its YAML says."""
    found = {}
    for path in sorted((ROOT / "include" / "dbt" / "models" / "marts").rglob("*.yml")):
        for model in yaml.safe_load(path.read_text())["models"]:
            columns = {
                column["name"]
                for column in model["columns"]
                if column.get("config", {}).get("meta", {}).get("additive") is False
            }
            found[model["name"]] = columns
    return found


NOT_ADDITIVE = not_additive()


def sums() -> Iterator[tuple[str, str, bool]]:
    """Figure and column of each sum of the pages' queries, and whether the marts of the query let it be added up."""
    for page in PAGES.values():
        for figure in page.figures:
            for query in filter(None, (figure.query, figure.chart_query, figure.summary_query)):
                names = set.union(*(NOT_ADDITIVE[mart] for mart in re.findall(r"\bmarts\.(\w+)", query)))
                for column in re.findall(r"\bsum\((?:\w+\.)?(\w+)\)", query):
                    yield figure.name, column, column not in names


def test_queries_of_figures_have_sums() -> None:
    assert {("trend", "daily_revenue"), ("categories", "total_revenue"), ("stock", "products")} <= {
        (figure, column) for figure, column, _ in sums()
    }


@pytest.mark.parametrize(("figure", "column", "is_additive"), sorted(set(sums())))
def test_figure_adds_up_additive_columns_only(figure: str, column: str, is_additive: bool) -> None:
    assert is_additive or (figure, column) in ALLOWED


def test_every_exception_is_a_sum_of_what_does_not_add_up() -> None:
    assert set(ALLOWED) == {(figure, column) for figure, column, is_additive in sums() if not is_additive}
