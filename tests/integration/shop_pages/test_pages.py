"""All pages over a warehouse with known figures: access, content, caching, and an unavailable warehouse."""

import asyncio
import base64
import csv
import hashlib
import html
import io
import json
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import psycopg
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from psycopg.rows import dict_row

from ecommerce.build import lease
from ecommerce.common.connections import PUBLISHER, warehouse
from ecommerce.publish.publication import publish
from ecommerce.publish.rollback import roll_back
from include.demo import airflow_services
from shop_pages import limits, status
from shop_pages.access import require_monitor, require_read_access, require_same_site
from shop_pages.app import create_app
from shop_pages.drill import DRILL_PATHS
from shop_pages.pages import PAGES
from shop_pages.pool import ConnectionPool, LastAnswers, WarehouseUnavailable
from shop_pages.queries import Rows, TooManyRows, Warehouse
from shop_pages.routes import status_page
from shop_pages.security import CHART_HEADERS, SECURITY_HEADERS
from tests.integration.shop_pages.conftest import (
    AS_OF,
    DAY_BEFORE,
    FORMULA_NAME,
    GUEST_ORDER,
    HOSTILE_NAME,
    LONG_ORDER,
    ORDER_LINES,
    WEEK_BEFORE,
    YEAR_BEFORE,
    client_of,
)
from tests.integration.support import checks_passed, set_shop

BI = (Path(__file__).parents[3] / "docs" / "bi.md").read_text()

#: A value for each part of an address.
PARTS = {
    "digest": "latest", "name": "pages.css", "figure": "trend", "mart": "daily_revenue", "fact": "fact_sales",
    "batch_id": "1", "source": "sales_fact", "day": AS_OF, "publication_id": "1", "alert_id": "1",
    "dag_id": "ecommerce_warehouse", "path": "nothing", "table": "runs",
}  # fmt: skip


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def routes(app: FastAPI) -> list[str]:
    """Every address of the application; only FastAPI's own routes require a user."""
    found = []
    for route in app.routes:
        assert isinstance(route, APIRoute), f"{route} is not protected by the application's dependencies"
        found.append(route.path_format.format(**PARTS))
    assert len(found) > 15
    return found


# -- access ------------------------------------------------------------------------------------------------------------


def test_every_address_requires_user_with_access_to_dag(tokens: dict[str, str]) -> None:
    app = create_app()
    # Of the one for monitors see test_health.py.
    known = [*(path for path in routes(app) if path != "/health"), "/static/x/plotly-cartesian.min.js"]
    unknown = [
        "/nothing", "/today/", "/today/more", "/static", "/static/", "/static/pages.css", "/static/x/nothing.js",
        "/static/x/../pages.css", "/openapi.json", "/docs", "/redoc", "/revenue/trend", "/models/a/b", "/%2e%2e/x",
    ]  # fmt: skip
    with TestClient(app, follow_redirects=False) as client:
        for path in [*known, *unknown]:
            for method in METHODS:
                answers = [
                    client.request(method, path, headers=headers)
                    for headers in ({}, bearer(tokens["nobody"]), bearer("not.a.token"))
                ]
                assert [answer.status_code for answer in answers] == [401, 403, 403], (method, path)
        for path in unknown:
            assert client.get(path, headers=bearer(tokens["viewer"])).status_code == 404, path
        for path in ("/today", "/nothing"):
            assert "Log in" in client.get(path).text


def test_every_route_depends_on_access_check() -> None:
    for route in create_app().routes:
        assert isinstance(route, APIRoute)
        calls = [dependency.call for dependency in route.dependant.dependencies]
        assert (require_monitor if route.path == "/health" else require_read_access) in calls, route.path
        if route.methods - {"GET", "HEAD"} and route.path != "/{path:path}":
            assert require_same_site in calls, route.path
            assert route.methods == {"POST"}, route.path


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_viewer_cannot_start_run(client: TestClient) -> None:
    answer = client.post("/trigger/ecommerce_warehouse", data={"start_date": AS_OF})
    assert answer.status_code == 403
    assert "may not start" in answer.text


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({}, False),
        ({"Origin": "https://elsewhere.example"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://testserver"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "http://testserver"}, True),
    ],
)
def test_request_from_another_site_cannot_start_run(
    tokens: dict[str, str], headers: dict[str, str], is_own: bool
) -> None:
    with client_of(None) as client:
        client.cookies.set("_token", tokens["viewer"])
        answer = client.post("/trigger/ecommerce_warehouse", headers=headers)
        assert answer.status_code == 403
        # A viewer is rejected in both cases, but from a page of this site for the missing right.
        assert ("may not start" in answer.text) is is_own


def test_every_answer_has_security_headers(client: TestClient) -> None:
    for path in (
        "/today",
        "/nothing",
        "/static/latest/pages.js",
        "/revenue/trend.csv",
        "/rows/daily_revenue?order_date=x",
    ):
        answer = client.get(path)
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers[name] == value, path
    for policy in (SECURITY_HEADERS["Content-Security-Policy"], CHART_HEADERS["Content-Security-Policy"]):
        assert "script-src 'self';" in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'self'" in policy
    # Inline styles are for charts only, and there for attributes only.
    assert "unsafe-inline" not in SECURITY_HEADERS["Content-Security-Policy"]
    assert client.get("/revenue").headers["Content-Security-Policy"] == CHART_HEADERS["Content-Security-Policy"]
    assert CHART_HEADERS["Content-Security-Policy"].count("'unsafe-inline'") == 1
    assert "style-src-attr 'unsafe-inline'" in CHART_HEADERS["Content-Security-Policy"]
    with client_of(None) as nobody:
        login = nobody.get("/today")
        style = re.search(r"<style>(.*?)</style>", login.text)
        assert style is not None
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        assert f"'sha256-{digest}'" in login.headers["Content-Security-Policy"]
        assert "style=" not in login.text


class Attributes(HTMLParser):
    """Names of all attributes of a page, as a browser would read them."""

    @classmethod
    def of(cls, html: str) -> set[str]:
        parser = cls()
        parser.names = set()
        parser.feed(html)
        return parser.names

    names: set[str]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names |= {name for name, _ in attributes}


def test_pages_have_no_inline_script_or_handler(client: TestClient) -> None:
    for path in [*every_page(), "/status", "/models/daily_revenue", f"/rows/daily_revenue?order_date={AS_OF}"]:
        html = client.get(path).text
        for attributes, content in re.findall(r"<script([^>]*)>(.*?)</script>", html, re.S):
            assert not content or 'type="application/json"' in attributes, path
        names = Attributes.of(html)
        assert "class" in names
        assert not any(name.startswith("on") for name in names), path
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", html), path


def test_roles_cannot_read_more_than_granted(filled: Callable[[str], str]) -> None:
    with psycopg.connect(filled("reader"), autocommit=True) as reader:
        for relation in ("ops.load_batch", "raw.sales_fact", "core.fact_sales", "ops.quarantine_shown"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(f"select * from {relation}".encode())
    with psycopg.connect(filled("inspector"), autocommit=True) as inspector:
        for query in (
            "select customer_email from raw.customer", "select customer_name from raw.customer",
            "select * from core.dim_customer", "select customer_name from core.dim_customer",
            "select * from ops.check_failure", "select * from ops.quarantine", "select * from staging.stg_customer",
            "delete from ops.load_batch", "update raw.sales_fact set order_id = '1'",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                inspector.execute(query.encode())
        assert inspector.execute("select customer_id, customer_status from core.dim_customer").fetchall()
        assert inspector.execute("select count(*) from core.fact_sales").fetchone() == (ORDER_LINES,)


# -- content -----------------------------------------------------------------------------------------------------------


def every_page() -> list[str]:
    return ["/today", *(f"/{name}?first={YEAR_BEFORE}&last={AS_OF}" for name in PAGES)]


def test_today_shows_hand_computed_figures(client: TestClient) -> None:
    html = client.get("/today").text
    assert f'<time datetime="{AS_OF}">1 Mar 2024</time>' in html
    figures = {}
    for name, body in re.findall(r'<article class="kpi" id="(\w+)">(.*?)</article>', html, re.S):
        value = re.search(r'class="value" data-tip="([^"]*)"', body)
        changes = re.findall(r'<dd class="(\w+)"[^>]*>(.*?)</dd>', body, re.S)
        assert value is not None
        figures[name] = (value[1], [re.sub(r"<.*?>|[▲▼]", "", text).strip() for _, text in changes])
    assert figures == {
        # to the day before, the week before, the year before
        "revenue": ("1,000.00 EUR", ["+25.0 %", "±0.0 %", "+100.0 %"]),
        "orders": ("10", ["+25.0 %", "+100.0 %", "+150.0 %"]),
        "average_order_value": ("100.00 EUR", ["±0.0 %", "−50.0 %", "−20.0 %"]),
        # 36 %; then 40 % of the 700 whose cost is known, 90 % and 52 %
        "gross_margin": ("36.00 %", ["−4.00 pp", "−54.00 pp", "−16.00 pp"]),
        "subscriptions": ("3", ["+50.0 %", "+200.0 %", "−25.0 %"]),
        "mrr": ("30.00 EUR", ["+50.0 %", "+200.0 %", "−25.0 %"]),
        # one of four; one of two the day before
        "conversion": ("25.00 %", ["−25.00 pp", "no value then", "no value then"]),
    }


def test_today_shows_refunds_guests_and_unknown_costs_beside_the_figures(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    html = client.get("/today").text
    articles = re.findall(r'<article class="kpi" id="(\w+)">(.*?)</article>', html, re.S)
    notes = {name: note for name, body in articles for note in re.findall(r'<p class="note">([^<]*)<', body)}
    assert notes == {"revenue": "59.50 refunded on this day · net 940.50", "orders": "1 by guests (10.00 %)"}
    assert "This shop has no" not in html
    set_shop(monkeypatch, refund="absent")
    html = client.get("/today").text
    assert "refunded on this day" not in html
    assert "This shop has no refunds." in html


def test_today_and_status_show_the_age_of_the_data_beside_that_of_the_publication(client: TestClient) -> None:
    for path in ("/today", "/status"):
        shown = client.get(path).text
        (age,) = re.findall(r'<span class="badge bad">([^<]*days ago)</span>', shown)
        assert re.fullmatch(r"(last day of data: )?[\d,]+ days ago", age)
        assert re.search(
            r'<span tabindex="0" class="badge unknown" data-tip="[^"]*">(published )?(just now|\d+ minutes? ago)<',
            shown,
        )


def test_today_shows_checks_of_each_figure_and_attention_items(client: TestClient) -> None:
    html = client.get("/today").text
    revenue = re.search(r'id="revenue">.*?<p tabindex="0" class="badge (\w+)" data-tip="([^"]*)">([^<]*)<', html, re.S)
    conversion = re.search(
        r'id="conversion">.*?<p tabindex="0" class="badge (\w+)" data-tip="([^"]*)">([^<]*)<', html, re.S
    )
    mrr = re.search(r'id="mrr">.*?<p tabindex="0" class="badge (\w+)" data-tip="([^"]*)">([^<]*)<', html, re.S)
    assert revenue
    assert conversion
    assert mrr
    age = r"(just now|\d+ minutes? ago)"
    assert revenue[1] == "warn"
    assert re.fullmatch(f"1 of 2 checks passed · {age}", revenue[3])
    assert "10 orders of about 20" in revenue[2]
    assert conversion[1] == "good"
    assert re.fullmatch(f"1 check passed · {age}", conversion[3])
    assert mrr[1] == "unknown"
    assert re.fullmatch(f"published {age}, unchecked", mrr[3])
    for text, link in (
        ("1 product sold out", "/operations#reorder"), ("1 product to order", "/stock#order"),
        ("4 orders of 30 days to review", "/review"), ("Check volume warns", "/status#checks"),
        ("1 row rejected in the last loads", "/status#quarantine"),
    ):  # fmt: skip
        assert f'<a href="{link}">{text}</a>' in html, text


@pytest.mark.parametrize("page", list(PAGES))
def test_every_figure_has_chart_table_csv_and_model_link(client: TestClient, page: str) -> None:
    filters = f"first={YEAR_BEFORE}&last={AS_OF}"
    html = client.get(f"/{page}?{filters}").text
    assert 'class="state error"' not in html
    drawn = re.findall(r'<script type="application/json" data-plot="(\w+)">(.*?)</script>', html, re.S)
    plots = {name: json.loads(text) for name, text in drawn}
    for figure in PAGES[page].figures:
        section = html[html.index(f'id="{figure.name}"') :]
        section = section[: section.index("</section>")]
        answer = client.get(f"/{page}/{figure.name}.csv?{filters}")
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.text.startswith("\ufeff")
        header, *rows = csv.reader(io.StringIO(answer.text.removeprefix("\ufeff")))
        assert header == [column.name for column in figure.columns]
        assert section.count("<tr") == (min(len(rows), limits.PAGE_ROWS) + 1 if rows else 0), figure.name
        if not rows:
            assert (figure.when_empty or "No rows in 3 Mar 2023 to 1 Mar 2024") in section
            continue
        assert f'href="/models/{figure.mart}"' in section
        assert f'href="/metrics#{figure.mart}"' in section
        if figure.draw is not None:
            plot = plots[figure.name]
            assert plot["data"], figure.name
            assert all(any(trace.get(key) for key in ("x", "labels")) for trace in plot["data"]), figure.name
            assert 'data-save="png"' in section
            assert 'data-save="svg"' in section


def test_filters_apply_to_page_and_csv(client: TestClient) -> None:
    days = client.get(f"/revenue/trend.csv?first=2024-02-29&last={AS_OF}").text.splitlines()
    assert [line.split(",")[0] for line in days[1:]] == ["2024-02-29", AS_OF]
    books = client.get(f"/revenue/categories.csv?first={YEAR_BEFORE}&last={AS_OF}&category=Books").text.splitlines()
    assert [line.split(",")[:2] for line in books[1:]] == [["2024-02-01", "Books"], ["2024-03-01", "Books"]]
    nothing = client.get(f"/revenue?first={YEAR_BEFORE}&last={AS_OF}&category=Cheese").text
    assert "for Cheese" in nothing
    assert client.get("/revenue?first=2024-03-01&last=2024-02-01").status_code == 400
    assert "is not a day such as" in client.get("/revenue?first=yesterday").text


def csv_rows(client: TestClient, address: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(client.get(address).text.removeprefix("\ufeff"))))


def figure_section(client: TestClient, page: str, figure: str, filters: str = "") -> str:
    html = client.get(f"/{page}?{filters}").text
    section = html[html.index(f'id="{figure}"') :]
    return section[: section.index("</section>")]


def test_revenue_shows_refunds_net_revenue_and_guests(client: TestClient) -> None:
    days = f"first={DAY_BEFORE}&last={AS_OF}"
    names = ("order_date", "daily_revenue", "refunded_amount", "net_revenue", "guest_orders", "guest_order_percent")
    rows = [[row[name] for name in names] for row in csv_rows(client, f"/revenue/trend.csv?{days}")]
    assert rows == [
        [DAY_BEFORE, "800.00", "11.25", "788.75", "0", "0.00"],
        [AS_OF, "1000.00", "59.50", "940.50", "1", "10.00"],
    ]
    section = figure_section(client, "revenue", "trend", days)
    assert "Revenue is gross" in section
    (plot,) = re.findall(r"data-plot=[^>]*>(.*?)</script>", section, re.S)
    assert [trace["name"] for trace in json.loads(plot)["data"]] == [
        "Revenue",
        "7-day average of revenue",
        "Net revenue",
    ]


def test_summary_of_days_does_not_add_up_orders(client: TestClient) -> None:
    days = f"first={DAY_BEFORE}&last={AS_OF}"
    # The two days have 17 orders: one has a line on both.
    assert [row["daily_orders"] for row in csv_rows(client, f"/revenue/trend.csv?{days}")] == ["8", "10"]
    section = figure_section(client, "revenue", "trend", days)
    assert re.findall(r'<p class="summary">([^<]*)</p>', section) == [
        "Revenue 1,800.00 · refunds 70.75 · net revenue 1,729.25 · guests 100.00, 5.56 % of the revenue"
    ]
    assert "An order with lines on two days counts on both." in section


def test_margin_of_day_is_of_lines_with_known_cost(client: TestClient) -> None:
    rows = csv_rows(client, f"/revenue/trend.csv?first={DAY_BEFORE}&last={AS_OF}")
    names = ("daily_revenue", "daily_gross_profit", "gross_margin_percent", "known_cost_percent")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("800.00", "280.00", "40.00", "87.50"),
        ("1000.00", "360.00", "36.00", "100.00"),
    ]


def test_margin_of_category_stands_beside_the_share_of_known_cost(client: TestClient) -> None:
    without_cost = csv_rows(client, f"/revenue/categories.csv?first={DAY_BEFORE}&last={DAY_BEFORE}&category=Food")
    assert [(row["gross_margin_percent"], row["known_cost_percent"]) for row in without_cost] == [("", "0.00")]
    rows = csv_rows(client, f"/revenue/categories.csv?first={AS_OF}&last={AS_OF}")
    # Profit: 960 − 10 × 60, and 40 − 2 × 20; of a refund without a product, nothing.
    assert [(row["revenue"], row["gross_margin_percent"], row["known_cost_percent"]) for row in rows] == [
        ("960.00", "37.50", "100.00"), ("40.00", "0.00", "100.00"), ("0.00", "", ""),
    ]  # fmt: skip
    assert "Revenue with known cost" in figure_section(client, "revenue", "categories", f"first={AS_OF}&last={AS_OF}")


def test_refunds_by_month_add_up_to_those_of_the_source(client: TestClient) -> None:
    rows = csv_rows(client, f"/revenue/refunds.csv?first={YEAR_BEFORE}&last={AS_OF}")
    assert [(row["month"], row["refunded_amount"], row["percent"]) for row in rows] == [
        ("2023-05-01", "25.00", ""), ("2024-02-01", "11.25", "0.63"), ("2024-03-01", "59.50", "5.95"),
    ]  # fmt: skip
    assert "No rows in 1 Jan 2024 to 31 Jan 2024." in figure_section(
        client, "revenue", "refunds", "first=2024-01-01&last=2024-01-31"
    )


def test_payment_mix_counts_orders_of_one_category_only(client: TestClient) -> None:
    address = f"/revenue/payments.csv?first={AS_OF}&last={AS_OF}"
    # The long order has lines of two categories: all together they would count it twice.
    assert [row["orders"] for row in csv_rows(client, address)] == ["", ""]
    assert [row["orders"] for row in csv_rows(client, f"{address}&category=Books")] == ["1"]


def test_lifetime_value_is_net_and_leaves_out_guests(client: TestClient) -> None:
    rows = csv_rows(client, "/customers/best.csv")
    names = ("customer_id", "lifetime_revenue", "refunded_amount", "lifetime_value", "total_orders")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("CUST001", "1250.00", "39.00", "1211.00", "10"),
        ("CUST002", "1125.00", "31.25", "1093.75", "9"),
        ("CUST003", "825.00", "0.00", "825.00", "6"),
        # Known by an event alone.
        ("CUST004", "0.00", "0.00", "0.00", "0"),
    ]
    section = figure_section(client, "customers", "tiers")
    assert '<p class="summary">Guests: 100.00, 3.03 % of all revenue</p>' in section
    assert sum(int(row["customers"]) for row in csv_rows(client, "/customers/tiers.csv")) == 4


def test_subscribers_show_who_pays_how_much_since_when(client: TestClient) -> None:
    names = ("customer_name", "plan_type", "monthly_fee", "first_start_date", "months_active", "lifetime_fees")
    rows = csv_rows(client, "/subscriptions/subscribers.csv")
    # February to May 2023, and since January, February or March. The first had two subscriptions at the same time.
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("Customer 1", "Basic", "10.00", "2023-02-01", "7", "110.00"),
        ("Customer 2", "Basic", "10.00", "2023-02-02", "6", "50.00"),
        ("Customer 3", "Basic", "10.00", "2023-02-03", "5", "50.00"),
    ]


def test_segment_lists_its_customers_to_open_and_download(client: TestClient) -> None:
    segments = csv_rows(client, "/customers/segments.csv")
    assert sum(int(row["customers"]) for row in segments) == 4
    page = client.get("/customers").text
    for row in segments:
        path = f"/customers?{urlencode({'segment': row['rfm_segment']})}"
        assert re.search(
            rf'href="/customers\?first=[^"]*&{re.escape(path.partition("?")[2])}#best"', html.unescape(page)
        )
        listed = csv_rows(client, f"/customers/best.csv?{path.partition('?')[2]}")
        assert len(listed) == int(row["customers"])
        assert {customer["rfm_segment"] for customer in listed} == {row["rfm_segment"]}
        opened = client.get(path).text
        assert f"<option selected>{row['rfm_segment']}</option>" in opened
        assert all(f'href="/customer?customer_id={customer["customer_id"]}"' in opened for customer in listed)
    assert len(csv_rows(client, "/customers/best.csv")) == 4


def test_repeat_purchases_are_of_those_who_made_the_order_before(client: TestClient) -> None:
    rows = csv_rows(client, "/customers/repeat.csv")
    names = ("order_number", "customers", "repeat_rate_percent")
    # Ten, nine and six orders.
    assert [tuple(row[name] for name in names) for row in rows[5:9]] == [
        ("6", "3", "100.00"), ("7", "2", "66.67"), ("8", "2", "100.00"), ("9", "2", "100.00"),
    ]  # fmt: skip
    assert (rows[9]["customers"], rows[9]["repeat_rate_percent"]) == ("1", "50.00")


def test_customer_page_shows_orders_refunds_subscriptions_and_events(client: TestClient) -> None:
    answer = client.get("/customer?customer_id=CUST001")
    assert answer.status_code == 200
    page = html.unescape(answer.text)
    assert "<h1>Customer 1</h1>" in page
    assert "1,211.00 in 10 orders" in page
    orders = page[page.index('id="orders"') :].partition("</section>")[0]
    assert orders.count("/facts/fact_sales?") == 10
    assert f"/facts/fact_sales?{urlencode({'key': LONG_ORDER})}" in orders
    for name, links in (("refunds", 3), ("subscriptions", 3), ("events", 3)):
        part = page[page.index(f'id="{name}"') :].partition("</section>")[0]
        assert part.count(f'href="/facts/fact_{"customer_events" if name == "events" else name}') == links, name
    assert client.get("/customer?customer_id=NOBODY").status_code == 404
    assert client.get("/customer").status_code == 400


def test_customer_page_has_the_form_that_erases_for_administrators_only(
    client: TestClient, tokens: dict[str, str]
) -> None:
    path = "/customer?customer_id=CUST002"
    assert 'id="erase"' not in client.get(path).text
    page = client.get(path, headers={"Authorization": f"Bearer {tokens['admin']}"}).text
    form = page[page.index('id="erase"') :].partition("</section>")[0]
    assert 'method="post" action="/trigger/erase_customer"' in form
    assert '<input type="hidden" name="customer" value="CUST002">' in form
    assert '<input type="checkbox" name="dry_run" checked>' in form
    # The page is cached for each of both.
    assert 'id="erase"' not in client.get(path).text


def test_customer_page_ends_with_the_segment_of_the_mart(client: TestClient) -> None:
    for row in csv_rows(client, "/customers/best.csv"):
        page = client.get(f"/customer?customer_id={row['customer_id']}").text
        segments = page[page.index('id="segments"') :].partition("</section>")[0]
        cells = [re.sub(r"<.*?>", "", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", segments, re.S)]
        shown = (cells[1], cells[2], cells[3].replace(",", ""))
        assert shown == (row["rfm_segment"], row["total_orders"], row["lifetime_value"]), row["customer_id"]
        # The as-of date, which is the first of a month, and the ends of the six months before.
        assert len(cells) == 7 * 7


def test_stock_page_says_what_to_order_and_why(client: TestClient) -> None:
    rows = csv_rows(client, "/stock/order.csv")
    assert {row["product_id"]: row["suggested_order_quantity"] for row in rows} == stock_to_order()
    reasons = {row["product_id"]: row["reason"] for row in rows}
    assert reasons["P1"].startswith("Sells ")
    assert "5 in stock" in reasons["P1"]


def stock_to_order() -> dict[str, str]:
    """
    Of P1, 5 are in stock: in 90 days 8 and 7 were sold on two days and 1 on another one of them.

    P2 is out of stock on all covered days: there is no day to tell its demand from. Of P3 one was sold, 50 are there.
    """
    sold = [10, 7] + [0] * 88
    mean = sum(sold) / 90
    deviation = (sum((units - mean) ** 2 for units in sold) / 89) ** 0.5
    return {"P1": str(math.ceil(mean * 21 + 1.645 * deviation * 21**0.5 - 5))}


def test_products_without_stock_show_days_and_lost_units(client: TestClient) -> None:
    rows = csv_rows(client, f"/stock/without_stock.csv?first={DAY_BEFORE}&last={AS_OF}")
    assert [(row["product_id"], row["days_stocked_out"], row["estimated_lost_units"]) for row in rows] == [
        ("P2", "2", "")
    ]
    level = csv_rows(client, f"/stock/level.csv?first={DAY_BEFORE}&last={AS_OF}&product=P1")
    assert [(row["date_key"], row["stock_level"], row["units_sold"]) for row in level] == [
        (AS_OF, "5", "10"), (DAY_BEFORE, "5", "7"),
    ]  # fmt: skip


@pytest.mark.usefixtures("patient")
def test_reviews_are_one_row_per_order_and_name_guests(client: TestClient) -> None:
    rows = csv_rows(client, f"/operations/reviews.csv?first={AS_OF}&last={AS_OF}")
    names = ("order_id", "customer_id", "customer_name", "order_amount", "risk_score", "review_priority")
    # Both are urgent and at 100, so the id decides. Discount and list price have 30 + 20 points, shipping 20 more.
    # The gift does not count, so that it is not below its cost.
    assert [tuple(row[name] for name in names) for row in rows] == [
        (GUEST_ORDER, "", "Guest", "100.00", "50", "High"),
        (LONG_ORDER, "CUST001", "Customer 1", "100.00", "70", "High"),
    ]


def test_removed_product_is_not_to_order_again(client: TestClient, filled: Callable[[str], str]) -> None:
    with psycopg.connect(filled("warehouse"), autocommit=True) as owner:
        change = "update marts.inventory_status set product_status = %s where product_id = 'P2'"
        owner.execute(change.encode(), ["Removed"])
        try:
            # Another category than that of any other test: cached rows are valid until a publication.
            rows = csv_rows(client, "/operations/reorder.csv?category=Books")
        finally:
            owner.execute(change.encode(), ["Out of Stock"])
    assert rows == []


def test_shop_without_a_source_says_so_instead_of_empty_figures(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = "first=2023-03-01&last=2023-03-31"
    assert "Net revenue" in figure_section(client, "revenue", "trend", days)
    assert "No rows in 1 Mar 2023 to 31 Mar 2023." in figure_section(client, "revenue", "refunds", days)
    set_shop(monkeypatch, refund="absent", kafka_stream="absent")
    trend = figure_section(client, "revenue", "trend", days)
    assert "<th" in trend
    assert "Net revenue</th>" not in trend
    assert "This shop has no refunds." in trend
    assert "This shop has no refunds." in figure_section(client, "revenue", "refunds", days)
    assert "This shop has no customer interactions." in figure_section(client, "customers", "funnel", days)
    # CSV files have the same columns for all shops, for programs.
    assert "net_revenue" in client.get(f"/revenue/trend.csv?{days}").text.splitlines()[0]


def test_mistake_in_profile_is_shown(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = set_shop(monkeypatch)
    (folder / "shop.yml").write_text("sources: {orders: absent}")
    answer = client.get("/today")
    assert answer.status_code == 500
    assert "there is no source orders" in answer.text


def test_waterfall_starts_with_opening_and_ends_with_closing_value(client: TestClient) -> None:
    html = client.get(f"/subscriptions?first=2024-01-01&last={AS_OF}").text
    found = re.search(r'data-plot="subscriptions">(.*?)</script>', html, re.S)
    assert found is not None
    trace = json.loads(found[1])["data"][0]
    # Each month of new, reactivated and churned; each subscriber of 2024 had an earlier subscription.
    assert trace["measure"] == ["absolute", *["relative"] * 9, "total"]
    assert trace["x"][1][1:4] == ["new", "reactivated", "churned"]
    # Of March only the first day is there.
    assert list(dict.fromkeys(trace["x"][0])) == ["Jan 2024", "Feb 2024", "Mar 2024 (part)"]
    assert sum(trace["y"]) == 30


def test_hostile_names_are_escaped_everywhere(client: TestClient) -> None:
    for path in (*every_page(), "/rows/inventory_status?product_id=P1", f"/rows/daily_revenue?order_date={AS_OF}"):
        html = client.get(path).text
        assert "<script>alert" not in html, path
        assert "<img src=x" not in html, path
        assert "<b>Games</b>" not in html, path
    operations = client.get("/operations").text
    assert "&lt;script&gt;alert(" in operations
    plot = re.search(r'data-plot="reorder">(.*?)</script>', operations, re.S)
    assert plot is not None
    # Plotly reads tags in labels, so they are escaped for it, too.
    assert HOSTILE_NAME.replace("&", "&amp;").replace("<", "&lt;") in json.loads(plot[1])["data"][0]["y"]
    rows = list(csv.reader(io.StringIO(client.get("/operations/reorder.csv").text)))
    names = [row[1] for row in rows[1:]]
    assert sorted(names) == sorted([f"'{FORMULA_NAME}", HOSTILE_NAME])


# -- data status and dbt docs ------------------------------------------------------------------------------------------


def test_status_shows_rejected_rows_without_email_checks_and_load_links(
    client: TestClient, filled: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop_pages.queries.FRESH_SECONDS", 0)
    with psycopg.connect(filled("warehouse"), autocommit=True) as owner:
        owner.execute(
            "insert into ops.quarantine (batch_id, source, reason, payload, quarantined_at)"
            " select min(batch_id), 'customer', 'start_date is not a date',"
            ' \'{"customer_id": "X", "customer_email": "hidden@example.org", "start_date": "soon"}\', now()'
            " from ops.load_batch"
        )
        # Another amount that breaks the same rule.
        owner.execute(
            "insert into ops.quarantine (batch_id, source, reason, payload, quarantined_at)"
            " select batch_id, source, 'order_amount is negative: -2', payload || '{\"order_id\": \"BAD2\"}', now()"
            " from ops.quarantine where source = 'sales_fact'"
        )
    html = client.get(f"/status?first=2024-02-20&last={AS_OF}").text
    assert "start_date is not a date" in html
    assert "hidden@example.org" not in html
    assert re.search(r'order_amount is negative</td>\s*<td class="numeric"><a href="/rejected\?[^"]*">2</a>', html)
    assert f'href="/status/sales_fact/{AS_OF}">' in html
    assert re.search(rf"Sales fact, {AS_OF}: loaded, \d of 1\d rows of the day rejected \(\d+%\), published", html)
    assert "10 orders of about 20" in html
    assert "/undo/" not in html, "there is no publication before the only one"
    assert client.get("/undo/1").status_code == 404
    assert client.get("/status?first=2023-01-01&last=2024-01-01").status_code == 400


def test_day_of_a_source_shows_its_loads_what_is_published_and_why_rows_were_rejected(
    client: TestClient, filled: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop_pages.queries.FRESH_SECONDS", 0)
    airflow_services.build_manifest()
    with psycopg.connect(filled("warehouse"), autocommit=True) as owner:
        ((failed,),) = owner.execute(
            "insert into ops.load_batch (source, window_start, window_end, status, started_at, error)"
            " values ('sales_fact', %s, %s::date + 1, 'failed', now(), 'the shop does not answer') returning batch_id",
            [AS_OF, AS_OF],
        ).fetchall()
        try:
            shown = client.get(f"/status/sales_fact/{AS_OF}").text
        finally:
            owner.execute("delete from ops.load_batch where batch_id = %s", [failed])
    words = " ".join(re.sub(r"<[^>]+>", " ", html.unescape(shown)).split())
    assert "Last load failed" in words
    assert re.search(r"The marts have the rows of batch \d+ , of publication 1 \(", words)
    assert f"The last load, batch {failed} , failed and has changed nothing." in words
    assert "the shop does not answer" in words
    assert re.search(r"\d rows?: order_amount is negative , last in batch \d+", words)
    assert f"/trigger/ecommerce_warehouse?start_date={AS_OF}&amp;end_date={AS_OF}&amp;sources=sales_fact" in shown
    marts = re.findall(r'<td><a href="/models/(\w+)">', shown)
    assert "daily_revenue" in marts
    assert "conversion_funnel_daily" not in marts, "it needs no order"
    assert client.get("/status/nothing/2024-03-01").status_code == 404
    assert client.get("/status/sales_fact/soon").status_code == 400


def test_undo_says_what_changes_and_is_offered_only_for_what_can_be_taken_back(
    client: TestClient, tokens: dict[str, str], filled: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop_pages.queries.FRESH_SECONDS", 0)
    change = "update marts_build.daily_revenue set daily_revenue = daily_revenue + %s where order_date = %s"
    with psycopg.connect(filled("warehouse"), autocommit=True) as owner:
        owner.execute(change, [5, AS_OF])
        lease.take(owner, "a_dag", "another", project="p", full_refresh=False)
        with checks_passed(owner, "another"), warehouse(PUBLISHER) as publisher:
            publish(publisher, "another")
        ((last,),) = owner.execute("select max(publication_id) from ops.publication").fetchall()
        owner.execute(
            "insert into ops.decision"
            " (run_id, check_name, subjects, message, days, difference, asked_at, decision, decided_at, decided_by)"
            " values ('another', 'volume', '{}', '', '{}', '[]', now(), 'approved', now(), 'Ada')"
        )
        try:
            offered = re.findall(r'href="/undo/(\d+)"', client.get("/status").text)
            page = client.get(f"/undo/{last}").text
            with client_of(tokens["user"]) as user:
                of_user = user.get(f"/undo/{last}").text
            first = client.get("/undo/1").status_code
            day = f"/status/sales_fact/{AS_OF}"
            owner.execute("update ops.load_batch set built_by = 'another' where source = 'sales_fact'")
            owner.execute("update ops.build set is_published = true where run_id = 'another'")
            before, _ = client.get(day).text, client.get("/status")
            with warehouse(PUBLISHER) as publisher:
                roll_back(publisher, "rollback_publication", "back", to=1)
            after = client.get(day).text
            revoked = owner.execute("select revoked_by from ops.decision").fetchall()
        finally:
            owner.execute(change, [-5, AS_OF])
            owner.execute("delete from ops.decision")
            owner.execute("delete from ops.publication where publication_id > 1")
            owner.execute("delete from ops.publication_delta where publication_id > 1")
            owner.execute("update ops.build set finished_at = now() where finished_at is null")
    assert (offered, first) == ([str(last)], 404)
    assert "You may see this, but not start a rollback." in page
    assert "not start a rollback" not in of_user
    assert re.findall(r'<button type="submit" class="main"( disabled)?>Undo', page + of_user) == [" disabled", ""]
    # What was taken back is published no more.
    assert f", of publication {last} (" in before
    assert "No row of this day is published." in after
    assert "is loaded and not published yet." in after
    words = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "Daily revenue 0 1 0 Daily revenue 1,005.00 → 1,000.00" in words
    assert "Customer segments nothing changes" in words
    assert "These approvals are revoked, so the checks ask again: Volume, approved by Ada." in words
    assert '<input type="hidden" name="publication_id" value="1">' in page
    assert 'action="/trigger/rollback_publication"' in page
    assert revoked == [("back",)]


def test_today_and_status_show_the_same_banner_while_a_check_waits(
    client: TestClient, filled: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop_pages.queries.FRESH_SECONDS", 0)

    def banners(path: str) -> list[str]:
        found = re.findall(r'<div class="banner warn" role="status">(.*?)</div>', client.get(path).text, re.S)
        return [banner for banner in found if "waits for a person" in banner]

    with psycopg.connect(filled("warehouse"), autocommit=True) as owner:
        lease.take(owner, "ecommerce_warehouse", "r+1", project="p", full_refresh=False)
        owner.execute(
            "insert into ops.decision"
            " (run_id, check_name, subjects, message, days, difference, asked_at, answer_until)"
            " values ('r+1', 'volume', '{}', %s, '{}', '[]', now(), '2999-01-02 03:04+00')",
            [HOSTILE_NAME],
        )
        try:
            today, data_status = banners("/today"), banners("/status")
        finally:
            owner.execute("delete from ops.decision")
            owner.execute("delete from ops.build where run_id = 'r+1'")
    (banner,) = today
    assert data_status == today
    assert "Without an answer until 2999-01-02 03:04 UTC nothing is published." in banner
    assert "/dags/ecommerce_warehouse/runs/r%2B1/tasks/quality.volume/required_actions" in banner
    assert HOSTILE_NAME not in banner
    assert banners("/today") == []


def test_status_shows_incidents_and_quality_of_last_30_days(
    client: TestClient, filled: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop_pages.queries.FRESH_SECONDS", 0)

    def section(name: str) -> str:
        (found,) = re.findall(rf'<section class="section" id="{name}".*?</section>', client.get("/status").text, re.S)
        return found

    assert "No open incidents." in section("incidents")
    assert "<table>" not in section("incidents")
    with psycopg.connect(filled("warehouse"), autocommit=True) as owner:
        for check, subject, severity, closed in (
            ("volume", "raw.sales_fact", "warn", None),
            (None, None, "deadline", None),
            ("freshness", "weather_data", "fail", "29 days"),
            ("freshness", "customer", "fail", "31 days"),
        ):
            owner.execute(
                "insert into ops.alert (incident, dag_id, check_name, subject, severity, observed, expected,"
                " window_start, window_end, message, first_run_id, last_run_id, opened_at, last_seen_at, closed_at,"
                " sent_to, send_error) values (%s, 'ecommerce_warehouse', %s, %s, %s, 10, 90, '2024-03-01',"
                " '2024-03-02', %s, 'r+1', 'r+1', now(), now(), now() - %s::interval, '{alerts_email}',"
                " 'alerts_webhook: it answered 503')",
                [f"{check} {subject}", check, subject, severity, HOSTILE_NAME, closed],
            )
        owner.execute(
            "insert into ops.check_result (checked_at, run_id, check_name, subject, status, message) values"
            " (now() - interval '3 hours', 'a', 'drift', 'marts.daily_revenue', 'fail', ''),"
            " (now() - interval '90 minutes', 'a', 'drift', 'marts.daily_revenue', 'pass', ''),"
            " (now() - interval '60 days', 'a', 'drift', 'marts.daily_revenue', 'fail', ''),"
            " (now() - interval '59 days', 'a', 'drift', 'marts.daily_revenue', 'pass', '')"
        )
    shown = section("incidents")
    assert "No open incidents." not in shown
    for text in ("Volume, sales fact", "Deadline of ecommerce warehouse", "Freshness, weather data", "it answered"):
        assert text in shown, text
    assert "Freshness, customer" not in shown, "closed too long ago"
    assert HOSTILE_NAME not in shown
    assert re.findall(r'class="badge (?:warn|bad|good)">(\w+)<', shown) == ["warn", "deadline", "closed"]
    assert "/dags/ecommerce_warehouse/runs/r%2B1" in shown
    row = re.search(r"<td>Daily revenue</td>(.*?)</tr>", section("quality"), re.S)
    assert row
    # In the last 30 days: two results, one failure, repaired in an hour and a half.
    assert re.findall(r"<td[^>]*>([^<]*)</td>", row[1]) == ["mart", "50.00 %", "2", "0", "1", "1", "0", "1.5"]


def test_status_shows_incidents_before_first_load(
    client: TestClient, filled: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop_pages.queries.FRESH_SECONDS", 0)
    monkeypatch.setattr(status, "SOURCE_RANGES", f"{status.SOURCE_RANGES} limit 0")
    html = client.get("/status").text
    assert "No source has been loaded yet." in html
    assert "Freshness, weather data" in html
    none = replace(status_page.INCIDENTS, query=f"select * from ({status.INCIDENTS}) as incident limit 0")
    monkeypatch.setattr(status_page, "INCIDENTS", none)
    assert 'id="incidents"' not in client.get("/status").text


def test_status_without_build_shows_no_quality(
    client: TestClient, filled: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop_pages.queries.FRESH_SECONDS", 0)
    monkeypatch.setattr(status_page, "QUALITY", replace(status_page.QUALITY, query="select * from quality.nothing_yet"))
    html = client.get("/status")
    assert html.status_code == 200
    assert "No checks and no build yet." in html.text


def test_dbt_docs_show_every_model_with_owner_tests_and_lineage(client: TestClient) -> None:
    airflow_services.build_manifest()
    every = client.get("/models").text
    for mart in DRILL_PATHS:
        assert f'href="/models/{mart}"' in every
    page = client.get("/models/daily_revenue").text
    assert "data-platform" in page
    assert "Finance" in page
    assert 'href="/models/raw.sales_fact"' in page
    assert 'href="/models/fact_sales"' in page
    assert "test_daily_revenue_mean_covers_seven_days" in page
    assert client.get("/models/nothing").status_code == 404


# -- an unavailable warehouse ------------------------------------------------------------------------------------------


@pytest.fixture
def unresponsive_port() -> Iterator[int]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        accepted = []

        def accept() -> None:
            while True:
                try:
                    accepted.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]


def address(port: int) -> str:
    return f"postgres://reader:x@127.0.0.1:{port}/warehouse"


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize("is_unresponsive", [True, False])
def test_every_page_reports_unavailable_warehouse_within_a_second(
    filled: object,
    tokens: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    unresponsive_port: int,
    is_unresponsive: bool,
) -> None:
    port = unresponsive_port if is_unresponsive else closed_port()
    for role in ("READER", "INSPECTOR"):
        monkeypatch.setenv(f"AIRFLOW_CONN_WAREHOUSE_{role}", address(port))
    with client_of(tokens["viewer"]) as client:
        for path in ("/today", "/revenue", "/status", "/revenue/trend.csv", f"/rows/daily_revenue?order_date={AS_OF}"):
            started = time.monotonic()
            answer = client.get(path)
            assert time.monotonic() - started < 1
            assert answer.status_code == 503
            assert "did not answer within" in answer.text or "timeout" in answer.text or "refused" in answer.text


def test_pages_show_marked_earlier_figures_while_warehouse_is_unavailable(
    filled: Callable[[str], str], tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop_pages.queries.FRESH_SECONDS", 0)
    with client_of(tokens["viewer"]) as client, psycopg.connect(filled("warehouse")) as owner:
        good = client.get("/today")
        assert "Earlier figures, read" not in good.text
        assert "Earlier figures, read" not in client.get("/revenue").text
        # Slow: another transaction holds the table.
        owner.execute("lock table marts.daily_revenue in access exclusive mode")
        started = time.monotonic()
        stale = client.get("/today")
        assert time.monotonic() - started < 1
        assert stale.status_code == 200
        assert "Earlier figures, read" in stale.text
        assert 'data-tip="1,000.00 EUR"' in stale.text
        owner.rollback()
        # Unavailable: its connections end, and no new one can be opened.
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_READER", address(closed_port()))
        with psycopg.connect(filled("warehouse"), autocommit=True) as other:
            time.sleep(2)  # until the cancelled statement has released its lock
            other.execute("select 1")
        terminate_sessions_of("reader", filled)
        gone = client.get("/revenue")
        assert gone.status_code == 200
        assert "Earlier figures, read" in gone.text
        download = client.get("/revenue/trend.csv")
        assert datetime.fromisoformat(download.headers["X-Read-At"]) < datetime.now(UTC)


def terminate_sessions_of(role: str, dsn_of: Callable[[str], str]) -> None:
    """As the role itself, which may end its own sessions."""
    with psycopg.connect(dsn_of(role), autocommit=True) as own:
        own.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where usename = current_user and pid <> pg_backend_pid()"
        )


async def _fetch(conn_id: str, query: str, n: int | None = None) -> Rows:
    """All rows, or the first ``n``."""
    warehouse = Warehouse(ConnectionPool(conn_id))
    try:
        return await (warehouse.rows(query) if n is None else warehouse.first_rows(query, n))
    finally:
        await warehouse.close()


def test_queries_are_read_only_timed_out_and_never_cut_in_silence(
    filled: object,
    set_connection: Callable[[str, str], None],
    warehouse_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_connection("warehouse_owner", warehouse_dsn)
    # Even as the owner: the session is read-only.
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        asyncio.run(_fetch("warehouse_owner", "select nextval('ops.publication_id_seq')"))
    hundred, ten = (f"select n from generate_series(1, {n}) as n" for n in (100, 10))
    rows = asyncio.run(_fetch("warehouse_reader", hundred, 10))
    assert (len(rows.rows), rows.is_truncated) == (10, True)
    assert not asyncio.run(_fetch("warehouse_reader", ten, 10)).is_truncated
    monkeypatch.setattr("shop_pages.queries.MAX_ROWS", 10)
    assert len(asyncio.run(_fetch("warehouse_reader", ten)).rows) == 10
    with pytest.raises(TooManyRows, match="more than 10 rows"):
        asyncio.run(_fetch("warehouse_reader", hundred))
    with pytest.raises(WarehouseUnavailable, match="did not answer within"):
        asyncio.run(_fetch("warehouse_reader", "select pg_sleep(30)"))
    with pytest.raises(WarehouseUnavailable, match="no connection 'warehouse_nowhere'"):
        asyncio.run(_fetch("warehouse_nowhere", "select 1"))


def test_slow_statement_is_cancelled_by_server(filled: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shop_pages.queries.RESPONSE_TIMEOUT", 10)
    started = time.monotonic()
    with pytest.raises(WarehouseUnavailable, match="did not answer within 2 s"):
        asyncio.run(_fetch("warehouse_reader", "select pg_sleep(30)"))
    assert time.monotonic() - started < limits.STATEMENT_TIMEOUT + 2


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The queries that the warehouse executes, in their order."""
    found: list[str] = []
    original = ConnectionPool.fetch

    async def counted(self: ConnectionPool, query: str, parameters: Any) -> Any:
        found.append(query)
        return await original(self, query, parameters)

    monkeypatch.setattr(ConnectionPool, "fetch", counted)
    return found


ANY_MART = "select count(*) as n from marts.daily_revenue"


def test_equal_queries_at_once_are_executed_once(filled: object, executed: list[str]) -> None:
    async def crowd() -> set[int]:
        warehouse = Warehouse(ConnectionPool("warehouse_reader"))
        found = await asyncio.gather(*(warehouse.rows(ANY_MART) for _ in range(50)))
        await warehouse.close()
        return {rows.rows[0]["n"] for rows in found}

    assert len(asyncio.run(crowd())) == 1
    assert len(executed) == 1


@contextmanager
def another_publication(owner: psycopg.Connection) -> Iterator[None]:
    owner.execute(
        "insert into ops.publication"
        " (publication_id, run_id, mart, rows_inserted, rows_updated, rows_deleted, published_at)"
        " values (nextval('ops.publication_id_seq'), 'another', 'customer_segments', 0, 0, 0, now())"
    )
    yield
    owner.execute("delete from ops.publication where run_id = 'another'")


def test_mart_rows_are_cached_until_next_publication(
    filled: Callable[[str], str], executed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop_pages.queries.FRESH_SECONDS", 2.0)

    async def ask(owner: psycopg.Connection) -> list[Rows]:
        warehouse = Warehouse(ConnectionPool("warehouse_reader"), reads_marts_only=True)
        found = [await warehouse.rows(ANY_MART)]
        for _ in range(2):
            await asyncio.sleep(2.2)
            found.append(await warehouse.rows(ANY_MART))
        with another_publication(owner):
            found.append(await warehouse.rows(ANY_MART))  # the publication is not read again yet
            await asyncio.sleep(2.2)
            found.append(await warehouse.rows(ANY_MART))
        await warehouse.close()
        return found

    with psycopg.connect(filled("warehouse"), autocommit=True) as owner:
        found = asyncio.run(ask(owner))
    assert [rows.version for rows in found] == [found[0].version] * 4 + [found[4].version]
    assert found[4].version != found[0].version
    assert [query for query in executed if ANY_MART in query] == [executed[1], executed[1]]


def test_mart_rows_expire_when_publication_cannot_be_read(
    filled: Callable[[str], str], executed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop_pages.queries.FRESH_SECONDS", 2.0)
    monkeypatch.setattr("shop_pages.queries._PUBLICATION", "select 1 from marts.not_there_before_a_first_run")

    async def ask() -> None:
        warehouse = Warehouse(ConnectionPool("warehouse_reader"), reads_marts_only=True)
        await warehouse.rows(ANY_MART)
        await warehouse.rows(ANY_MART)
        await asyncio.sleep(2.2)
        await warehouse.rows(ANY_MART)
        await warehouse.close()

    asyncio.run(ask())
    assert len([query for query in executed if ANY_MART in query]) == 2


def test_query_without_cached_rows_waits_for_busy_warehouse(filled: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shop_pages.queries.RESPONSE_TIMEOUT", 2.0)

    async def crowd() -> list[Rows]:
        warehouse = Warehouse(ConnectionPool("warehouse_reader", size=1))
        queries = [warehouse.rows(f"select {n} as n, pg_sleep(0.35)") for n in range(8)]
        found = await asyncio.gather(*queries)
        await warehouse.close()
        return found

    assert [rows.rows[0]["n"] for rows in asyncio.run(crowd())] == list(range(8))


def test_answers_to_another_role_show_that_warehouse_is_busy(filled: object, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(answers: list[LastAnswers]) -> Rows:
        reader, inspector = (
            Warehouse(ConnectionPool(conn_id, last_answers=shared))
            for conn_id, shared in zip(("warehouse_reader", "warehouse_inspector"), answers, strict=True)
        )

        async def read(n: int = 0) -> None:
            while True:
                await reader.rows(f"select {n} as n")
                n += 1
                await asyncio.sleep(0.15)

        # Connecting may take longer than the timeout of the other queries.
        with monkeypatch.context() as patch:
            patch.setattr("shop_pages.queries.RESPONSE_TIMEOUT", 10.0)
            await asyncio.gather(reader.rows("select 1"), inspector.rows("select 1"))
        others = asyncio.create_task(read())
        # No query of the inspector for longer than an unresponsive server is waited for.
        await asyncio.sleep(2 * limits.RESPONSE_TIMEOUT + 0.4)
        try:
            return await inspector.rows(f"select pg_sleep({limits.RESPONSE_TIMEOUT + 0.4})")
        finally:
            others.cancel()
            await asyncio.gather(others, return_exceptions=True)
            await reader.close()
            await inspector.close()

    together: LastAnswers = {}
    assert asyncio.run(ask([together, together])).problem is None
    with pytest.raises(WarehouseUnavailable, match="did not answer within"):
        asyncio.run(ask([{}, {}]))


def test_pools_of_both_roles_share_last_answers(client: TestClient) -> None:
    state = cast("Any", client.app).state
    assert state.reader.pool.last_answers is state.inspector.pool.last_answers


def test_bars_of_check_show_its_results(client: TestClient) -> None:
    bar = r'class="([^"]*)" data-tip="(\w+) [\d-]+ [\d:]+ UTC" aria-label="[^"]*" href="([^"]*)"'
    bars = re.findall(bar, client.get("/status").text)
    assert bars
    assert {colour for colour, _, _ in bars} <= {"pass", "warn", "fail"}
    assert all(colour == status for colour, status, _ in bars)
    assert {link for _, _, link in bars} >= {"/dags/a_dag/runs/a_run"}


def test_unresponsive_warehouse_delays_cached_rows_only_once(filled: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shop_pages.queries.RESPONSE_TIMEOUT", 1.0)
    monkeypatch.setattr("shop_pages.queries.FRESH_SECONDS", 0)

    async def ask() -> list[tuple[bool, float]]:
        warehouse = Warehouse(ConnectionPool("warehouse_reader", size=1))
        await warehouse.rows(ANY_MART)
        await asyncio.sleep(1.5)
        # The only connection does not answer.
        blocker = asyncio.create_task(warehouse.rows("select pg_sleep(3)"))
        await asyncio.sleep(0)
        found = []
        for pause in (0, 0, 3):
            await asyncio.sleep(pause)
            started = time.monotonic()
            rows = await warehouse.rows(ANY_MART)
            found.append((rows.problem is not None, time.monotonic() - started))
        await asyncio.gather(blocker, return_exceptions=True)
        await warehouse.close()
        return found

    (first, waited), (second, waited_again), (third, _) = asyncio.run(ask())
    assert (first, second, third) == (True, True, False)
    assert waited_again < 0.5 < waited < 2.8


@pytest.mark.usefixtures("patient")
def test_page_is_rendered_once_and_revalidated_with_304(
    filled: object, tokens: dict[str, str], executed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with client_of(tokens["viewer"]) as client:
        first = client.get("/revenue")
        executed_for_page = len(executed)
        known = {"If-None-Match": first.headers["ETag"]}
        renderings = []

        def render_nothing(*parts: object, **_: object) -> str:
            renderings.append(parts)
            return ""

        monkeypatch.setattr("shop_pages.rendering.render_html", render_nothing)
        assert client.get("/revenue").text == first.text
        assert client.get("/revenue", headers={"Accept-Encoding": "identity"}).text == first.text
        again = client.get("/revenue", headers=known)
        assert (again.status_code, again.content) == (304, b"")
        assert first.headers["Cache-Control"] == "private, no-cache"
        # The CSV file has the rows that the page has read.
        assert client.get("/revenue/categories.csv").status_code == 200
        assert (renderings, len(executed)) == ([], executed_for_page)
        # Access is checked first.
        assert client.get("/revenue", headers={**known, "Authorization": "Bearer not.a.token"}).status_code == 403


def test_reviews_list_urgent_orders_first_at_every_cap(
    filled: Callable[[str], str],
) -> None:
    figure = PAGES["operations"].figure("reviews")
    assert figure is not None
    with psycopg.connect(filled("warehouse"), autocommit=True) as owner:
        owner.execute(
            "insert into marts.order_for_reviews (order_id, order_date, order_amount, shipping_percent,"
            " is_high_discount, is_high_shipping, expected_loss, risk_score, broken_rules, reasons, review_priority,"
            " review_status)"
            " select 'M' || n, order_date, 1000 + n, 0, true, false, 0, 30, broken_rules, reasons, 'Medium', 'open'"
            " from marts.order_for_reviews cross join generate_series(1, 3) as n where order_id = 'O-2024-03-01-0'"
        )
        try:
            with psycopg.connect(filled("reader"), row_factory=dict_row) as reader:
                # Four are urgent: fewer than these, just these, a part of the others too, and all.
                for cap in (1, 4, 6, 100):
                    given = {"first": date(2024, 1, 1), "last": date.fromisoformat(AS_OF), "page_rows": cap}
                    found = reader.execute(f"select * from ({figure.table_query}) as shown limit {cap}".encode(), given)
                    expected = reader.execute(
                        "select order_id from marts.order_for_reviews where order_date between %s and %s"
                        " order by review_priority = 'High' desc, order_amount desc, order_id limit %s",
                        [given["first"], given["last"], cap],
                    )
                    ids = [row["order_id"] for row in found]
                    assert ids == [row["order_id"] for row in expected]
                urgent = [f"O-{WEEK_BEFORE}-0", GUEST_ORDER, f"O-{DAY_BEFORE}-0", LONG_ORDER]
                assert ids == [*urgent, "M3", "M2", "M1"]
                # The file has the same order.
                downloaded = reader.execute(figure.download_query.encode(), given).fetchall()
                assert [row["order_id"] for row in downloaded] == ids
        finally:
            owner.execute("delete from marts.order_for_reviews where order_id in ('M1', 'M2', 'M3')")


# -- other tools -----------------------------------------------------------------------------------------------------


def test_documented_bi_queries_run_as_reader(filled: Callable[[str], str]) -> None:
    queries = re.findall(r"^```sql\n(.*?)^```", BI, re.S | re.M)
    assert len(queries) == 7
    with psycopg.connect(filled("reader"), autocommit=True) as reader:
        for query in queries:
            found = reader.execute(query.encode())
            assert found.description, query
            if "rfm_segment" not in query:
                assert found.fetchall(), query
        assert reader.execute("select current_user").fetchone() == ("reader",)
