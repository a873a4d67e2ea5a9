"""What the pages say of sources that the shop does not have."""

from dataclasses import fields
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ecommerce.common.shop import VARIABLE
from shop_pages import status
from shop_pages.absent_sources import absence_of, absent_in_words
from shop_pages.pages import PAGES
from shop_pages.queries import Rows
from shop_pages.rendering import render_html
from shop_pages.routes.figure_pages import Filters, RenderedFigure
from shop_pages.today import TodayRows, _measures

DAY = date(2024, 3, 1)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shop without events, subscriptions and weather."""
    monkeypatch.setenv(VARIABLE, "example")


def rows(*values: dict[str, Any]) -> Rows:
    return Rows(list(values), datetime(2024, 3, 2, tzinfo=UTC))


def page_with_empty_figures(name: str) -> str:
    page = PAGES[name]
    values: dict[str, Any] = {
        "page": page.name, "title": page.title, "lead": page.lead, "takes_category": False,
        "filters": Filters(DAY, DAY, None), "days": {"first": DAY, "last": DAY}, "presets": [], "categories": [],
        "figures": [RenderedFigure(figure, rows(), rows()) for figure in page.figures],
    }  # fmt: skip
    return render_html(cast("Any", SimpleNamespace(scope={"root_path": ""})), "figures.html", **values)


def test_shop_with_every_source_says_nothing() -> None:
    assert absent_in_words() == ""
    assert absence_of("weather_sales_impact") is None
    assert "This shop has no" not in page_with_empty_figures("seasons")


@pytest.mark.usefixtures("example")
def test_absent_sources_are_named_in_a_sentence() -> None:
    assert absent_in_words() == "This shop has no customer events, subscriptions, weather."
    assert absence_of("subscription_performance_monthly") == "This shop has no subscriptions."
    assert absence_of("daily_revenue") is None


@pytest.mark.usefixtures("example")
def test_figure_of_an_absent_source_says_why_it_is_empty() -> None:
    assert page_with_empty_figures("seasons").count("This shop has no weather.") == 1
    customers = page_with_empty_figures("customers")
    assert customers.count("This shop has no subscriptions.") == 2
    assert customers.count("This shop has no customer events.") == 2
    assert "No rows in 1 Mar 2024 to 1 Mar 2024." in customers


@pytest.mark.usefixtures("example")
def test_calendar_has_no_row_of_an_absent_source_and_none_is_late_for_it() -> None:
    ranges = [
        {"source": "sales_fact", "first_day": DAY, "last_day": DAY},
        # It was loaded before the shop gave it up.
        {"source": "weather_data", "first_day": DAY, "last_day": date(2024, 3, 5)},
    ]
    calendar = status.calendar([], ranges, DAY, date(2024, 3, 5))
    assert list(calendar) == ["product", "product_category", "sales_fact", "refund", "customer"]
    assert {cell.state for cells in calendar.values() for cell in cells[1:]} == {"none"}


def test_today_has_key_figures_only_of_present_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    data = TodayRows(**{field.name: rows() for field in fields(TodayRows)} | {"problems": []})  # type: ignore[arg-type]
    everything = [measure.name for measure, _ in _measures(data, DAY)]
    monkeypatch.setenv(VARIABLE, "example")
    present = [measure.name for measure, _ in _measures(data, DAY)]
    assert set(everything) - set(present) == {"subscriptions", "mrr", "conversion"}
    assert "revenue" in present
