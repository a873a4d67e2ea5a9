"""How the pages are read: tables that sort, search and page; totals; names, units, menus and the keyboard."""

import csv
import html
import io
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import psycopg
import pytest
from fastapi.testclient import TestClient

from include.demo import airflow_services
from shop_pages import limits, tables
from shop_pages.dbt_docs import LAYERS
from shop_pages.drill import DRILL_PATHS, FACTS
from shop_pages.figures import drill_path
from shop_pages.pages import PAGES
from shop_pages.routes import drill_pages
from tests.integration.shop_pages.conftest import AS_OF, DAY_BEFORE, HOSTILE_NAME, LONG_ORDER, YEAR_BEFORE

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


# -- every table of every page -----------------------------------------------------------------------------------------

#: Tables that are not sorted, and why.
NOT_SORTED = {
    "Sources by day": "a calendar, whose columns are days",
    "Lineage": "a picture",
    "What changes": "computed for this page: what a rollback that nobody has started would do",
    "By": "of Why: members by their effect, with a row of totals; the CSV file has all",
    "Columns": "of the dbt project: they stand in no table of the warehouse",
    "Tests": "of the dbt project",
    **dict.fromkeys(LAYERS, "of the dbt project"),
}
#: Headings of columns that Postgres does not know: what Airflow has, what a person has said of an incident, a button.
NOT_QUERIED = {"Owner", "Steps", "Undo", "Examples", "Facts"}
#: Names that are no words, in visible text: ids and names of the shop and of its people's own.
IDS = re.compile(r"a_run|a_dag|run_that_failed|customer_interactions|alerts_\w+|manual__\S*|[A-Z]\w*")


@pytest.fixture(scope="module")
def pages(client: TestClient, filled: Callable[[str], str]) -> dict[str, str]:
    """An address of every kind of page, and of every mart and fact → the page."""
    airflow_services.build_manifest()
    with psycopg.connect(filled("warehouse"), autocommit=True) as owner:
        ((incident,),) = owner.execute(
            "insert into ops.alert (incident, dag_id, task_id, check_name, subject, severity, message, window_start,"
            " window_end, first_run_id, last_run_id, opened_at, last_seen_at) values"
            " ('v', 'ecommerce_warehouse', null, 'volume', 'raw.sales_fact', 'warn', 'few', %(day)s, %(day)s::date + 1,"
            " 'a_run', 'a_run', now(), now()), ('w', 'ecommerce_warehouse', 'refresh_marts', null, null, 'fail',"
            " 'no disk', null, null, 'run_that_failed', 'run_that_failed', now(), now()) returning alert_id",
            {"day": AS_OF},
        ).fetchmany(1)
        owner.execute(
            "insert into ops.incident_note (incident, owner, note, noted_by, noted_at)"
            " values ('v', 'Ann', 'n', 'A', now())"
        )
        owner.execute(
            "insert into ops.review (order_id, status, note, rules, reviewed_by, reviewed_at)"
            " values (%s, 'watch', 'odd', '{high_discount}', 'Ann', now())",
            [LONG_ORDER],
        )
        batches = owner.execute("select min(batch_id) from ops.load_batch group by source").fetchall()
        rows = {
            mart: owner.execute(f"select {', '.join(path.keys)} from marts.{mart} order by 1 desc".encode()).fetchone()
            for mart, path in DRILL_PATHS.items()
        }
    addresses = [
        "/today", "/status", f"/incidents/{incident}", "/rejected", "/models", "/models/daily_revenue", "/digest",
        f"/status/sales_fact/{AS_OF}", f"/review/order?order_id={LONG_ORDER}", "/customer?customer_id=CUST001",
        f"/facts/fact_sales?key={LONG_ORDER}", f"/facts/fact_sales?key={LONG_ORDER}&line=2", f"/why?day={AS_OF}",
        *(f"/{name}?{RANGE}" for name in PAGES),
        *(drill_path(mart, dict(zip(DRILL_PATHS[mart].keys, row or (), strict=True))) for mart, row in rows.items()),
        *(f"/batches/{batch}" for (batch,) in batches),
    ]  # fmt: skip
    found: dict[str, str] = {}
    followed: set[str] = set()
    while addresses:
        address = addresses.pop(0)
        with pytest.MonkeyPatch.context() as patch:
            # As `patient`, which is of each test.
            patch.setattr("shop_pages.queries.RESPONSE_TIMEOUT", 10.0)
            answer = client.get(address)
        assert answer.status_code == 200, (address, answer.text)
        found[address] = answer.text
        for link, fact in re.findall(r'href="(/facts/(\w+)\?[^"]+)"', answer.text):
            if fact not in followed:
                followed.add(fact)
                addresses.append(html.unescape(link))
    assert followed == {*FACTS}
    return found


def tables_of(page: str) -> list[tuple[str, list[str]]]:
    """The name and the headings of each table of a page."""
    frames = re.findall(r'role="region" aria-label="([^"]*), table">\s*<table.*?</thead>', page, re.S)
    heads = re.findall(r'role="region" aria-label="[^"]*, table">\s*<table.*?<thead>(.*?)</thead>', page, re.S)
    assert len(frames) == page.count("<table"), "a table without a frame of its own"
    return [(name, re.findall(r"<th\b[^>]*>.*?</th>", head, re.S)) for name, head in zip(frames, heads, strict=True)]


def test_every_table_of_every_page_sorts_and_its_file_has_exactly_that(
    client: TestClient, pages: dict[str, str]
) -> None:
    tried: set[str] = set()
    for address, page in pages.items():
        if address == "/digest":
            # Its tables are of an e-mail.
            continue
        for name, headings in tables_of(page):
            if any(name == known or name.startswith(f"{known} ") for known in NOT_SORTED):
                continue
            for heading in headings:
                label = re.sub("<[^>]*>", "", heading).strip()
                link = re.search(r'href="([^"]*/table\?[^"]*|/rejected\?[^"]*)"', heading)
                if link is None:
                    assert label in NOT_QUERIED, (address, name, label)
                    continue
                sorted_address = html.unescape(link[1])
                path, _, query = sorted_address.partition("?")
                column = re.search("sort=([^&]+)", query)
                assert column
                # Each column of the tables that no other test sorts; of a figure one.
                is_of_figure = path.strip("/").split("/")[0] in PAGES and not path.startswith("/review/")
                kind = f"{name} {'' if is_of_figure else column[1]}"
                if kind in tried:
                    continue
                tried.add(kind)
                answer = client.get(sorted_address)
                assert answer.status_code == 200, (sorted_address, answer.text)
                assert "is not available now" not in answer.text, sorted_address
                assert re.search(r'<th scope="col"[^>]* aria-sort="(a|de)scending"', answer.text), sorted_address
                ((total,),) = [re.findall(r"Rows 1 to \d+ of (\d+),", answer.text)]
                in_file = file(client, f"{path.removesuffix('/table')}.csv?{query}")
                assert len(in_file) == int(total), sorted_address
                values = [row[column[1]] for row in in_file if row[column[1]]]
                if all(re.fullmatch(r"-?\d+(\.\d+)?|\d{4}-\d\d-\d\d", value) for value in values):
                    compared = [value if value[4:5] == "-" else float(value) for value in values]
                    assert compared == sorted(compared, reverse="order=desc" in query), sorted_address
    assert len(tried) > 150


def test_every_table_is_searched_by_bound_text(client: TestClient, pages: dict[str, str]) -> None:
    searched = set()
    for page in pages.values():
        for action, hidden in re.findall(r'<form class="search"[^>]* action="([^"]*)"[^>]*>(.*?)</form>', page, re.S):
            if action in searched:
                continue
            searched.add(action)
            chosen = {
                html.unescape(name): html.unescape(value)
                for name, value in re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', hidden)
            }
            answer = client.get(action, params={**chosen, "search": "' or 1=1 --%"})
            assert answer.status_code == 200, (action, answer.text)
            assert "No rows with" in answer.text, action
            assert client.get(action, params={**chosen, "sort": "1; drop"}).status_code == 400
    assert len(searched) > 30


def test_visible_texts_have_no_sql_names(pages: dict[str, str]) -> None:
    """Outside of code, of rows as the source gave them, and of what the shop and its checks say in their own words."""
    found = {}
    for address, page in pages.items():
        if address.startswith(("/models", "/digest")):
            # The names of models and columns are what these pages are about.
            continue
        body = page[page.index("<main") :]
        for hidden in ("script", "style", "code", "pre", "svg", "textarea", "option"):
            body = re.sub(rf"<{hidden}\b.*?</{hidden}>", " ", body, flags=re.S)
        # Messages and reasons name columns of the shop, by which they can be found there.
        body = re.sub(r'<td class="wrap">.*?</td>|<a href="/rejected\?.*?</a>', " ", body, flags=re.S)
        text = html.unescape(re.sub("<[^>]*>", " ", body))
        names = {name for name in re.findall(r"\b\w*[a-z0-9]_[a-z0-9]\w*", text) if not IDS.fullmatch(name)}
        if names:
            found[address] = names
    assert found == {}


def test_long_table_is_not_sorted_while_a_page_waits_and_its_file_is(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = drill_pages._placed_behind
    monkeypatch.setattr(drill_pages, "_placed_behind", lambda *where: replace(placed(*where), most=5))
    # A day that no other test opens: pages are cached.
    shown = client.get(f"/rows/daily_revenue?order_date={DAY_BEFORE}&again=1").text
    lines = f"/rows/daily_revenue/fact_sales/table?order_date={DAY_BEFORE}&sort=order_id&order=desc"
    page = client.get(lines)
    assert page.status_code == 200
    assert "This table has more than 5 rows" in page.text
    assert "<table" not in page.text
    orders = [row["order_id"] for row in file(client, lines.replace("/table?", ".csv?"))]
    assert len(orders) == 8
    assert orders == sorted(orders, reverse=True)
    assert shown


def test_long_file_is_sent_while_it_is_read(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAGE_ROWS", 2)
    rows = file(
        client, f"/rows/daily_revenue/fact_sales.csv?order_date={AS_OF}&sort=order_amount&order=asc&search=card"
    )
    assert len(rows) > 2
    amounts = [float(row["order_amount"]) for row in rows]
    assert amounts == sorted(amounts)
    assert {row["payment_method"] for row in rows} == {"card"}


def test_rejected_row_is_found_by_any_of_its_keys(client: TestClient, filled: Callable[[str], str]) -> None:
    with psycopg.connect(filled("warehouse"), autocommit=True) as owner:
        owner.execute(
            "insert into ops.quarantine (batch_id, source, reason, payload, quarantined_at) values"
            ' (1, \'refund\', \'no amount\', \'{"refund_id": "R-77", "order_id": "O-77"}\', now()),'
            " (1, 'kafka_stream', 'no type', %s, now()),"
            ' (1, \'customer\', \'no date\', \'{"customer_id": "C-77", "customer_email": "a@b.example"}\', now())',
            ['{"topic": "t", "offset": 3, "value": "{\\"product_id\\": \\"P-77\\"}"}'],
        )
    for key, reason in (("R-77", "no amount"), (" O-77 ", "no amount"), ("P-77", "no type"), ("C-77", "no date")):
        page = client.get("/rejected", params={"key": key}).text
        assert "Rows 1 to 1 of 1" in page, key
        assert reason in page
        assert f'name="key" value="{key.strip()}"' in page
        (row,) = file(client, f"/rejected.csv?key={key.strip()}")
        assert row["reason"] == reason
    for key in ("77", "R-7", "a@b.example", "%", "no amount"):
        assert "No rows." in client.get("/rejected", params={"key": key}).text, key
    assert 'action="/rejected"' in client.get("/status").text
