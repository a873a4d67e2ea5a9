"""A figure's table on its own page: what an address may choose, the query that it becomes, and where its names lead."""

from datetime import UTC, date
from decimal import Decimal

import pytest
from fastapi import HTTPException, Request

from shop_pages.columns import definition_of, format_of, value_in_words
from shop_pages.figures import Figure
from shop_pages.formats import Format
from shop_pages.pages import PAGES
from shop_pages.rendering import with_filters
from shop_pages.tables import TableChoice, choice_of, chosen_rows, links_of, parameters_of
from shop_pages.words import heading_of

FIGURES = [(page, figure) for page in PAGES.values() for figure in page.figures]
BEST = next(figure for _, figure in FIGURES if figure.name == "best")
TREND = PAGES["revenue"].figures[0]


def chosen(query: str, figure: Figure = BEST) -> TableChoice:
    return choice_of(figure, Request({"type": "http", "query_string": query.encode(), "headers": []}))


def test_address_chooses_order_search_page_and_values() -> None:
    choice = chosen("sort=total_orders&order=desc&search=+ann&page=3&only.customer_tier=Gold&only.rfm_segment=")
    assert choice == TableChoice("total_orders", True, "ann", 3, {"customer_tier": "Gold", "rfm_segment": ""})
    query = chosen_rows(BEST, choice)
    assert "result.customer_tier::text = %(only_0)s" in query
    assert "result.rfm_segment is null" in query
    # Pages of equal values do not overlap: the figure's own order decides.
    assert query.endswith("order by result.total_orders desc nulls last, lifetime_value desc, customer_id")
    assert parameters_of(choice, query + " %(page_offset)s") == {
        "only_0": "Gold",
        "search": "ann",
        "page_offset": 200,
    }


def test_no_value_of_an_address_is_in_the_query() -> None:
    query = chosen_rows(BEST, chosen("search='%3B+drop+table&only.customer_id='+or+1%3D1"))
    assert "drop" not in query
    assert "1=1" not in query


@pytest.mark.parametrize(
    "query", ["sort=password", "sort=customer_id%3B", "only.nothing=1", "page=0", "page=x", "page=10001", "page=²"]
)
def test_address_with_another_column_or_page_is_refused(query: str) -> None:
    with pytest.raises(HTTPException) as refused:
        chosen(query)
    assert refused.value.status_code == 400


def test_numbers_and_days_are_sorted_from_large_to_small_first_and_back_on_the_second_click() -> None:
    columns = {column.name: column for column in BEST.columns}
    by_orders = TableChoice().sorted_by(columns["total_orders"])
    assert (by_orders.sort, by_orders.is_descending) == ("total_orders", True)
    assert by_orders.sorted_by(columns["total_orders"]).is_descending is False
    assert TableChoice().sorted_by(columns["last_order_date"]).is_descending is True
    assert TableChoice().sorted_by(columns["customer_name"]).is_descending is False


def test_days_are_found_as_the_page_shows_them() -> None:
    assert "to_char(result.order_date, 'FMDD Mon YYYY')" in chosen_rows(TREND, TableChoice(search="28 Jun 2024"))


def test_every_column_says_what_it_is() -> None:
    unexplained = [
        (page.name, figure.name, column.name)
        for page, figure in FIGURES
        for column in figure.columns
        if not definition_of(figure.mart, column)
    ]
    assert unexplained == []


def test_every_chart_with_axes_says_what_they_measure() -> None:
    drawn = {figure.name for _, figure in FIGURES if figure.draw and not figure.measure}
    # A pie and a funnel have no axes.
    assert drawn == {"tiers", "funnel"}


def test_every_page_has_totals() -> None:
    assert [page.name for page in PAGES.values() if page.totals is None] == []


def test_names_of_groups_open_the_rows_of_the_group() -> None:
    stock = next(figure for _, figure in FIGURES if figure.name == "stock")
    row = {"inventory_status": "Out of Stock", "category_name": "Toys & Games", "abc_class": "A", "supplier_id": "S1"}
    links = links_of(PAGES["operations"], stock)
    assert links["inventory_status"](row) == "/operations/stock/table?only.inventory_status=Out+of+Stock"
    assert links["category_name"](row) == "/operations?category=Toys+%26+Games"
    for figure, column, path in (
        ("tiers", "customers", "/customers/best/table?only.customer_tier=Gold&segment="),
        ("suppliers", "of_class_a", "/stock/order/table?only.supplier_id=S1&only.abc_class=A"),
        ("abc", "products", "/operations/stock/table?only.abc_class=A"),
    ):
        page, found = next((page, one) for page, one in FIGURES if one.name == figure)
        assert links_of(page, found)[column]({**row, "customer_tier": "Gold"}) == path


def test_link_keeps_the_filters_of_the_page_and_its_own_come_first() -> None:
    query = "first=2024-01-01&last=2024-01-31&category=Toys"
    assert with_filters("/stock?product=P1#level", query) == f"/stock?{query}&product=P1#level"
    assert with_filters("/stock/without_stock/table?first=2024-01-05&last=2024-01-05", query) == (
        "/stock/without_stock/table?first=2024-01-05&last=2024-01-05&category=Toys"
    )
    assert with_filters("/customer?customer_id=C1", query) == "/customer?customer_id=C1"


def test_names_are_words_and_values_have_their_unit_in_the_drill() -> None:
    assert [heading_of(name) for name in ("daily_revenue", "_batch_id", "fact_sales")] == [
        "Daily revenue",
        "Batch id",
        "Order lines",
    ]
    assert format_of("daily_revenue", "gross_margin_percent") is Format.PERCENT
    assert format_of("daily_revenue", "revenue_7d_avg") is Format.MONEY
    assert format_of("subscription_performance_monthly", "closing_mrr") is Format.MONEY
    assert value_in_words("", "discount_rate", Decimal("0.35"), UTC) == "35.00 %"
    assert value_in_words("revenue_trend", "run_rate", Decimal("0.35"), UTC) == "0.35"
    assert value_in_words("daily_revenue", "gross_margin_percent", Decimal("36"), UTC) == "36.00 %"
    assert value_in_words("revenue_trend", "period_start", date(2024, 6, 1), UTC) == "2024-06-01"
