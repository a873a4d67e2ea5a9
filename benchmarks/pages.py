"""
The speed of the pages on the running stack: `python -m benchmarks.pages [--readers 50] [--runs 3] [--plans]`.

First each page alone, in milliseconds of the server (its `Server-Timing`): once right after a publication, when no
cache is valid and all queries are executed, and once more, as the next reader gets it. Prints the median and the worst
of all times; the program fails if the worst is 300 ms or more.

Then daily runs, each with one corrected order of the last day, in turn without and with readers. A reader opens one
page after the other and pauses two to six seconds in between. Three of four pages are opened with their default
filters, one of four with filters of the reader's own that nobody has used before. Browsers cache nothing. Prints p50,
p95 and worst of both kinds, the number of pages with earlier figures, all errors and figures that were not available,
and the median run with readers as a ratio to the median run without. `--plans` prints the plan of each page's slowest
query, by `explain analyze` as the role that executes it.
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
from shop_pages.limits import FRESH_SECONDS, PAGE_ROWS
from shop_pages.pages import CATEGORIES, PAGES

#: Seconds between two pages of a reader: as long as people look at one, or less.
PAUSE = (2.0, 6.0)


#: One of so many pages is opened with filters of the reader's own.
FILTERED_ONE_OF = 4
#: Milliseconds of the server that no page may reach, in the worst of its times.
LIMIT = 300


@dataclass
class Observations:
    """What readers got: milliseconds of pages with default and with own filters, and all problems."""

    default: list[float] = field(default_factory=list)
    filtered: list[float] = field(default_factory=list)
    stale: int = 0
    problems: list[str] = field(default_factory=list)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=50, help="readers at once (default 50)")
    parser.add_argument("--runs", type=int, default=3, help="runs with, and as many without readers (default 3)")
    parser.add_argument("--times", type=int, default=5, help="times that each page is opened by itself (default 5)")
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
    default, filtered = _default_addresses(span[1]), _filtered_addresses(span[0], span[1], categories)
    worst = asyncio.run(_each_page(state, default, filtered, arguments.times))
    if arguments.plans:
        _print_plans(state, *span)
    if arguments.runs:
        asyncio.run(_under_load(state, default, filtered, span[1], arguments.readers, arguments.runs))
    return 0 if worst < LIMIT else 1


def _default_addresses(last: date) -> dict[str, str]:
    """Each page → its address with default filters."""
    return {
        "today": "/shop/today",
        **{page: f"/shop/{page}" for page in PAGES},
        "status": "/shop/status",
        "models": "/shop/models/daily_revenue",
        "rows": f"/shop/rows/daily_revenue?order_date={last}",
        "csv": "/shop/revenue/categories.csv",
    }


def _filtered_addresses(first: date, last: date, categories: list[str]) -> dict[str, Iterator[str]]:
    """Each page with filters → its addresses, each with filters that were not used before."""

    def fresh(template: str, *, takes_category: bool = False) -> Iterator[str]:
        span = max((last - first).days - 1, 1)
        n = random.randrange(10_000)
        while True:
            n += 1
            address = template.format(first=first + timedelta(days=n % span), last=last, day=last - timedelta(n % span))
            has_category = takes_category and categories and n % 2
            yield address + (f"&category={quote(random.choice(categories))}" if has_category else "")

    addresses = {
        page.name: fresh(f"/shop/{page.name}?first={{first}}&last={{last}}", takes_category=page.takes_category)
        for page in PAGES.values()
    }
    addresses["status"] = fresh("/shop/status?last={day}")
    addresses["rows"] = fresh("/shop/rows/daily_revenue?order_date={day}")
    addresses["csv"] = fresh("/shop/revenue/categories.csv?first={first}&last={last}")
    return addresses


def _client(state: State) -> httpx.AsyncClient:
    who = {"username": "admin", "password": state.passwords["admin"]}
    token = httpx.post(f"{state.airflow_url}/auth/token", json=who).json()["access_token"]
    limits = httpx.Limits(max_connections=200)
    return httpx.AsyncClient(base_url=state.airflow_url, cookies={"_token": token}, timeout=30, limits=limits)


async def _each_page(
    state: State, default: Mapping[str, str], filtered: Mapping[str, Iterator[str]], times: int
) -> float:
    opened = [(name, lambda address=address: address) for name, address in default.items()]
    opened += [
        (f"{name}, own filters", lambda addresses=addresses: next(addresses)) for name, addresses in filtered.items()
    ]
    first: dict[str, list[float]] = {name: [] for name, _ in opened}
    again: dict[str, list[float]] = {name: [] for name, _ in opened}
    sizes: dict[str, int] = {}
    async with _client(state) as client:
        await _open(client, "/shop/today")  # opens connections
        for _ in range(times):
            with _invalid_caches(state):
                await asyncio.sleep(FRESH_SECONDS + 0.5)
                for name, address in opened:
                    at = address()
                    for took in (first, again):
                        answer = await _open(client, at)
                        took[name].append(float(answer.headers["server-timing"].split("dur=")[1]))
                    sizes[name] = answer.num_bytes_downloaded
    print(f"one page at a time, server milliseconds of {times}; kB as the browser gets it")
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
def _invalid_caches(state: State) -> Iterator[None]:
    """Add a publication without changes, which invalidates all caches, and remove it at the end."""
    with psycopg.connect(state.dsn(), autocommit=True) as owner:
        owner.execute(
            "insert into ops.publication"
            " (publication_id, run_id, mart, rows_inserted, rows_updated, rows_deleted, published_at)"
            " select nextval('ops.publication_id_seq'), 'benchmark', 'daily_revenue', 0, 0, 0, now()"
        )
        try:
            yield
        finally:
            owner.execute("delete from ops.publication where run_id = 'benchmark'")


async def _under_load(
    state: State,
    default: Mapping[str, str],
    filtered: Mapping[str, Iterator[str]],
    day: date,
    readers: int,
    runs: int,
) -> None:
    api = stack.api_of(state)
    alone: list[float] = []
    with_readers: list[float] = []
    observations = Observations()
    await asyncio.to_thread(run_over, state, api, day)  # not counted: it warms up
    async with _client(state) as client:
        for n in range(runs):
            alone.append((await asyncio.to_thread(run_over, state, api, day))[1])
            done = asyncio.Event()
            crowd = [asyncio.create_task(_read(client, default, filtered, done, observations)) for _ in range(readers)]
            await asyncio.sleep(5)
            with_readers.append((await asyncio.to_thread(run_over, state, api, day))[1])
            done.set()
            await asyncio.gather(*crowd)
            print(f"run {n + 1}: {alone[-1]:.1f} s alone, {with_readers[-1]:.1f} s with {readers} readers", flush=True)
    pause = f"{PAUSE[0]:g} to {PAUSE[1]:g} s"
    print(f"\n{readers} readers, {pause} between two pages, one of {FILTERED_ONE_OF} with own filters")
    for kind, took in (
        ("all", observations.default + observations.filtered),
        ("default", observations.default),
        ("own filters", observations.filtered),
    ):
        took.sort()
        p50, p95 = (took[int(len(took) * share)] for share in (0.5, 0.95))
        print(f"  {kind:<13} {len(took):5} pages: p50 {p50:.0f} ms, p95 {p95:.0f} ms, worst {took[-1]:.0f} ms")
    print(f"pages with earlier figures: {observations.stale}")
    print(
        f"errors: {len(observations.problems)}"
        + (f", the first: {observations.problems[0]}" if observations.problems else "")
    )
    without, beside = statistics.median(alone), statistics.median(with_readers)
    print(
        f"daily run, medians of {runs}: {beside:.1f} s with readers = {beside / without:.2f} x {without:.1f} s without"
    )


async def _read(
    client: httpx.AsyncClient,
    default: Mapping[str, str],
    filtered: Mapping[str, Iterator[str]],
    done: asyncio.Event,
    observations: Observations,
) -> None:
    """One reader until the run has ended: the browser's milliseconds of each page."""
    await asyncio.sleep(random.uniform(0, PAUSE[1]))
    while not done.is_set():
        if random.randrange(FILTERED_ONE_OF):
            address, took = random.choice(list(default.values())), observations.default
        else:
            address, took = next(random.choice(list(filtered.values()))), observations.filtered
        started = time.monotonic()
        try:
            answer = await client.get(address)
            if answer.status_code != 200:
                observations.problems.append(f"{address}: {answer.status_code}")
            elif 'class="state error"' in answer.text:
                observations.problems.append(f"{address}: a figure is not available")
            observations.stale += 'class="banner stale"' in answer.text or "x-read-at" in answer.headers
        except httpx.HTTPError as error:
            observations.problems.append(f"{address}: {error!r}")
        took.append((time.monotonic() - started) * 1000)
        await asyncio.sleep(random.uniform(*PAUSE))


def _print_plans(state: State, first: date, last: date) -> None:
    parameters = {"first": first, "last": last, "category": None, "row_cap": PAGE_ROWS}
    with psycopg.connect(state.dsn(role="reader"), autocommit=True) as connection:
        for page in PAGES.values():
            plans = []
            for figure in page.figures:
                for query in filter(None, (figure.query, figure.chart_query)):
                    rows = connection.execute(f"explain (analyze, buffers) {query}".encode(), parameters).fetchall()
                    plan = [row[0] for row in rows]
                    plans.append((float(plan[-1].split()[-2]), figure.name, plan))
            spent, name, plan = max(plans)
            total = sum(one for one, _, _ in plans)
            print(f"\n{page.name}: {total:.1f} ms of queries; the slowest, {name}, {spent:.1f} ms")
            print("\n".join(f"  {line}" for line in plan))


if __name__ == "__main__":
    sys.exit(main())
