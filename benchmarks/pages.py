"""
Open the pages, alone and by 50 readers beside daily runs: on the running demo.

First each page alone, in milliseconds of the server (its `Server-Timing`): right after a publication that changed
nothing, when no cached response is valid and each query goes to the warehouse, and then a second time, from the cache.
Prints median and maximum; fails if a maximum is 300 ms or more.

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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from urllib.parse import quote

import httpx
import psycopg

from benchmarks.main_job import run_over
from include.demo import stack
from include.demo.state import State
from shop_pages.filters import Filters
from shop_pages.limits import FRESH_SECONDS, PAGE_ROWS
from shop_pages.pages import CATEGORIES, PAGES

#: Seconds that a reader looks at a page: from and to.
VIEWING = (2.0, 6.0)
#: One of so many pages is opened with a choice of the reader, the others with the default.
CHOSEN_ONE_OF = 4
#: Milliseconds of the server that no page may reach.
LIMIT = 300


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
    worst = asyncio.run(_each_page(state, default, chosen, arguments.times))
    if arguments.plans:
        _print_plans(state, *span)
    if arguments.runs:
        asyncio.run(_under_load(state, default, chosen, span[1], arguments.readers, arguments.runs))
    return 0 if worst < LIMIT else 1


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


async def _each_page(
    state: State, default: Mapping[str, str], chosen: Mapping[str, Iterator[str]], times: int
) -> float:
    pages = [(name, lambda address=address: address) for name, address in default.items()]
    pages += [(f"{name}, chosen", lambda addresses=addresses: next(addresses)) for name, addresses in chosen.items()]
    first: dict[str, list[float]] = {name: [] for name, _ in pages}
    again: dict[str, list[float]] = {name: [] for name, _ in pages}
    sizes: dict[str, int] = {}
    async with _client(state) as client:
        await _open(client, "/shop/today")  # opens the connections
        for _ in range(times):
            with _empty_cache(state):
                await asyncio.sleep(FRESH_SECONDS + 0.5)
                for name, address in pages:
                    at = address()
                    for took in (first, again):
                        answer = await _open(client, at)
                        took[name].append(float(answer.headers["server-timing"].split("dur=")[1]))
                    sizes[name] = answer.num_bytes_downloaded
    print(f"one page at a time, server milliseconds of {times} times; kB as the browser gets it")
    print(f"  {'':<20} {'first':>7} {'worst':>7} {'again':>7} {'worst':>7} {'kB':>7}")
    for name in first:
        medians = [statistics.median(first[name]), max(first[name]), statistics.median(again[name]), max(again[name])]
        print(f"  {name:<20}" + "".join(f" {one:7.0f}" for one in medians) + f" {sizes[name] / 1000:7.0f}", flush=True)
    return max(max(took) for took in (*first.values(), *again.values()))


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
                (publication_id, run_id, mart, rows_inserted, rows_updated, rows_deleted, published_at)
            select nextval('ops.publication_id_seq'), 'benchmark', 'daily_revenue', 0, 0, 0, now()
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
