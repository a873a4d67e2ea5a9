"""The way from a figure to its source: totals of lines and refunds, pages of orders and refunds, and batches."""

import html
import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlencode, urlsplit

import psycopg
import pytest
from fastapi.testclient import TestClient

from shop_pages.drill import DRILL_PATHS, FACTS
from shop_pages.figures import drill_path
from shop_pages.words import heading_of
from tests.integration.shop_pages.conftest import (
    AS_OF,
    DAY_BEFORE,
    FIRST_LOADED,
    GUEST_ORDER,
    LONG_ORDER,
    SPLIT_ORDER,
    WEEK_BEFORE,
    YEAR_BEFORE,
)
from tests.integration.support import set_shop

pytestmark = pytest.mark.usefixtures("patient")

NO_LINE = "The warehouse has no order line that this refund names."
TOYS, BOOKS = "Toys & <b>Games</b>", "Books"


def section(page: str, name: str) -> str:
    """The section with this id, as text with its tags."""
    found = re.search(rf'<section class="section" id="{name}".*?</section>', page, re.S)
    assert found, page
    return found[0]


def raw_section(page: str) -> str:
    """The raw rows of a fact."""
    return page[page.index('"raw-title"') :].partition("</section>")[0]


def badges(part: str) -> list[tuple[str, str]]:
    """State and text of each total, whose column is in words."""
    return re.findall(r'<span class="badge (\w+)">([^<]*)</span>', part)


def in_words(total: str) -> str:
    """`10 = Daily orders` of `10 = daily_orders`."""
    return re.sub(r"(?<=[=≠] )\w+", lambda column: heading_of(column[0]), total)


def first_cells(part: str) -> list[str]:
    """The texts of the first column of a table."""
    cells = re.findall(r"<tr>\s*<td[^>]*>(.*?)</td>", part, re.S)
    return [html.unescape(re.sub(r"<.*?>", "", cell)) for cell in cells]


def links(part: str, path: str) -> list[str]:
    """The addresses below a path that a part of a page leads to."""
    return [html.unescape(link) for link in re.findall(rf'href="({path}[^"]+)"', part)]


# -- from a mart -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mart", list(DRILL_PATHS))
def test_every_mart_row_equals_its_facts_and_its_refunds(
    client: TestClient, filled: Callable[[str], str], mart: str
) -> None:
    path = DRILL_PATHS[mart]
    with psycopg.connect(filled("reader"), autocommit=True) as reader:
        # Of weeks, months … those in which something happened, which are few of a year.
        condition = "where revenue <> 0 or refunded_amount <> 0" if mart == "revenue_trend" else ""
        rows = reader.execute(f"select {', '.join(path.keys)} from marts.{mart} {condition}".encode()).fetchall()
    assert rows
    # Of the daily marts only the days with rows, which are few of a year.
    rows = [row for row in rows if mart != "daily_revenue" or str(row[0]) in {AS_OF, DAY_BEFORE, WEEK_BEFORE}]
    for row in rows:
        keys = dict(zip(path.keys, row, strict=True))
        page = client.get(drill_path(mart, keys))
        assert page.status_code == 200, page.text
        for table, facts in path.behind(keys).items():
            shown = badges(section(page.text, table))
            assert [text.rpartition("= ")[2] for _, text in shown] == [*map(heading_of, facts.totals)], (row, shown)
            assert {state for state, _ in shown} <= {"good"}, (row, shown)


@pytest.mark.parametrize("mart", list(DRILL_PATHS))
def test_mart_row_leads_to_raw_row_and_batch(client: TestClient, filled: Callable[[str], str], mart: str) -> None:
    path = DRILL_PATHS[mart]
    facts_behind = {facts.fact for facts in (path.facts, path.refunds) if facts is not None}
    followed: set[str] = set()
    with psycopg.connect(filled("reader"), autocommit=True) as reader:
        rows = reader.execute(f"select {', '.join(path.keys)} from marts.{mart} order by 1 desc".encode()).fetchall()
    for row in rows:
        keys = dict(zip(path.keys, row, strict=True))
        page = client.get(drill_path(mart, keys))
        if "months" in path.behind(keys):
            # A row with more lines than a page can read leads there by its months.
            page = client.get(links(section(page.text, "months"), r"/rows/\w+\?")[0])
        for fact_name in facts_behind - followed:
            for link in links(section(page.text, fact_name), r"/facts/\w+\?")[:1]:
                fact = client.get(link)
                assert fact.status_code == 200, fact.text
                (batch, *_) = links(raw_section(fact.text), "/batches/")
                load = client.get(batch)
                assert load.status_code == 200
                assert "a_run" in load.text
                if fact_name == "fact_customer_events":
                    assert re.search(
                        r"<td>customer_interactions</td>.*?<td[^>]*>0</td>.*?<td[^>]*>0</td>.*?7", load.text, re.S
                    )
                followed.add(fact_name)
        if followed == facts_behind:
            break
    assert followed == facts_behind


@pytest.mark.parametrize(
    ("mart", "keys", "lines", "refunds"),
    [
        (
            "daily_revenue",
            {"order_date": AS_OF},
            # Ten orders have eleven lines that count; nothing of the cancelled ones does.
            ["10 = daily_orders", "1,000.00 = daily_revenue"],
            (["R1", "R7", "R2", "R4"], "59.50"),
        ),
        (
            # All categories, by months: the order over two months is one order of the quarter.
            "revenue_trend",
            {"grain": "quarter", "period_start": "2024-01-01", "category_name": "All categories"},
            ["2,800.00 = revenue", "25 = units"],
            (["R1", "R7", "R3", "R2", "R4", "R6"], "70.75"),
        ),
        (
            # The week that ends with the 3rd of March has the last two days.
            "revenue_trend",
            {"grain": "week", "period_start": "2024-02-26", "category_name": BOOKS},
            ["1 = orders", "40.00 = revenue", "2 = units"],
            (["R4", "R6"], "5.25"),
        ),
        (
            # R3 of a whole order, and R2, of which neither a product nor an order is known.
            "revenue_trend",
            {"grain": "year", "period_start": "2024-01-01"},
            ["0.00 = revenue", "0 = units"],
            (["R3", "R2"], "15.50"),
        ),
        (
            "product_category_revenue_monthly",
            {"revenue_month": AS_OF, "category_name": TOYS, "subcategory": "Board"},
            ["10 = order_count", "960.00 = total_revenue", "10 = units_sold"],
            (["R1", "R7"], "50.00"),
        ),
        (
            "product_category_revenue_monthly",
            {"revenue_month": AS_OF, "category_name": BOOKS},
            ["1 = order_count", "40.00 = total_revenue", "2 = units_sold"],
            (["R4"], "4.00"),
        ),
        (
            # What is known of neither a product nor an order.
            "product_category_revenue_monthly",
            {"revenue_month": AS_OF},
            ["0 = order_count", "0.00 = total_revenue", "0 = units_sold"],
            (["R2"], "5.50"),
        ),
        (
            # A month with refunds alone.
            "product_performance_monthly",
            {"revenue_month": "2023-05-01", "product_id": "P1"},
            ["0 = order_count", "0.00 = revenue", "0 = units_sold"],
            (["R5"], "25.00"),
        ),
        (
            "product_performance_monthly",
            {"revenue_month": AS_OF, "product_id": "P1"},
            ["10 = order_count", "960.00 = revenue", "10 = units_sold"],
            (["R1", "R7"], "50.00"),
        ),
        (
            # The line of the long order that had half off and a third of its amount as shipping.
            "order_profitability_monthly",
            {"revenue_month": AS_OF, "category_name": TOYS, "discount_band": "over 30 %", "shipping_band": "over 10 %"},
            ["1 = orders", "60.00 = revenue", "1 = units", "-20.00 = contribution_amount"],
            None,
        ),
        ("margin_bridge_monthly", {"revenue_month": AS_OF}, ["331.00 = contribution"], None),
        (
            "customer_segments",
            {"customer_id": "CUST001"},
            ["10 = total_orders", "1,250.00 = lifetime_revenue"],
            (["R5", "R3", "R4"], "39.00"),
        ),
        (
            "customer_segments",
            {"customer_id": "CUST003"},
            # One of the orders has lines on two days.
            ["6 = total_orders", "825.00 = lifetime_revenue"],
            ([], "0.00"),
        ),
        (
            # Without the guest's order.
            "customer_cohorts_monthly",
            {"cohort_month": FIRST_LOADED, "order_month": AS_OF},
            ["900.00 = revenue"],
            None,
        ),
        ("order_for_reviews", {"order_id": LONG_ORDER}, ["100.00 = order_amount"], None),
        ("inventory_status", {"product_id": "P1"}, ["17 = units_sold_30d"], None),
        ("inventory_status", {"product_id": "P2"}, ["7 = units_sold_30d"], None),
        (
            "seasonal_sales_analysis",
            {"sales_month": AS_OF, "category_name": TOYS},
            ["10 = monthly_orders", "960.00 = monthly_revenue"],
            None,
        ),
    ],
)
def test_drill_shows_hand_computed_totals(
    client: TestClient,
    mart: str,
    keys: dict[str, str],
    lines: list[str],
    refunds: tuple[list[str], str] | None,
) -> None:
    answer = client.get(drill_path(mart, keys))
    assert answer.status_code == 200, answer.text
    table = next(iter(DRILL_PATHS[mart].behind(keys)))
    assert badges(section(answer.text, table)) == [("good", in_words(text)) for text in lines]
    if refunds is None:
        assert 'id="fact_refunds"' not in answer.text
    else:
        refund_ids, total = refunds
        part = section(answer.text, "fact_refunds")
        assert first_cells(part) == refund_ids
        assert badges(part) == [("good", f"{total} = Refunded amount")]


def test_total_that_differs_from_mart_is_marked(client: TestClient, filled: Callable[[str], str]) -> None:
    # A day that no other test opens: rows of marts are cached until a publication.
    change = "update marts.daily_revenue set daily_orders = %s, refunded_amount = %s where order_date = %s"
    with psycopg.connect(filled("warehouse"), autocommit=True) as owner:
        owner.execute(change.encode(), [5, 1, YEAR_BEFORE])
        try:
            page = client.get(drill_path("daily_revenue", {"order_date": YEAR_BEFORE})).text
        finally:
            owner.execute(change.encode(), [4, 0, YEAR_BEFORE])
    assert badges(section(page, "fact_sales"))[0] == ("bad", "4 ≠ Daily orders 5")
    assert badges(section(page, "fact_refunds")) == [("bad", "0.00 ≠ Refunded amount 1.00")]


def test_order_to_review_shows_lines_that_do_not_count(client: TestClient) -> None:
    part = section(client.get(drill_path("order_for_reviews", {"order_id": LONG_ORDER})).text, "fact_sales")
    assert "4 rows" in part
    assert re.findall(r"<td>(yes|no)</td>", part) == ["yes", "yes", "no", "no"]


def test_guest_is_shown_as_guest_and_refund_of_unknown_customer_is_not(client: TestClient) -> None:
    page = client.get(drill_path("daily_revenue", {"order_date": AS_OF})).text
    assert section(page, "fact_sales").count("<td>Guest</td>") == 1
    assert "Guest" not in section(page, "fact_refunds")


def test_shop_without_refunds_says_so_instead_of_zero(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    address = drill_path("daily_revenue", {"order_date": WEEK_BEFORE})
    assert badges(section(client.get(address).text, "fact_refunds")) == [("good", "0.00 = Refunded amount")]
    set_shop(monkeypatch, refund="absent")
    part = section(client.get(address).text, "fact_refunds")
    assert "This shop has no refunds." in part
    assert badges(part) == []


def test_order_over_two_months_is_one_order_in_each(client: TestClient) -> None:
    addresses = [
        drill_path("daily_revenue", {"order_date": AS_OF}),
        drill_path("product_performance_monthly", {"revenue_month": AS_OF, "product_id": "P1"}),
        drill_path("product_performance_monthly", {"revenue_month": "2024-02-01", "product_id": "P1"}),
    ]
    lines = [links(section(client.get(address).text, "fact_sales"), r"/facts/fact_sales\?") for address in addresses]
    of_order = [[link for link in found if SPLIT_ORDER in link] for found in lines]
    assert [[parse_qs(urlsplit(link).query)["line"] for link in found] for found in of_order] == [
        [["2"]], [["2"]], [["1"]],
    ]  # fmt: skip
    page = client.get(of_order[0][0]).text
    assert [link.partition("line=")[2] for link in links(section(page, "fact_sales"), r"/facts/\w+\?")] == ["1", "2"]


# -- orders and refunds ------------------------------------------------------------------------------------------------


def test_link_of_line_opens_it_for_any_order_id(client: TestClient) -> None:
    page = client.get(drill_path("daily_revenue", {"order_date": AS_OF})).text
    addresses = links(section(page, "fact_sales"), r"/facts/fact_sales\?")
    assert len(addresses) == len(set(addresses)) == 11
    (address,) = (link for link in addresses if parse_qs(urlsplit(link).query)["key"] == [GUEST_ORDER])
    assert parse_qs(urlsplit(address).query)["line"] == ["1"]
    line = client.get(address).text
    assert f"<h1>{html.escape(GUEST_ORDER)}, line 1</h1>" in line
    assert first_cells(section(line, "fact_refunds")) == ["R7"]


def test_address_without_line_shows_all_lines_of_order(client: TestClient) -> None:
    answer = client.get(f"/facts/fact_sales?{urlencode({'key': LONG_ORDER})}")
    assert f"<h1>{LONG_ORDER}</h1>" in answer.text
    assert "Row of <code>core.fact_sales</code>" not in answer.text
    lines = section(answer.text, "fact_sales")
    assert [link.partition("line=")[2] for link in links(lines, r"/facts/\w+\?")] == ["1", "2", "3", "4"]
    assert first_cells(section(answer.text, "fact_refunds")) == ["R4"]
    raw = raw_section(answer.text)
    assert first_cells(raw) == [LONG_ORDER] * 4
    assert "earlier versions" not in raw


def test_line_shows_its_raw_row_its_order_and_its_refunds(client: TestClient) -> None:
    second = client.get(f"/facts/fact_sales?{urlencode({'key': LONG_ORDER, 'line': 2})}").text
    assert "Row of <code>core.fact_sales</code>" in second
    assert len(first_cells(raw_section(second))) == 1
    assert len(first_cells(section(second, "fact_sales"))) == 4
    assert first_cells(section(second, "fact_refunds")) == ["R4"]
    first = client.get(f"/facts/fact_sales?{urlencode({'key': LONG_ORDER, 'line': 1})}").text
    assert "Nothing of it was refunded." in section(first, "fact_refunds")
    # A refund of the whole order is one of each of its lines. An order of one line needs no list of lines.
    whole = client.get(f"/facts/fact_sales?{urlencode({'key': f'O-{WEEK_BEFORE}-0', 'line': 1})}").text
    assert first_cells(section(whole, "fact_refunds")) == ["R3"]
    assert 'id="fact_sales"' not in whole


@pytest.mark.parametrize(
    ("refund", "lines"),
    [
        ("R1", [(f"O-{DAY_BEFORE}-1", "1")]),
        ("R2", []),
        ("R3", [(f"O-{WEEK_BEFORE}-0", "1")]),
        ("R4", [(LONG_ORDER, "2")]),
        ("R6", []),
        ("R7", [(GUEST_ORDER, "1")]),
    ],
)
def test_refund_shows_its_raw_row_its_order_line_and_its_batch(
    client: TestClient, refund: str, lines: list[tuple[str, str]]
) -> None:
    page = client.get(f"/facts/fact_refunds?key={refund}").text
    part = section(page, "fact_sales")
    found = [parse_qs(urlsplit(link).query) for link in links(part, r"/facts/fact_sales\?")]
    assert [(line["key"][0], line["line"][0]) for line in found] == lines
    missing = [] if lines else ["This refund names no order." if refund == "R2" else NO_LINE]
    assert [text for text in ("This refund names no order.", NO_LINE) if text in part] == missing
    raw = raw_section(page)
    assert "Rows of <code>raw.refund</code>." in raw
    assert first_cells(raw) == [refund]
    (batch,) = links(raw, "/batches/")
    assert "of refund" in client.get(batch).text


def test_invalid_key_is_400_and_unknown_row_is_404(client: TestClient) -> None:
    assert client.get("/rows/daily_revenue?order_date=2024-99-01").status_code == 400
    assert client.get("/rows/daily_revenue?order_date=1999-01-01").status_code == 404
    assert client.get("/rows/revenue_trend?grain=decade&period_start=2024-01-01").status_code == 404
    assert client.get("/rows/pg_authid?x=1").status_code == 404
    assert client.get("/facts/fact_sales?key=' or true --").status_code == 404
    assert client.get(f"/facts/fact_sales?key={LONG_ORDER}&line=5").status_code == 404
    assert "line 5" in client.get(f"/facts/fact_sales?key={LONG_ORDER}&line=5").text
    for line in ("x", "-1", "2147483648"):
        assert client.get(f"/facts/fact_sales?key={LONG_ORDER}&line={line}").status_code == 400, line
    refund = client.get("/facts/fact_refunds?key=R1&line=1")
    assert refund.status_code == 400
    assert "has no line" in refund.text
    assert client.get("/batches/999999").status_code == 404
    assert client.get("/batches/x").status_code == 400


def test_every_fact_of_a_mart_has_a_page() -> None:
    behind = [facts for path in DRILL_PATHS.values() for facts in (path.facts, path.refunds) if facts is not None]
    related = {part.fact for fact in FACTS.values() for part in fact.related}
    assert {part.fact for part in behind} | related <= set(FACTS)
