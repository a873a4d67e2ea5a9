"""No page adds up what may not be added up: distinct orders and customers, averages and percentages."""

import re
from collections.abc import Iterator

import pytest

from shop_pages.pages import PAGES

#: Columns of marts that count distinct things, or are averages, shares, ranks or running values.
NOT_ADDITIVE = re.compile(
    r"(?:\w+_percent|avg_\w+|\w+_avg|\w*orders|order_count|daily_customers|viewers|carters|buyers|active_customers"
    r"|cohort_customers|closing_mrr|category_rank|days_of_stock|\w+_index)"
)
#: Sums that are right all the same, with the reason.
ALLOWED = {
    ("payments", "order_count"): "of one category, month and method, which is one row; null for all categories",
    ("cohorts", "active_customers"): "a customer is in one cohort only, and months after the first are not added up",
    ("cohorts", "cohort_customers"): "the same",
    ("conversion", "viewers"): "to weigh the days of a period; the figure's help says so",
    ("conversion", "carters"): "the same",
    ("conversion", "buyers"): "the same",
    ("reviews", "orders"): "rows of the mart, one an order",
}


def sums() -> Iterator[tuple[str, str]]:
    """Figure and column of each sum of the pages' queries."""
    for page in PAGES.values():
        for figure in page.figures:
            for query in filter(None, (figure.query, figure.chart_query, figure.summary_query)):
                for column in re.findall(r"\bsum\((\w+)\)", query):
                    yield figure.name, column


def test_queries_of_figures_have_sums() -> None:
    assert {("trend", "daily_revenue"), ("categories", "total_revenue"), ("stock", "products")} <= set(sums())


@pytest.mark.parametrize(("figure", "column"), sorted(set(sums())))
def test_figure_adds_up_additive_columns_only(figure: str, column: str) -> None:
    assert not NOT_ADDITIVE.fullmatch(column) or (figure, column) in ALLOWED


def test_every_exception_is_still_a_sum() -> None:
    assert set(ALLOWED) <= set(sums())
