"""How the pages are read: tables that sort, search and page; totals; names, units, menus and the keyboard."""

import csv
import html
import io
import re
from collections.abc import Callable
from datetime import date

import psycopg
import pytest
from fastapi.testclient import TestClient

from shop_pages import limits, tables
from shop_pages.pages import PAGES
from tests.integration.shop_pages.conftest import AS_OF, DAY_BEFORE, HOSTILE_NAME, YEAR_BEFORE

pytestmark = pytest.mark.usefixtures("patient")

RANGE = f"first={YEAR_BEFORE}&last={AS_OF}"


def cells(page: str) -> list[list[str]]:
    """The cells of each row of the page's table, as text."""
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    return [
        [html.unescape(re.sub("<[^>]*>", "", cell)).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.S)]
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", body, re.S)
    ]


def file(client: TestClient, address: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(client.get(address).text.removeprefix("\ufeff"))))


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of two rows."""
    monkeypatch.setattr(limits, "PAGE_ROWS", 2)
    monkeypatch.setattr(tables, "PAGE_ROWS", 2)


@pytest.mark.usefixtures("short_pages")
def test_table_is_sorted_and_paged_by_postgres_and_its_csv_has_all_of_it(client: TestClient) -> None:
    address = f"/revenue/trend/table?first=2024-02-23&last={AS_OF}&sort=daily_revenue&order=desc"
    pages = [client.get(f"{address}&page={number}").text for number in (1, 2, 3, 4)]
    shown = [(row[0], row[1]) for page in pages for row in cells(page)]
    rows = file(client, address.replace("/table?", ".csv?"))
    assert len(rows) == 8
    revenues = [float(row["daily_revenue"]) for row in rows]
    assert revenues == sorted(revenues, reverse=True)
    assert [f"{float(row['daily_revenue']):,.2f}" for row in rows] == [revenue for _, revenue in shown]
    assert len({day for day, _ in shown}) == 8
    assert "Rows 3 to 4 of 8, by Revenue" in pages[1]
    assert 'aria-sort="descending"' in pages[0]
    assert 'rel="next"' in pages[2]
    assert 'rel="next"' not in pages[3]
    # The heading turns the order around.
    assert re.search(r'href="[^"]*sort=daily_revenue&amp;order=asc"[^>]*>Revenue</a>', pages[0])


def test_table_finds_a_text_in_any_column_and_its_csv_has_what_was_found(client: TestClient) -> None:
    for search, found in (("ONERROR", {HOSTILE_NAME}), ("29 feb 2024", None), ("nothing such", set())):
        page = client.get("/operations/stock/table", params={"search": search}).text
        rows = file(client, f"/operations/stock.csv?search={search}")
        if found is None:
            continue
        assert {row["product_name"] for row in rows} == found
        assert ("No rows" in page) == (not found)
    days = file(client, f"/revenue/trend.csv?{RANGE}&search=29 feb 2024")
    assert [row["order_date"] for row in days] == [DAY_BEFORE]
    # What SQL would take for any character is a character.
    assert file(client, "/operations/stock.csv?search=%25") == []


def test_name_that_counts_opens_the_list_behind_it(client: TestClient) -> None:
    page = client.get(f"/customers?{RANGE}").text
    paths = re.findall(r'href="(/customers/best/table\?[^"]*only\.customer_tier=[^"]*)">(\d+)</a>', page)
    assert paths
    for path, customers in paths:
        address = html.unescape(path)
        assert len(cells(client.get(address).text)) == int(customers)
        assert len(file(client, address.replace("/table?", ".csv?"))) == int(customers)
    status = client.get("/status").text
    (rejected,) = re.findall(r'href="(/rejected\?[^"]*)"', status)
    found = client.get(html.unescape(rejected)).text
    assert "Rows 1 to 1 of 1" in found
    assert "BAD" in found
    assert "No rows." in client.get("/rejected?source=sales_fact&reason=none").text
    assert client.get("/review?status=open").text.count("status=fine") >= 1


def test_address_of_a_table_with_an_unknown_column_is_refused(client: TestClient) -> None:
    assert client.get("/revenue/trend/table?sort=nothing").status_code == 400
    assert client.get("/revenue/trend.csv?only.nothing=1").status_code == 400
    assert client.get("/revenue/nothing/table").status_code == 404


def test_every_heading_of_a_table_sorts_and_tells_its_definition(client: TestClient) -> None:
    for name, page in PAGES.items():
        shown = client.get(f"/{name}?{RANGE}").text
        for heading in re.findall(r'<th scope="col"[^>]*>(.*?)</th>', shown, re.S):
            if "Facts" not in heading:
                assert 'data-tip="' in heading, (page.name, heading)
                assert "<a " in heading or 'tabindex="0"' in heading, (page.name, heading)


def test_every_page_has_its_totals_beside_earlier_ones(client: TestClient, filled: Callable[[str], str]) -> None:
    for name, page in PAGES.items():
        shown = client.get(f"/{name}").text
        assert page.totals is not None
        section = shown[shown.index('id="totals"') :]
        section = section[: section.index("</section>")]
        assert section.count('class="value"') == len(page.totals.measures), name
        assert "Month to date" in section
        assert "Quarter to date" in section
        assert section.count("<dt>last year</dt>") == 3 * len(page.totals.measures)
    shown = client.get(f"/revenue?first=2024-02-29&last={AS_OF}").text
    with psycopg.connect(filled("reader")) as connection:
        ((total, before),) = connection.execute(
            "select sum(daily_revenue) filter (where order_date > %(before)s),"
            " sum(daily_revenue) filter (where order_date <= %(before)s)"
            " from marts.daily_revenue where order_date between %(before)s::date - 1 and %(last)s",
            {"before": date(2024, 2, 28), "last": date.fromisoformat(AS_OF)},
        ).fetchall()
    assert f'data-tip="{total:,.2f}"' in shown
    assert f'data-tip="27 Feb 2024 to 28 Feb 2024: {before:,.2f}"' in shown


def test_money_stands_beside_its_currency(client: TestClient) -> None:
    assert re.search(r'>Revenue</a> <span class="unit">EUR</span>', client.get("/revenue").text)
    assert '"text":"Revenue, EUR"' in client.get("/revenue").text
    assert '<span class="unit">EUR</span></p>' in client.get("/today").text


@pytest.mark.parametrize(
    "address",
    [
        "/today", "/revenue", "/revenue/trend/table", f"/rows/daily_revenue?order_date={AS_OF}",
        f"/facts/fact_sales?key=O-{AS_OF}-1", "/batches/1", "/customer?customer_id=CUST001",
        f"/status/sales_fact/{AS_OF}", "/models/daily_revenue",
    ],
)  # fmt: skip
def test_headings_are_words(client: TestClient, address: str) -> None:
    page = client.get(address).text
    headings = re.findall(r"<(h[1-3]|th|dt)\b[^>]*>(.*?)</\1>", page, re.S)
    assert headings
    texts = [re.sub("<[^>]*>", "", text) for _, text in headings]
    assert [text for text in texts if re.search(r"[a-z]_[a-z]", text)] == []


def test_drill_writes_percentages_as_percent(client: TestClient) -> None:
    page = client.get(f"/rows/daily_revenue?order_date={AS_OF}").text
    assert re.search(r">Gross margin percent</span></dt><dd>36\.00 %</dd>", page)
    assert ">50.00 %<" in page[page.index('id="fact_sales"') :]


def test_menu_keeps_the_chosen_days_and_category_on_pages_of_figures(client: TestClient) -> None:
    chosen = client.get(f"/revenue?{RANGE}&category=Books").text
    kept = f"{RANGE}&category=Books".replace("&", "&amp;")
    assert f'<a href="/stock?{kept}">Stock</a>' in chosen
    assert '<a href="/today">Today</a>' in chosen
    assert '<a href="/status">Data status</a>' in chosen
    # A page that was rendered for another choice is not taken for this one.
    assert '<a href="/stock">Stock</a>' in client.get("/revenue").text


def test_calendar_is_one_stop_of_the_tab_key_and_details_open_for_the_keyboard(client: TestClient) -> None:
    page = client.get("/status").text
    calendar = page[page.index("data-calendar") : page.index("</table>")]
    assert 'role="grid"' in calendar
    assert re.findall(r'data-day="[^"]*"[^>]*tabindex="0"', calendar)[1:] == []
    assert calendar.count('tabindex="-1"') > 100
    for name in ("status", "today"):
        shown = client.get(f"/{name}").text
        assert ' title="' not in shown, name
        for tag in re.findall(r"<(?!a)\w+ [^>]*data-tip=[^>]*>", shown):
            assert 'tabindex="0"' in tag, tag


@pytest.mark.parametrize("name", PAGES)
def test_every_figure_has_its_whole_table_sorted_and_searched(client: TestClient, name: str) -> None:
    """Links and the way to the facts need columns that a table does not show."""
    for figure in PAGES[name].figures:
        column = figure.columns[0]
        for choice in ("", f"&sort={column.name}", "&search=zz"):
            answer = client.get(f"/{name}/{figure.name}/table?{RANGE}{choice}")
            assert answer.status_code == 200, (figure.name, choice)
