"""Large marts: no chart, table or file leaves rows out in silence, and a file of any size takes little memory."""

import asyncio
import csv
import html
import io
import json
import re
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from shop_pages import downloads, limits
from shop_pages.app import create_app
from tests.integration.shop_pages.conftest import AS_OF, client_of

pytestmark = [pytest.mark.usefixtures("patient"), pytest.mark.slow]

CATEGORIES, MONTHS, METHODS, PRODUCTS, CUSTOMERS = 200, 24, 30, 1_000, 120_000
FIRST_MONTH = "2022-04-01"
#: The first loaded day, and the day of the one order that is dated long before.
FIRST_LOADED, STRAY_DAY = "2023-11-03", "2010-03-05"
#: Every day of the months.
ALL_MONTHS = {"first": FIRST_MONTH, "last": AS_OF}


def fill(owner: psycopg.Connection, mart: str, values: str, rows: str) -> None:
    """Replace a mart's rows by copies of one of them with other values: `jsonb` by SQL over other rows."""
    owner.execute(
        f"create temporary table template as select to_jsonb(one) as row from marts.{mart} as one limit 1".encode()
    )
    owner.execute(f"delete from marts.{mart}".encode())
    owner.execute(
        f"""
        insert into marts.{mart}
        select made.*
        from template
        cross join {rows}
        cross join lateral
            jsonb_populate_record(null::marts.{mart}, template.row || jsonb_build_object({values})) as made
        """.encode()
    )
    owner.execute("drop table template")


@pytest.fixture(scope="module")
def large(filled: Callable[[str], str]) -> Iterator[psycopg.Connection]:
    """The marts of a shop with many categories, methods, products and customers, and one order of 2010."""
    with psycopg.connect(filled("warehouse"), autocommit=True) as owner:
        months = f"generate_series('{FIRST_MONTH}'::date, '{AS_OF}'::date, '1 month') as month"
        fill(
            owner,
            "product_category_revenue_monthly",
            "'revenue_month', month::date, 'category_name', 'Category ' || n, 'subcategory', null,"
            " 'total_revenue', 100 + n, 'refunded_amount', n % 7, 'net_revenue', 100 + n - n % 7",
            f"generate_series(1, {CATEGORIES}) as n cross join {months}",
        )
        fill(
            owner,
            "product_revenue_payment_analysis",
            "'revenue_month', month::date, 'category_name', 'Category 1', 'payment_method', 'method ' || n,"
            " 'revenue', 10 * n",
            f"generate_series(1, {METHODS}) as n cross join {months}",
        )
        fill(
            owner,
            "product_performance_monthly",
            "'revenue_month', '2024-03-01', 'product_id', 'P' || n, 'product_name', 'Product ' || n, 'revenue', n,"
            " 'is_complete', false",
            f"generate_series(1, {PRODUCTS}) as n",
        )
        fill(
            owner,
            "inventory_status",
            "'product_id', 'P' || n, 'product_name', 'Product ' || n, 'category_name', 'Category ' || n % 200,"
            " 'inventory_status', case when n % 3 = 0 then 'In Stock' else 'Needs Reorder' end,"
            " 'product_status', case when n % 3 = 0 then 'Available' else 'Low Stock' end, 'units_sold_30d', n",
            f"generate_series(1, {PRODUCTS}) as n",
        )
        fill(
            owner,
            "customer_segments",
            "'customer_id', 'C' || lpad(n::text, 6, '0'), 'customer_name', 'Customer ' || n, 'lifetime_value', n,"
            " 'lifetime_revenue', n, 'refunded_amount', 0",
            f"generate_series(1, {CUSTOMERS}) as n",
        )
        fill(
            owner,
            "daily_revenue",
            "'order_date', day::date,"
            f" 'daily_revenue', case when day = '{STRAY_DAY}' then 50 when day >= '{FIRST_LOADED}' then 100 else 0 end,"
            f" 'daily_orders', case when day = '{STRAY_DAY}' or day >= '{FIRST_LOADED}' then 1 else 0 end,"
            " 'refunded_amount', 0, 'guest_revenue', 0,"
            f" 'net_revenue', case when day = '{STRAY_DAY}' then 50 when day >= '{FIRST_LOADED}' then 100 else 0 end",
            f"generate_series('{STRAY_DAY}'::date, '{AS_OF}'::date, '1 day') as day",
        )
        fill(
            owner,
            "seasonal_sales_analysis",
            "'sales_month', month::date, 'category_name', 'Category ' || n, 'monthly_revenue', 100 + n,"
            " 'is_complete', month between '2023-12-01' and '2024-02-01',"
            " 'percent_of_average', case when month between '2023-12-01' and '2024-02-01' then 100 end",
            f"generate_series(1, {CATEGORIES}) as n cross join {months}",
        )
        fill(
            owner,
            "seasonal_index",
            "'category_name', case n when 0 then 'All categories' else 'Category ' || n end,"
            " 'month_of_year', month_of_year, 'index_percent', 100",
            f"generate_series(0, {CATEGORIES}) as n cross join generate_series(1, 12) as month_of_year",
        )
        owner.execute("update ops.build set first_covered_date = %s", [FIRST_LOADED])
        yield owner


@pytest.fixture
def pages(large: psycopg.Connection, tokens: dict[str, str]) -> Iterator[TestClient]:
    """A viewer of the pages over the large marts."""
    with client_of(tokens["viewer"]) as client:
        yield client


def section(pages: TestClient, page: str, figure: str, filters: Mapping[str, str] = {}) -> str:
    """The part of a page with this figure."""
    answer = pages.get(f"/{page}?{urlencode(filters)}")
    assert answer.status_code == 200, answer.text
    part = answer.text[answer.text.index(f'id="{figure}"') :]
    return part[: part.index("</section>")]


def traces(part: str) -> list[dict[str, Any]]:
    """The series of a figure's chart."""
    (plot,) = re.findall(r"<script[^>]*data-plot=[^>]*>(.*?)</script>", part, re.S)
    return json.loads(plot)["data"]


def line_below(part: str) -> str:
    """The line below a figure's chart."""
    return html.unescape("".join(re.findall(r'<p class="chart-parts">([^<]*)</p>', part)))


def table_title(part: str) -> str:
    """Which rows a figure's table shows."""
    (title,) = re.findall(r"<summary>Table: ([^<]*)</summary>", part)
    return title


def one(owner: psycopg.Connection, query: str) -> Any:
    """The only value of a query."""
    row = owner.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


# -- charts and tables -------------------------------------------------------------------------------------------------


def test_chart_of_200_categories_has_the_whole_revenue(pages: TestClient, large: psycopg.Connection) -> None:
    part = section(pages, "revenue", "categories", ALL_MONTHS)
    series = traces(part)
    assert len(series) == limits.CHART_SERIES + 1
    series = [trace for trace in series if not trace["name"].endswith("not complete")]
    assert [trace["name"] for trace in series[:2]] == ["Category 200", "Category 199"]
    assert series[-1]["name"] == "Other"
    by_month: dict[str, float] = {}
    for trace in series:
        for month, revenue in zip(trace["x"], trace["y"], strict=True):
            by_month[month] = by_month.get(month, 0) + revenue
    expected = large.execute(
        "select revenue_month, sum(total_revenue) from marts.product_category_revenue_monthly group by 1"
    ).fetchall()
    assert len(expected) == MONTHS
    assert by_month == {str(month): float(revenue) for month, revenue in expected}
    assert "200 categories: the 11 largest, and the rest as Other." in line_below(part)
    assert table_title(part) == "the first 100 of 4,800 rows, by month and revenue; the CSV has all"


def test_chart_of_one_category_has_no_other(pages: TestClient) -> None:
    part = section(pages, "revenue", "categories", {**ALL_MONTHS, "category": "Category 7"})
    assert [trace["name"] for trace in traces(part)] == ["Category 7"]
    assert table_title(part) == "24 rows"
    # April 2022 to October 2023 were not loaded; March 2024 has one day so far.
    assert line_below(part) == "Not complete: Apr 2022 to Mar 2024, 21 periods."


def test_shares_of_many_payment_methods_add_up_to_100_percent(pages: TestClient) -> None:
    part = section(pages, "revenue", "payments", ALL_MONTHS)
    series = traces(part)
    assert len(series) == limits.CHART_SERIES + 1
    for n in range(MONTHS):
        assert sum(trace["y"][n] for trace in series) == pytest.approx(100, abs=0.06)
    assert line_below(part).startswith("30 payment methods: the 11 largest, and the rest as Other.")


def test_refunds_of_all_months_are_drawn(pages: TestClient, large: psycopg.Connection) -> None:
    (trace,) = traces(section(pages, "revenue", "refunds", ALL_MONTHS))
    expected = one(large, "select sum(refunded_amount) from marts.product_category_revenue_monthly")
    assert sum(map(Decimal, map(str, trace["y"]))) == expected


def test_ranking_says_what_it_leaves_out(pages: TestClient) -> None:
    part = section(pages, "revenue", "products", ALL_MONTHS)
    (trace,) = traces(part)
    assert trace["y"][:2] == ["Product 1000", "Product 999"]
    shown = sum(range(PRODUCTS - limits.RANKED_BARS + 1, PRODUCTS + 1))
    assert sum(trace["x"]) == shown
    rest = PRODUCTS * (PRODUCTS + 1) // 2 - shown
    assert f"The first 15 of 1,000 products, by revenue; all others together: {rest:,}" in line_below(part)
    assert "Not complete: Mar 2024." in line_below(part)
    assert table_title(part) == "the first 100 of 1,000 rows, by revenue; the CSV has all"


def test_stock_of_200_categories_counts_every_product(pages: TestClient) -> None:
    part = section(pages, "operations", "stock")
    series = traces(part)
    assert sum(sum(trace["y"]) for trace in series) == PRODUCTS
    assert len({category for trace in series for category in trace["x"]}) == limits.CHART_SERIES + 1
    assert {trace["name"] for trace in series} == {"In Stock", "Needs Reorder"}
    assert line_below(part) == "200 categories: the 11 largest, and the rest as Other."


def test_seasons_of_200_categories_are_whole_or_say_what_they_leave_out(
    pages: TestClient, large: psycopg.Connection
) -> None:
    part = section(pages, "seasons", "months", ALL_MONTHS)
    lines = [trace for trace in traces(part) if not trace["name"].endswith("not complete")]
    assert [line["name"] for line in lines[:2]] == ["Category 200", "Category 199"]
    assert (len(lines), lines[-1]["name"]) == (limits.CHART_SERIES + 1, "Other")
    # The months that are not complete are circles of their own.
    drawn = sum(value or 0 for trace in traces(part) for value in trace["y"])
    assert drawn == one(large, "select sum(monthly_revenue) from marts.seasonal_sales_analysis")
    assert line_below(part).startswith("200 categories: the 11 largest, and the rest as Other.")
    # Shares of an average do not add up: no "Other".
    for figure, columns, names, text in (
        ("seasonality", MONTHS, {"Category 200", "Category 186"}, "The first 15 of 200 categories, by revenue."),
        (
            "seasonal_index",
            12,
            {"All categories", "Category 187"},
            "The first 15 of 201 categories and their total, by revenue.",
        ),
    ):
        part = section(pages, "seasons", figure, ALL_MONTHS)
        (cells,) = traces(part)
        assert (len(cells["x"]), len(cells["y"])) == (columns, limits.RANKED_BARS)
        assert names <= set(cells["y"])
        assert line_below(part).startswith(text)


def test_month_that_is_not_complete_has_a_circle_and_no_share_of_the_average(pages: TestClient) -> None:
    part = section(pages, "seasons", "seasonality", {**ALL_MONTHS, "category": "Category 7"})
    (cells,) = traces(part)
    assert cells["x"][-2:] == ["2024-02-01", "2024-03-01"]
    assert (cells["z"][0][-2:], cells["text"][0][-2:]) == ([100, None], ["", "○"])
    assert line_below(part) == "Not complete: Apr 2022 to Mar 2024, 21 periods."


def test_table_of_customers_says_which_part_it_shows(pages: TestClient) -> None:
    part = section(pages, "customers", "best")
    assert table_title(part) == "the first 100 of 120,000 rows, by lifetime value; the CSV has all"
    assert part.count("<tr") == limits.PAGE_ROWS + 1


def test_chart_with_too_many_rows_says_so(pages: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    # More than there are categories to choose from, and less than 23 months of 12 series.
    monkeypatch.setattr("shop_pages.queries.MAX_ROWS", 250)
    # A choice of no other test: rows of marts are cached until a publication.
    part = section(pages, "revenue", "categories", {"first": "2022-05-01", "last": AS_OF})
    assert "there are more than 250 rows" in html.unescape(part)
    assert "data-plot" not in part


def test_facts_behind_a_row_say_which_part_is_shown(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shop_pages.routes.drill_pages.FACT_ROWS", 3)
    page = client.get(f"/rows/daily_revenue?order_date={AS_OF}").text
    assert "The first 3 of 11 rows, by amount" in page
    assert "The first 3 of 4 rows, by amount" in page


# -- one order of 2010 -------------------------------------------------------------------------------------------------


def test_all_days_begin_with_the_first_loaded_day_and_offer_earlier_orders(pages: TestClient) -> None:
    text = pages.get("/revenue").text
    (all_days,) = re.findall(r'<a href="([^"]*)"[^>]*>All</a>', text)
    assert html.unescape(all_days) == f"?first={FIRST_LOADED}&last={AS_OF}"
    page = pages.get(f"/revenue{html.unescape(all_days)}").text
    assert "1 day with orders before 3 Nov 2023, the first day that was loaded, with a revenue of 50.00" in page
    (earlier,) = re.findall(r'revenue of 50.00:\s*<a href="([^"]*)">show</a>', page)
    assert html.unescape(earlier).startswith(f"?first={STRAY_DAY}&last={AS_OF}")
    # The demanded 120 days have all revenue but that of the one order.
    (trace,) = [trace for trace in traces(section(pages, "revenue", "trend", {"first": FIRST_LOADED, "last": AS_OF}))
                if trace["name"] == "Revenue"]  # fmt: skip
    assert (len(trace["x"]), sum(trace["y"])) == (120, 12_000)
    everything = pages.get(f"/revenue{html.unescape(earlier)}").text
    assert "with orders before" not in everything


def test_chart_of_14_years_has_every_order(pages: TestClient, large: psycopg.Connection) -> None:
    part = section(pages, "revenue", "trend", {"first": STRAY_DAY, "last": AS_OF})
    revenue = traces(part)[0]
    assert sum(revenue["y"]) == one(large, "select sum(daily_revenue) from marts.daily_revenue") == 12_050
    assert len(revenue["x"]) <= limits.CHART_POINTS
    assert revenue["x"][0] == "2010-03-01"
    assert "Drawn by month." in line_below(part)
    assert "Not complete: Mar 2010 to Mar 2024," in line_below(part)
    # The running month and those of before the first loaded day are hatched, the others are not.
    hatched = dict(zip(revenue["x"], revenue["marker"]["pattern"]["shape"], strict=True))
    assert {month: hatched[month] for month in ("2023-11-01", "2023-12-01", "2024-02-01", "2024-03-01")} == {
        "2023-11-01": "/", "2023-12-01": "", "2024-02-01": "", "2024-03-01": "/",
    }  # fmt: skip
    assert "Revenue 12,050.00" in part
    assert table_title(part).startswith("the first 100 of 5,111 rows, by day")


def test_point_of_a_month_is_no_row_of_a_day(pages: TestClient) -> None:
    for first, is_row in ((FIRST_LOADED, True), (STRAY_DAY, False)):
        part = section(pages, "revenue", "trend", {"first": first, "last": AS_OF})
        assert f'"is_row":{str(is_row).lower()}' in part


# -- files -------------------------------------------------------------------------------------------------------------

FILE = "/customers/best.csv"


class Client:
    """A client of the application that counts what it gets and keeps nothing, and may leave before the end."""

    def __init__(self, token: str, leaves_after: float = float("inf")) -> None:
        self.headers = [(b"authorization", f"Bearer {token}".encode()), (b"host", b"testserver")]
        self.leaves_after = leaves_after
        self.left = asyncio.Event()
        self.status = self.bytes = self.lines = 0
        self.is_finished = False
        self.while_receiving: Callable[[], None] = lambda: None

    async def receive(self) -> dict[str, Any]:
        """Nothing until the client leaves."""
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """A part of the response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        self.bytes += len(message.get("body", b""))
        self.lines += message.get("body", b"").count(b"\n")
        self.is_finished = not message.get("more_body", False)
        self.while_receiving()
        if self.bytes > self.leaves_after:
            self.left.set()
            await asyncio.sleep(10)

    async def get(self, app: FastAPI, path: str) -> None:
        """Request a path."""
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": self.headers, "client": ("127.0.0.1", 1), "server": ("testserver", 80),
        }  # fmt: skip
        await app(scope, self.receive, self.send)


class PausedClient(Client):
    """A client that takes the first part, and the others when it goes on."""

    def __init__(self, token: str, goes_on: asyncio.Event) -> None:
        super().__init__(token)
        self.goes_on = goes_on

    async def send(self, message: Any) -> None:
        """A part of the response."""
        await super().send(message)
        if self.bytes:
            await self.goes_on.wait()


def run(action: Callable[[FastAPI], Awaitable[None]]) -> None:
    """Run an action with a started application."""

    async def started() -> None:
        app = create_app()
        async with app.router.lifespan_context(app):
            await action(app)

    asyncio.run(started())


def test_file_of_120_000_rows_is_whole(pages: TestClient, large: psycopg.Connection) -> None:
    answer = pages.get(FILE)
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="customers-best.csv"'
    header, *rows = csv.reader(io.StringIO(answer.text.removeprefix("\ufeff")))
    assert len(rows) == CUSTOMERS
    ids, values = header.index("customer_id"), header.index("lifetime_value")
    assert rows[0][ids] == f"C{CUSTOMERS}"
    assert len({row[ids] for row in rows}) == CUSTOMERS
    assert sum(Decimal(row[values]) for row in rows) == one(
        large, "select sum(lifetime_value) from marts.customer_segments"
    )


@pytest.mark.slow
def test_file_of_120_000_rows_takes_the_memory_of_a_few_batches(
    large: psycopg.Connection, tokens: dict[str, str]
) -> None:
    peaks = []

    async def download(app: FastAPI) -> None:
        # The first also loads what the second only uses.
        for _ in range(2):
            client = Client(tokens["viewer"])
            tracemalloc.start()
            await client.get(app, FILE)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert (client.status, client.lines, client.is_finished) == (200, CUSTOMERS + 1, True)
            assert client.bytes > 8_000_000

    run(download)
    assert peaks[1] < 4_000_000


def downloads_in_warehouse(owner: psycopg.Connection) -> int:
    """The number of connections of downloads."""
    query = f"select count(*) from pg_stat_activity where application_name = '{downloads.APPLICATION_NAME}'"
    return int(one(owner, query))


def test_query_ends_when_the_client_leaves(large: psycopg.Connection, tokens: dict[str, str]) -> None:
    async def download(app: FastAPI) -> None:
        client = Client(tokens["viewer"], leaves_after=500_000)
        during: list[int] = []
        client.while_receiving = lambda: during.append(downloads_in_warehouse(large))
        await asyncio.wait_for(client.get(app, FILE), timeout=8)
        assert not client.is_finished
        assert client.bytes < 1_500_000
        assert set(during) == {1}
        assert app.state.downloads.running == 0
        for _ in range(50):
            if downloads_in_warehouse(large) == 0:
                break
            await asyncio.sleep(0.1)
        assert downloads_in_warehouse(large) == 0

    run(download)


def test_file_that_takes_too_long_is_broken_off_and_never_ends_as_if_whole(
    large: psycopg.Connection, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DOWNLOAD_TIMEOUT", 0.0)

    async def download(app: FastAPI) -> None:
        client = Client(tokens["viewer"])
        with pytest.raises(BaseException, match=r"took longer|response already started"):
            await client.get(app, FILE)
        assert (client.status, client.is_finished) == (200, False)
        assert app.state.downloads.running == 0

    run(download)


def test_file_ends_if_the_client_takes_no_more(
    large: psycopg.Connection, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DOWNLOAD_IDLE_TIMEOUT", 1.0)

    async def download(app: FastAPI) -> None:
        client = Client(tokens["viewer"], leaves_after=500_000)
        # It neither takes more nor leaves.
        client.left = type("Never", (), {"set": lambda self: None, "wait": lambda self: asyncio.sleep(60)})()
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            await client.get(app, FILE)
        # `send` would have waited for ten seconds.
        assert time.monotonic() - started < 8
        assert not client.is_finished
        assert app.state.downloads.running == 0

    run(download)


def test_more_files_at_once_than_allowed_are_refused_with_a_reason(
    large: psycopg.Connection, tokens: dict[str, str]
) -> None:
    async def download(app: FastAPI) -> None:
        app.state.downloads.running = limits.MAX_DOWNLOADS
        client = Client(tokens["viewer"])
        await client.get(app, FILE)
        assert client.status == 503

    run(download)


def test_one_user_does_not_take_the_place_of_all_others(large: psycopg.Connection, tokens: dict[str, str]) -> None:
    async def download(app: FastAPI) -> None:
        goes_on = asyncio.Event()
        of_viewer = [PausedClient(tokens["viewer"], goes_on) for _ in range(limits.MAX_DOWNLOADS_OF_USER)]
        other, refused = Client(tokens["admin"]), Client(tokens["viewer"])

        async def while_they_run() -> None:
            while not all(client.bytes for client in of_viewer):
                await asyncio.sleep(0.01)
            await refused.get(app, FILE)
            await other.get(app, FILE)
            goes_on.set()

        await asyncio.gather(while_they_run(), *(client.get(app, FILE) for client in of_viewer))
        assert (refused.status, other.status, other.is_finished) == (503, 200, True)
        assert app.state.downloads.running == 0
        again = Client(tokens["viewer"])
        await again.get(app, FILE)
        assert again.is_finished

    run(download)


def test_file_that_is_too_large_is_broken_off(
    large: psycopg.Connection, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DOWNLOAD_BYTES", 2_000_000)

    async def download(app: FastAPI) -> None:
        client = Client(tokens["viewer"])
        with pytest.raises(BaseException, match=r"more than 2,000,000 bytes|response already started"):
            await client.get(app, FILE)
        assert (client.status, client.is_finished) == (200, False)
        assert client.bytes <= 2_100_000

    run(download)


def test_file_needs_a_login(large: psycopg.Connection, tokens: dict[str, str]) -> None:
    async def download(app: FastAPI) -> None:
        for token, status in (("nobody", 403), ("viewer", 200)):
            client = Client(tokens[token])
            await client.get(app, FILE)
            assert client.status == status

    run(download)


# -- growth and subscriptions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "figure", "says", "hide", "show"),
    [
        (
            "trends",
            "periods",
            "Revenue by period is not built yet. The next run of the warehouse builds it"
            " (<code>marts.revenue_trend</code>).",
            "alter table marts.revenue_trend rename to hidden",
            "alter table marts.hidden rename to revenue_trend",
        ),
        (
            "subscriptions",
            "subscriptions",
            "Recurring revenue is not built yet.",
            "alter table marts.subscription_performance_monthly rename column expansion_mrr to hidden",
            "alter table marts.subscription_performance_monthly rename column hidden to expansion_mrr",
        ),
    ],
)
def test_mart_without_a_table_or_a_column_is_not_built_yet_and_no_error(
    pages: TestClient,
    large: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    page: str,
    figure: str,
    says: str,
    hide: str,
    show: str,
) -> None:
    monkeypatch.setattr("shop_pages.queries.FRESH_SECONDS", 0)
    large.execute(hide.encode())
    try:
        # A choice of no other test: of a mart that was there before, the rows are still shown.
        part = section(pages, page, figure, {"first": "2022-06-01", "last": AS_OF, "grain": "year"})
    finally:
        large.execute(show.encode())
    assert says in part
    assert "state error" not in part


def test_revenue_by_period_is_shown_by_the_chosen_grain(
    pages: TestClient, large: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop_pages.queries.FRESH_SECONDS", 0)
    fill(
        large,
        "revenue_trend",
        "'grain', grain, 'period_start', start, 'category_name', category, 'revenue', revenue,"
        " 'days_in_period', days, 'is_complete', is_complete, 'growth_percent', growth,"
        " 'last_year_revenue', last_year, 'year_over_year_percent', to_last_year, 'run_rate', run_rate",
        """(
            values
            ('month', '2023-11-01', 'All categories', 2800, 30, false, null::numeric, null::int, null::int, 3000),
            ('month', '2024-01-01', 'All categories', 3100, 31, true, null, null, null, null),
            ('month', '2024-02-01', 'All categories', 2900, 29, true, -6.45, null, null, null),
            ('month', '2024-03-01', 'All categories', 100, 31, false, 0, 80, 25, 3100),
            ('month', '2024-03-01', 'Books', 40, 31, false, null, null, null, 1240),
            ('quarter', '2024-01-01', 'All categories', 6100, 91, false, null, null, null, 9200)
        ) as made_up (grain, start, category, revenue, days, is_complete, growth, last_year, to_last_year, run_rate)""",
    )
    part = section(pages, "trends", "periods")
    revenue, complete_last_year, last_year, run_rate = traces(part)
    assert revenue["x"] == ["Nov 2023, part", "Jan 2024", "Feb 2024", "Mar 2024 so far"]
    assert revenue["y"] == [2800, 3100, 2900, 100]
    assert revenue["marker"]["pattern"]["shape"] == ["/", "", "", "/"]
    assert revenue["customdata"][2:] == [["-6.45 %", "no comparison"], ["+0.00 %", "+25.00 %"]]
    # No line leads to a period that is not complete.
    assert complete_last_year["y"] == [None] * 4
    assert (last_year["x"], last_year["y"]) == (["Nov 2023, part", "Mar 2024 so far"], [None, 80])
    # November was loaded from the 3rd on: it is not complete, and not running.
    assert (run_rate["x"], run_rate["y"]) == (["Mar 2024 so far"], [3100])
    assert "Not complete: Nov 2023, Mar 2024." in line_below(part)
    assert traces(section(pages, "trends", "periods", {"grain": "quarter"}))[0]["x"] == ["Q1 2024 so far"]
    assert traces(section(pages, "trends", "periods", {"category": "Books"}))[0]["y"] == [40]
    assert pages.get("/trends?grain=decade").status_code == 400


def test_row_of_all_plans_is_not_added_to_those_of_the_plans(
    pages: TestClient, large: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop_pages.queries.FRESH_SECONDS", 0)
    days = {"first": "2024-01-01", "last": AS_OF}

    def shown() -> tuple[Any, Any, list[str]]:
        (waterfall,) = traces(section(pages, "subscriptions", "subscriptions", days))
        plans = [trace["name"] for trace in traces(section(pages, "subscriptions", "plans", days))]
        today = re.findall(r'id="mrr">.*?class="value" data-tip="([^"]*)"', pages.get("/today").text, re.S)
        return sum(waterfall["y"]), today, plans

    mart = "marts.subscription_performance_monthly"
    large.execute(f"delete from {mart} where plan_type = 'All plans'".encode())
    before = shown()
    assert before == (30, ["30.00 EUR"], ["Basic", "Basic, not complete"])
    # All that is covered is shown, also if the chosen range is shorter.
    assert "since 3 Nov 2023" in section(pages, "subscriptions", "plans", days)
    large.execute(
        f"insert into {mart} select (jsonb_populate_record(plan, jsonb_build_object('plan_type', %s::text))).*"
        f" from {mart} as plan".encode(), ["All plans"],
    )  # fmt: skip
    assert shown() == before
    page = pages.get(
        f"/rows/subscription_performance_monthly?{urlencode({'revenue_month': '2024-03-01', 'plan_type': 'All plans'})}"
    )
    assert 'class="badge bad"' not in page.text


def test_movements_of_subscriptions_are_drawn_where_there_are_some(
    pages: TestClient, large: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shop_pages.queries.FRESH_SECONDS", 0)

    def changes() -> list[tuple[str, float]]:
        part = section(pages, "subscriptions", "subscriptions", {"first": "2024-01-01", "last": AS_OF})
        assert ">Expansion</" in part
        (waterfall,) = traces(part)
        return list(zip(waterfall["x"][1], waterfall["y"], strict=True))

    assert {name for name, _ in changes()} == {"opening", "new", "reactivated", "churned", "closing"}
    large.execute(
        "update marts.subscription_performance_monthly set expansion_mrr = 5"
        " where revenue_month = '2024-02-01' and plan_type = 'Basic'"
    )
    assert [value for name, value in changes() if name == "expansion"] == [0, 5, 0]
