"""The pages Profit and Trends show hand-computed figures of the small warehouse."""

import csv
import html
import io
import json
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.integration.shop_pages.conftest import AS_OF, DAY_BEFORE
from tests.integration.support import set_shop

pytestmark = pytest.mark.usefixtures("patient")

TOYS = "Toys & <b>Games</b>"
MARCH = {"first": AS_OF, "last": AS_OF}
BOTH_MONTHS = {"first": "2024-02-01", "last": AS_OF}


def figure(client: TestClient, page: str, name: str, chosen: dict[str, str]) -> str:
    answer = client.get(f"/{page}", params=chosen)
    assert answer.status_code == 200, answer.text
    found = re.search(rf'<section class="figure[^"]*" id="{name}".*?</section>', answer.text, re.S)
    assert found, name
    return found[0]


def plot(part: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', part, re.S)
    assert found, part
    return json.loads(found[1])


def summary(part: str) -> str:
    found = re.search(r'<p class="summary">(.*?)</p>', part, re.S)
    return html.unescape(found[1]) if found else ""


def rows(client: TestClient, page: str, name: str, chosen: dict[str, str]) -> list[dict[str, str]]:
    answer = client.get(f"/{page}/{name}.csv", params=chosen)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))


# -- profit ------------------------------------------------------------------------------------------------------------


def test_waterfall_leads_from_list_price_to_contribution(client: TestClient) -> None:
    """The long order's line of 60 had half off, the guest's of 100 had 40 % off."""
    part = figure(client, "profit", "steps", MARCH)
    (trace,) = plot(part)["data"]
    assert dict(zip(trace["x"], trace["text"], strict=True)) == {
        "List price": "1,126.67", "Discount": "126.67", "Revenue": "1,000.00", "Refunds": "59.50",
        "Net revenue": "940.50", "Cost": "640.00", "Gross profit": "300.50", "Shipping": "29.00",
        "Contribution": "271.50",
    }  # fmt: skip
    assert round(sum(trace["y"]), 2) == 271.50
    assert summary(part) == (
        "Discounts 126.67, 11.24 % of the list price · refunds 59.50 · left 271.50, 27.15 % of the revenue"
    )


def test_waterfall_of_a_category_has_its_lines_and_refunds_alone(client: TestClient) -> None:
    (trace,) = plot(figure(client, "profit", "steps", {**MARCH, "category": TOYS}))["data"]
    assert trace["text"] == [
        "1,086.67", "126.67", "960.00", "50.00", "910.00", "600.00", "310.00", "29.00", "281.00",
    ]  # fmt: skip
    assert summary(figure(client, "profit", "steps", {**MARCH, "category": "no such"})) == ""


def test_revenue_without_known_cost_is_a_step_of_its_own(client: TestClient) -> None:
    (trace,) = plot(figure(client, "profit", "steps", BOTH_MONTHS))["data"]
    steps = dict(zip(trace["x"], trace["y"], strict=True))
    assert steps["Cost not known"] == -100
    assert round(sum(trace["y"]), 2) == 271.50 + 1118.75
    february, march = rows(client, "profit", "steps", BOTH_MONTHS)
    assert (february["unknown_cost_revenue"], february["net_contribution"]) == ("100.00", "1118.75")
    assert (march["unknown_cost_revenue"], march["net_contribution"]) == ("0.00", "271.50")


def test_shop_without_refunds_has_no_step_of_them(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    set_shop(monkeypatch, refund="absent")
    part = figure(client, "profit", "steps", {**MARCH, "last": DAY_BEFORE, "first": DAY_BEFORE})
    assert "Refunds" not in plot(part)["data"][0]["x"]
    assert "This shop has no refunds." in part


def test_bridge_of_running_month_starts_from_as_many_days(client: TestClient) -> None:
    """Nothing was sold on the 1st of February: all is volume."""
    part = figure(client, "profit", "bridge", MARCH)
    (trace,) = plot(part)["data"]
    assert trace["x"] == [
        "Month before", "Volume", "Mix", "List prices", "Discounts", "Costs", "Shipping", "Mar 2024 so far",
    ]  # fmt: skip
    assert trace["y"] == [0, 331, 0, 0, 0, 0, 0, 0]
    assert summary(part) == (
        "Mar 2024 so far: contribution 331.00, 331.00 more than in as many days of the month before."
        " The largest effect: volume +331.00"
    )
    assert plot(figure(client, "profit", "bridge", {"first": DAY_BEFORE, "last": DAY_BEFORE}))["data"][0]["x"][-1] == (
        "Feb 2024"
    )


def test_discounts_of_each_category_are_on_the_page(client: TestClient) -> None:
    found = rows(client, "profit", "discounts", MARCH)
    assert [(row["category_name"], row["discount_amount"], row["discount_percent"]) for row in found] == [
        (TOYS, "126.67", "11.66"), ("Books", "0.00", "0.00"),
    ]  # fmt: skip


def test_bands_go_from_the_lowest_to_the_highest(client: TestClient) -> None:
    found = rows(client, "profit", "shipping_bands", MARCH)
    assert [(row["shipping_band"], row["contribution_amount"]) for row in found] == [
        ("free", "0.00"), ("to 5 %", "351.00"), ("over 10 %", "-20.00"),
    ]  # fmt: skip
    found = rows(client, "profit", "discount_bands", MARCH)
    assert [(row["discount_band"], row["contribution_amount"]) for row in found] == [
        ("none", "312.00"), ("over 30 %", "19.00"),
    ]  # fmt: skip


def test_losses_lead_to_their_lines_the_largest_first(client: TestClient) -> None:
    assert "No product of these months lost money." in figure(client, "profit", "losing_products", MARCH)
    part = figure(client, "profit", "losing_orders", MARCH)
    (row,) = rows(client, "profit", "losing_orders", MARCH)
    assert (row["loss_orders"], row["loss_amount"], row["orders"]) == ("1", "20.00", "1")
    (link,) = {html.unescape(found) for found in re.findall(r'href="(/rows/[^"]+)"', part)}
    lines = client.get(link)
    assert lines.status_code == 200
    assert "-20.00 = Contribution amount" in lines.text


# -- trends ------------------------------------------------------------------------------------------------------------


def test_trends_show_each_grain_and_what_a_link_has_chosen(client: TestClient) -> None:
    found = rows(client, "trends", "periods", {"grain": "quarter", "first": "2024-01-01", "last": AS_OF})
    assert [(row["period_start"], row["revenue"]) for row in found] == [("2024-01-01", "2800.00")]
    page = client.get("/trends", params={"grain": "week", "category": "Books", **BOTH_MONTHS}).text
    assert '<option value="week" selected>' in page
    assert "<option selected>Books</option>" in page
    (trace, *_) = plot(figure(client, "trends", "periods", {"grain": "week", "category": "Books", **BOTH_MONTHS}))[
        "data"
    ]
    # The first order of Books was on the 23rd of February.
    assert trace["x"][-2:] == ["week of 19 Feb 2024", "week of 26 Feb 2024 so far"]
    assert trace["y"][-2:] == [1000, 40]


def test_to_date_has_a_row_for_each_running_period(client: TestClient) -> None:
    found = rows(client, "trends", "to_date", {})
    assert [(row["grain"], row["period_start"], row["days_elapsed"], row["revenue"]) for row in found] == [
        ("week", "2024-02-26", "5", "1800.00"),
        ("month", "2024-03-01", "1", "1000.00"),
        ("quarter", "2024-01-01", "61", "2800.00"),
        ("year", "2024-01-01", "61", "2800.00"),
    ]


def test_running_month_has_to_reach_a_share_of_its_target(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = set_shop(monkeypatch) / "targets.csv"
    targets.write_text("month,category,revenue\n2024-01,,5\n2024-02,,2000\n2024-03,,24800\n2024-03,Books,3100\n")
    march, february = rows(client, "trends", "periods", BOTH_MONTHS)
    assert (february["target"], february["target_to_date"], february["target_percent"]) == (
        "2000", "2000.00", "90.00",
    )  # fmt: skip
    assert (march["target"], march["target_to_date"], march["target_percent"]) == ("24800", "800.00", "125.00")
    part = figure(client, "trends", "periods", BOTH_MONTHS)
    assert "125.00 % of the target to date" in summary(part)
    assert [trace["name"] for trace in plot(part)["data"]][-2:] == ["Target", "Run rate of the running period"]
    (books,) = rows(client, "trends", "periods", {**BOTH_MONTHS, "category": "Books"})[:1]
    assert (books["revenue"], books["target_to_date"], books["target_percent"]) == ("40.00", "100.00", "40.00")
    # Of a quarter each month needs a target, of a year too; weeks have none.
    targets_of = {row["grain"]: row["target"] for row in rows(client, "trends", "to_date", {})}
    assert targets_of == {"week": "", "month": "24800", "quarter": "26805", "year": ""}
    found = rows(client, "trends", "targets", BOTH_MONTHS)
    assert [(row["category_name"], row["revenue"], row["difference"]) for row in found] == [
        ("All categories", "1000.00", "200.00"), ("Books", "40.00", "-60.00"), ("All categories", "1800.00", "-200.00"),
    ]  # fmt: skip


def test_mistake_in_targets_is_shown_and_the_figures_too(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    (set_shop(monkeypatch) / "targets.csv").write_text("month,category,revenue\n2024-03,,much\n")
    page = client.get("/trends", params=MARCH).text
    assert "No targets are shown: " in page
    assert "targets.csv, line 2: revenue is &#39;much&#39;" in page
    assert "1,000.00" in page
    (set_shop(monkeypatch) / "targets.csv").write_text("month,category,revenue\n")
    assert "No targets are shown" not in client.get("/trends", params=MARCH).text


def test_movers_are_of_the_last_period_the_largest_difference_first(client: TestClient) -> None:
    found = rows(client, "trends", "movers", {"first": "2023-03-01", "last": DAY_BEFORE})
    # February of 2023 is not loaded, and in January nothing was sold.
    assert [(row["category_name"], row["difference"]) for row in found] == [
        ("Books", "1000.00"), (TOYS, "700.00"), ("Food", "100.00"), ("", "0.00"),
    ]  # fmt: skip
