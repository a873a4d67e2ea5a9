"""What the pages say of sources that the shop does not have."""

from datetime import UTC, date, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ecommerce.common.shop import VARIABLE
from ecommerce.figures.key_figures import rows_of_figures
from shop_pages import status
from shop_pages.absent_sources import absence_of, absence_of_source, absences, absent_in_words
from shop_pages.filters import Days, Filters
from shop_pages.pages import PAGES
from shop_pages.queries import Rows
from shop_pages.rendering import render_html
from shop_pages.routes.figure_pages import ReadFigures, RenderedFigure
from tests.integration.support import set_shop

DAY = date(2024, 3, 1)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shop without events, subscriptions and weather."""
    monkeypatch.setenv(VARIABLE, "example")


def choose_shop_without(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_shop(monkeypatch, **{source: "absent"})


def rows(*values: dict[str, Any]) -> Rows:
    return Rows(list(values), datetime(2024, 3, 2, tzinfo=UTC))


def page_with_empty_figures(name: str) -> str:
    page = PAGES[name]
    read = ReadFigures(
        page=page,
        days=Days(DAY, DAY, DAY, DAY),
        filters=Filters(DAY, DAY, None, DAY, DAY),
        figures=[RenderedFigure(figure, absences(), rows(), chart_rows=rows()) for figure in page.figures],
        categories=rows(),
        totals=None,
        other_parts=[],
        notice="",
    )
    request = SimpleNamespace(scope={"root_path": ""}, query_params={}, url=SimpleNamespace(path=f"/{name}"))
    return render_html(cast("Any", request), "figures.html", (), None, **read.values())


def test_shop_with_every_source_names_no_absent_one() -> None:
    assert absent_in_words() == ""
    assert absence_of("weather_sales_impact") is None
    assert "This shop has no" not in page_with_empty_figures("seasons")


@pytest.mark.usefixtures("example")
def test_absent_sources_are_named_in_a_sentence() -> None:
    assert absent_in_words() == "This shop has no customer interactions, subscriptions or weather."
    assert absence_of("subscription_performance_monthly") == "This shop has no subscriptions."
    assert absence_of("daily_revenue") is None
    assert absence_of_source("refund") is None


@pytest.mark.usefixtures("example")
def test_figure_of_an_absent_source_says_why_it_is_empty() -> None:
    assert page_with_empty_figures("seasons").count("This shop has no weather.") == 2
    customers = page_with_empty_figures("customers")
    assert page_with_empty_figures("subscriptions").count("This shop has no subscriptions.") == 5
    assert customers.count("This shop has no customer interactions.") == 2
    assert "No rows in 1 Mar 2024 to 1 Mar 2024." in customers


def test_figure_that_needs_a_year_says_so_and_not_that_the_chosen_days_have_no_rows() -> None:
    seasons = page_with_empty_figures("seasons")
    assert seasons.count("A category needs twelve complete months of sales to be shown here.") == 1
    assert "No rows in 1 Mar 2024 to 1 Mar 2024." in seasons


def test_one_absent_source_is_named_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    choose_shop_without("refund", monkeypatch)
    assert absent_in_words() == absence_of_source("refund") == "This shop has no refunds."
    assert absence_of("fact_refunds") == "This shop has no refunds."


def trend_of(*days: dict[str, Any]) -> RenderedFigure:
    """Revenue by day for these rows, as the shop's profile has it now."""
    trend = PAGES["revenue"].figure("trend")
    assert trend is not None
    totals = {"daily_revenue": Decimal(100), "refunded_amount": Decimal(0), "net_revenue": Decimal(100)}
    totals["guest_revenue"] = Decimal(30)
    return RenderedFigure(trend, absences(), rows(*days), len(days), totals=rows(totals))


def test_figure_leaves_out_columns_of_an_absent_source(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "order_date": DAY, "daily_revenue": Decimal(100), "refunded_amount": Decimal(0), "net_revenue": Decimal(100),
        "revenue_7d_avg": Decimal(100), "daily_gross_profit": Decimal(10), "gross_margin_percent": Decimal(20),
        "known_cost_percent": Decimal(50), "daily_orders": 4, "daily_customers": 2,
        "guest_orders": 1, "guest_order_percent": Decimal(25), "guest_revenue": Decimal(30),
        "avg_order_value": Decimal(25), "daily_growth_percent": None,
    }  # fmt: skip
    figure = trend_of(values)
    assert [column.label for column in figure.columns][:4] == ["Day", "Revenue", "Refunds", "Net revenue"]
    assert "Net revenue" in figure.table("", PAGES["revenue"], Filters(DAY, DAY, None, DAY, DAY))
    assert "Net revenue is" in figure.help
    assert "This shop has no" not in figure.help
    assert figure.summary == (
        "Revenue 100.00 · refunds 0.00 · net revenue 100.00 · guests 30.00, 30.00 % of the revenue"
    )
    choose_shop_without("refund", monkeypatch)
    figure = trend_of(values)
    assert [column.label for column in figure.columns][:3] == ["Day", "Revenue", "7-day average"]
    assert "Net revenue" not in figure.table("", PAGES["revenue"], Filters(DAY, DAY, None, DAY, DAY))
    assert figure.help.endswith("This shop has no refunds.")
    assert "Net revenue" not in figure.help
    assert figure.summary == "Revenue 100.00 · guests 30.00, 30.00 % of the revenue"


def test_summary_of_no_rows_is_empty() -> None:
    assert trend_of().summary == ""


@pytest.mark.usefixtures("example")
def test_calendar_leaves_out_absent_source_and_days_that_it_alone_has() -> None:
    ranges = [
        {"source": "sales_fact", "first_day": DAY, "last_day": DAY},
        # It was loaded before the shop gave it up.
        {"source": "weather_data", "first_day": DAY, "last_day": date(2024, 3, 5)},
    ]
    calendar = status.calendar([], ranges, DAY, date(2024, 3, 5))
    assert list(calendar) == ["product", "product_category", "sales_fact", "refund", "customer"]
    assert {cell.state for cells in calendar.values() for cell in cells[1:]} == {"none"}


def test_today_has_key_figures_only_of_present_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = [figure.name for figure, _ in rows_of_figures(DAY, [], [], [], [])]
    monkeypatch.setenv(VARIABLE, "example")
    present = [figure.name for figure, _ in rows_of_figures(DAY, [], [], [], [])]
    assert set(everything) - set(present) == {"subscriptions", "mrr", "conversion"}
    assert "revenue" in present
