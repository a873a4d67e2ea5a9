"""
Open the pages, alone and by 50 readers beside daily runs: on the running demo.

First each page alone, in milliseconds of the server (its `Server-Timing`): right after a publication that changed
nothing, when no cached response is valid and each query goes to the warehouse, and then a second time, from the cache.
That is every page there is: with its default choices, with all days and each of its filters, each figure of *Why*, each
list of a segment, the way from a row of each mart to its facts and raw rows. Prints median and maximum, and the ratio
to the yardstick: the time that Airflow's own API takes to list 25 runs. Fails if a maximum is 300 ms or more. Then
what a browser takes to draw a page at the first visit, without anything in its cache: until the first text, and until
all charts in sight are drawn. Fails if that is two seconds or more; without Chromium it is left out.

Then daily runs, each after one order of the last day was corrected, in turns without and with readers. Each reader
opens a page, waits two to six seconds, and opens the next. Three of four pages are opened with their default choices,
one of four with days or a category of the reader's choice, each time others. No browser cache. Prints p50, p95 and
maximum of both kinds, the number of responses marked as out of date, the responses with an error, and the ratio of the
runs' medians with and without readers. `--plans` prints the plan of each page's slowest query, by `explain analyze` as
the role that runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from urllib.parse import quote

import httpx
import psycopg
from psycopg.rows import dict_row

from benchmarks.main_job import run_over
from benchmarks.page_addresses import every_address, read_shop
from include.demo import stack
from include.demo.state import State
from shop_pages.filters import Filters
from shop_pages.limits import FRESH_SECONDS, PAGE_ROWS, WAREHOUSE_DAG
from shop_pages.pages import CATEGORIES, PAGES
from tests.browser import chromium

#: Seconds that a reader looks at a page: from and to.
VIEWING = (2.0, 6.0)
#: One of so many pages is opened with a choice of the reader, the others with the default.
CHOSEN_ONE_OF = 4
#: Milliseconds of the server that no page may reach, and of a browser until the first visit is drawn.
LIMIT, DRAWN_LIMIT = 300, 2_000
#: Pages that a browser draws, the ones with most to draw among them.
_DRAWN = ("today", "revenue", "profit", "customers", "stock", "seasons")


@dataclass
class Responses:
    """The responses that readers got: milliseconds of pages with default and with chosen days, and errors."""

    default: list[float] = field(default_factory=list)
    chosen: list[float] = field(default_factory=list)
    stale: int = 0
    errors: list[str] = field(default_factory=list)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=50, help="readers at the same time (default 50)")
    parser.add_argument("--runs", type=int, default=3, help="runs with, and as many without readers (default 3)")
    parser.add_argument("--times", type=int, default=5, help="how often each page is opened alone (default 5)")
    parser.add_argument("--pages", default="", help="only pages whose name begins so, such as why")
    parser.add_argument("--plans", action="store_true", help="print the plan of each page's slowest query")
    arguments = parser.parse_args()
    for name in ("httpx", "include.demo.runs"):
        logging.getLogger(name).setLevel(logging.WARNING)
    state = stack.running()
    with psycopg.connect(state.dsn(role="reader")) as connection:
        span = connection.execute("select min(order_date), max(order_date) from marts.daily_revenue").fetchone()
        categories = [name for (name,) in connection.execute(CATEGORIES.encode())]
    if span is None or span[1] is None:
        sys.exit("the warehouse is empty; run: make demo")
    default, chosen = _default_addresses(span[1]), _chosen_addresses(span[0], span[1], categories)
    with psycopg.connect(state.dsn(), row_factory=dict_row) as connection:
        addresses = {**{name: [address] for name, address in default.items()}, **every_address(read_shop(connection))}
    addresses |= {
        f"{name}, chosen": [next(choices) for _ in range(arguments.times)] for name, choices in chosen.items()
    }
    addresses = {name: of_name for name, of_name in addresses.items() if name.startswith(arguments.pages)}
    worst = asyncio.run(_each_page(state, addresses, arguments.times))
    drawn = _draw_pages(state, arguments.times)
    if arguments.plans:
        _print_plans(state, *span)
    if arguments.runs:
        asyncio.run(_under_load(state, default, chosen, span[1], arguments.readers, arguments.runs))
    return 0 if worst < LIMIT and drawn < DRAWN_LIMIT else 1


def _default_addresses(last: date) -> dict[str, str]:
    """Map each page to its address without a choice."""
    return {
        "today": "/shop/today",
        **{page: f"/shop/{page}" for page in PAGES},
        "status": "/shop/status",
        "models": "/shop/models/daily_revenue",
        "rows": f"/shop/rows/daily_revenue?order_date={last}",
        "csv": "/shop/revenue/categories.csv",
    }


def _chosen_addresses(first: date, last: date, categories: list[str]) -> dict[str, Iterator[str]]:
    """Map each page with a choice to addresses, each with another choice."""

    def addresses_of(template: str, *, takes_category: bool = False) -> Iterator[str]:
        span = max((last - first).days - 1, 1)
        n = random.randrange(10_000)
        while True:
            n += 1
            address = template.format(first=first + timedelta(days=n % span), last=last, day=last - timedelta(n % span))
            with_category = takes_category and categories and n % 2
            yield address + (f"&category={quote(random.choice(categories))}" if with_category else "")

    addresses = {
        page.name: addresses_of(
            f"/shop/{page.name}?first={{first}}&last={{last}}", takes_category=page.takes("category")
        )
        for page in PAGES.values()
    }
    addresses["status"] = addresses_of("/shop/status?last={day}")
    addresses["rows"] = addresses_of("/shop/rows/daily_revenue?order_date={day}")
    addresses["csv"] = addresses_of("/shop/revenue/categories.csv?first={first}&last={last}")
    return addresses


def _client(state: State) -> httpx.AsyncClient:
    who = {"username": "admin", "password": state.passwords["admin"]}
    token = httpx.post(f"{state.airflow_url}/auth/token", json=who).json()["access_token"]
    limits = httpx.Limits(max_connections=200)
    return httpx.AsyncClient(base_url=state.airflow_url, cookies={"_token": token}, timeout=30, limits=limits)


async def _each_page(state: State, addresses: Mapping[str, Sequence[str]], times: int) -> float:
    first: dict[str, list[float]] = {name: [] for name in addresses}
    again: dict[str, list[float]] = {name: [] for name in addresses}
    sizes: dict[str, int] = {}
    yardstick: list[float] = []
    async with _client(state) as client:
        await _open(client, "/shop/today")  # opens the connections
        for n in range(times):
            started = time.monotonic()
            await _open(client, f"/api/v2/dags/{WAREHOUSE_DAG}/dagRuns?limit=25")
            yardstick.append((time.monotonic() - started) * 1000)
            with _empty_cache(state):
                await asyncio.sleep(FRESH_SECONDS + 0.5)
                for name, of_name in addresses.items():
                    for took in (first, again):
                        answer = await _open(client, of_name[n % len(of_name)])
                        took[name].append(float(answer.headers["server-timing"].split("dur=")[1]))
                    sizes[name] = answer.num_bytes_downloaded
    runs = statistics.median(yardstick)
    print(f"one page at a time, server milliseconds of {times} times; kB as the browser gets it;")
    print(f"ratio of the first to the yardstick, Airflow's list of 25 runs: {runs:.0f} ms")
    print(f"  {'':<45} {'first':>7} {'worst':>7} {'again':>7} {'worst':>7} {'kB':>7} {'ratio':>7}")
    for name in first:
        medians = [statistics.median(first[name]), max(first[name]), statistics.median(again[name]), max(again[name])]
        figures = "".join(f" {one:7.0f}" for one in medians) + f" {sizes[name] / 1000:7.0f} {medians[0] / runs:7.2f}"
        print(f"  {name:<45}{figures}{'  too slow' if max(medians) >= LIMIT else ''}", flush=True)
    return max(max(took) for took in (*first.values(), *again.values()))


def _draw_pages(state: State, times: int) -> float:
    """Print what a browser takes to draw pages at the first visit; the longest time, 0 without a browser."""
    if chromium.PROGRAM is None:
        print("\nno chromium: what a browser takes to draw a page is not measured")
        return 0
    print(f"\nfirst visit of a browser, milliseconds, medians of {times} times, and the worst")
    print(f"  {'':<20} {'text':>7} {'worst':>7} {'charts':>7} {'worst':>7}")
    longest = 0.0
    with chromium.browser() as browser:
        for name in _DRAWN:
            visits = []
            for _ in range(times):
                # A context of its own has an empty cache.
                context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=state.airflow_url)
                chromium.log_in(context, state)
                visits.append(chromium.first_visit(context.new_page(), f"/shop/{name}"))
                context.close()
            texts, charts = zip(*visits, strict=True)
            figures = [statistics.median(texts), max(texts), statistics.median(charts), max(charts)]
            longest = max(longest, *figures)
            print(f"  {name:<20}" + "".join(f" {one:7.0f}" for one in figures), flush=True)
    return longest


async def _open(client: httpx.AsyncClient, address: str) -> httpx.Response:
    answer = await client.get(address)
    if answer.status_code != 200:
        sys.exit(f"{answer.url} answered {answer.status_code}: {answer.text[:500]}")
    return answer


@contextmanager
def _empty_cache(state: State) -> Iterator[None]:
    """Insert a publication that changed nothing, so that no cached response is valid; delete it afterwards."""
    with psycopg.connect(state.dsn(), autocommit=True) as owner:
        owner.execute(
            """
            insert into ops.publication
                (publication_id, run_id, mart, rows_inserted, rows_updated, rows_deleted, published_at, undo_by)
            select nextval('ops.publication_id_seq'), 'benchmark', 'daily_revenue', 0, 0, 0, now(), 'rows'
            """
        )
        try:
            yield
        finally:
            owner.execute("delete from ops.publication where run_id = 'benchmark'")


async def _under_load(
    state: State,
    default: Mapping[str, str],
    chosen: Mapping[str, Iterator[str]],
    day: date,
    readers: int,
    runs: int,
) -> None:
    api = stack.api_of(state)
    alone: list[float] = []
    with_readers: list[float] = []
    responses = Responses()
    await asyncio.to_thread(run_over, state, api, day)  # not counted: fills the caches
    async with _client(state) as client:
        for n in range(runs):
            alone.append((await asyncio.to_thread(run_over, state, api, day))[1])
            done = asyncio.Event()
            reading = [asyncio.create_task(_read(client, default, chosen, done, responses)) for _ in range(readers)]
            await asyncio.sleep(5)
            with_readers.append((await asyncio.to_thread(run_over, state, api, day))[1])
            done.set()
            await asyncio.gather(*reading)
            print(f"run {n + 1}: {alone[-1]:.1f} s alone, {with_readers[-1]:.1f} s with {readers} readers", flush=True)
    print(f"\n{readers} readers, {VIEWING[0]:g} to {VIEWING[1]:g} s per page, one of {CHOSEN_ONE_OF} chosen")
    for kind, took in (
        ("all", responses.default + responses.chosen),
        ("default", responses.default),
        ("chosen", responses.chosen),
    ):
        took.sort()
        p50, p95 = (took[int(len(took) * share)] for share in (0.5, 0.95))
        print(f"  {kind:<13} {len(took):5} pages: p50 {p50:.0f} ms, p95 {p95:.0f} ms, worst {took[-1]:.0f} ms")
    print(f"marked as out of date: {responses.stale}")
    print(f"errors: {len(responses.errors)}" + (f", the first: {responses.errors[0]}" if responses.errors else ""))
    without, beside = statistics.median(alone), statistics.median(with_readers)
    print(
        f"daily run, medians of {runs}: {beside:.1f} s with readers = {beside / without:.2f} x {without:.1f} s without"
    )


async def _read(
    client: httpx.AsyncClient,
    default: Mapping[str, str],
    chosen: Mapping[str, Iterator[str]],
    done: asyncio.Event,
    responses: Responses,
) -> None:
    """Open pages as one reader until the run has ended; adds the milliseconds until each response."""
    await asyncio.sleep(random.uniform(0, VIEWING[1]))
    while not done.is_set():
        if random.randrange(CHOSEN_ONE_OF):
            address, took = random.choice(list(default.values())), responses.default
        else:
            address, took = next(random.choice(list(chosen.values()))), responses.chosen
        started = time.monotonic()
        try:
            answer = await client.get(address)
            if answer.status_code != 200:
                responses.errors.append(f"{address}: {answer.status_code}")
            elif 'class="state error"' in answer.text:
                responses.errors.append(f"{address}: a figure of it has an error")
            responses.stale += 'class="banner stale"' in answer.text or "x-read-at" in answer.headers
        except httpx.HTTPError as error:
            responses.errors.append(f"{address}: {error!r}")
        took.append((time.monotonic() - started) * 1000)
        await asyncio.sleep(random.uniform(*VIEWING))


def _print_plans(state: State, first: date, last: date) -> None:
    filters = Filters(first, last, None, covered_first=first, covered_last=last)
    with psycopg.connect(state.dsn(role="reader"), autocommit=True) as connection:
        for page in PAGES.values():
            plans = []
            for figure in page.figures:
                for query in filter(None, (figure.table_query, figure.chart_query, figure.summary_query)):
                    values = {**filters.parameters(query), "page_rows": PAGE_ROWS + 1}
                    rows = connection.execute(f"explain (analyze, buffers) {query}".encode(), values).fetchall()
                    plan = [row[0] for row in rows]
                    plans.append((float(plan[-1].split()[-2]), figure.name, plan))
            spent, name, plan = max(plans)
            total = sum(one for one, _, _ in plans)
            print(f"\n{page.name}: {total:.1f} ms of queries; the slowest, {name}, {spent:.1f} ms")
            print("\n".join(f"  {line}" for line in plan))


if __name__ == "__main__":
    sys.exit(main())
