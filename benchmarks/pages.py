"""
The pages of the running stack: `python -m benchmarks.pages [--readers 50] [--runs 3] [--plans]`.

First each page by itself: the server's milliseconds (its `Server-Timing`) for addresses that nobody has asked for
before, so that every query is asked of the warehouse. Then daily runs, each correcting one order of the last day, in
turn without readers and with so many who open one page after the other, thinking a few seconds between two. Prints the
readers' p50, p95 and worst, their errors, and the runs' medians with and without them as a ratio. `--plans` prints the
plan of each page's slowest query, by `explain analyze` as the role that the page asks as.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta

import httpx
import psycopg

from benchmarks.main_job import _correct_an_order, _seconds
from ecommerce.ui.pages import PAGES
from include.demo import stack
from include.demo.airflow_api import AirflowApi
from include.demo.runs import trigger
from include.demo.state import State

#: Seconds between two pages of a reader: as long as people look at one, or less.
THINKING = (2.0, 6.0)


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
    if span is None or span[1] is None:
        sys.exit("the warehouse is empty; run: make demo")
    addresses = _addresses(*span)
    worst = asyncio.run(_each_page(state, addresses, arguments.times))
    if arguments.plans:
        _print_plans(state, *span)
    if arguments.runs:
        asyncio.run(_under_load(state, addresses, span[1], arguments.readers, arguments.runs))
    return 0 if worst < 300 else 1


def _addresses(first: date, last: date) -> dict[str, Iterator[str]]:
    """Each page → its address again and again, each time with days that were not asked for before."""

    def fresh(template: str) -> Iterator[str]:
        span = max((last - first).days - 1, 1)
        n = random.randrange(10_000)
        while True:
            n += 1
            yield template.format(first=first + timedelta(days=n % span), last=last, day=last - timedelta(days=n % 30))

    templates = {page: f"/shop/{page}?first={{first}}&last={{last}}" for page in PAGES}
    templates |= {
        "today": "/shop/today",
        "status": "/shop/status?last={day}",
        "models": "/shop/models/daily_revenue",
        "rows": "/shop/rows/daily_revenue?order_date={day}",
        "csv": "/shop/revenue/categories.csv?first={first}&last={last}",
    }
    return {name: fresh(template) for name, template in templates.items()}


def _client(state: State) -> httpx.AsyncClient:
    who = {"username": "admin", "password": state.passwords["admin"]}
    token = httpx.post(f"{state.airflow_url}/auth/token", json=who).json()["access_token"]
    limits = httpx.Limits(max_connections=200)
    return httpx.AsyncClient(base_url=state.airflow_url, cookies={"_token": token}, timeout=30, limits=limits)


async def _each_page(state: State, addresses: dict[str, Iterator[str]], times: int) -> float:
    print(f"one page at a time, server milliseconds of {times} (median, worst), as the browser gets it (kB)")
    medians = []
    async with _client(state) as client:
        for name, address in addresses.items():
            took, size = [], 0
            for n in range(times + 1):
                answer = await client.get(next(address))
                if answer.status_code != 200:
                    sys.exit(f"{answer.url} answered {answer.status_code}: {answer.text[:500]}")
                if n:  # the first opens connections
                    took.append(float(answer.headers["server-timing"].split("dur=")[1]))
                    size = answer.num_bytes_downloaded
                if name == "today":
                    await asyncio.sleep(10.5)  # as long as its answers are kept
            medians.append(statistics.median(took))
            print(f"  {name:<12} {medians[-1]:7.0f} {max(took):7.0f} {size / 1000:9.0f}", flush=True)
    return max(medians)


async def _under_load(state: State, addresses: dict[str, Iterator[str]], day: date, readers: int, runs: int) -> None:
    api = stack.api_of(state)
    alone: list[float] = []
    accompanied: list[float] = []
    took: list[float] = []
    problems: list[str] = []
    await asyncio.to_thread(_run, state, api, day)  # not counted: what is cold gets warm
    async with _client(state) as client:
        for n in range(runs):
            alone.append(await asyncio.to_thread(_run, state, api, day))
            done = asyncio.Event()
            crowd = [asyncio.create_task(_read(client, addresses, done, took, problems)) for _ in range(readers)]
            await asyncio.sleep(5)
            accompanied.append(await asyncio.to_thread(_run, state, api, day))
            done.set()
            await asyncio.gather(*crowd)
            print(f"run {n + 1}: {alone[-1]:.1f} s alone, {accompanied[-1]:.1f} s with {readers} readers", flush=True)
    took.sort()
    p50, p95 = (took[int(len(took) * share)] for share in (0.5, 0.95))
    print(f"\n{readers} readers, {len(took)} pages: p50 {p50:.0f} ms, p95 {p95:.0f} ms, worst {took[-1]:.0f} ms")
    print(f"errors: {len(problems)}" + (f", the first: {problems[0]}" if problems else ""))
    without, beside = statistics.median(alone), statistics.median(accompanied)
    print(
        f"daily run, medians of {runs}: {beside:.1f} s with readers = {beside / without:.2f} x {without:.1f} s without"
    )


async def _read(
    client: httpx.AsyncClient,
    addresses: dict[str, Iterator[str]],
    done: asyncio.Event,
    took: list[float],
    problems: list[str],
) -> None:
    """One reader, until the run is through: the browser's milliseconds of each page."""
    await asyncio.sleep(random.uniform(0, THINKING[1]))
    while not done.is_set():
        address = next(addresses[random.choice(list(addresses))])
        started = time.monotonic()
        try:
            answer = await client.get(address)
            if answer.status_code != 200:
                problems.append(f"{address}: {answer.status_code}")
        except httpx.HTTPError as error:
            problems.append(f"{address}: {error!r}")
        took.append((time.monotonic() - started) * 1000)
        await asyncio.sleep(random.uniform(*THINKING))


def _run(state: State, api: AirflowApi, day: date) -> float:
    """Seconds of one daily run, by Airflow's own times."""
    _correct_an_order(state, day)
    run_id = trigger(api, stack.WAREHOUSE_DAG, {"start_date": str(day), "end_date": str(day)})
    while api.run(stack.WAREHOUSE_DAG, run_id)["state"] not in ("success", "failed"):
        time.sleep(0.5)
    return _seconds(state, run_id)


def _print_plans(state: State, first: date, last: date) -> None:
    days = {"first": first, "last": last, "category": None}
    with psycopg.connect(state.dsn(role="reader"), autocommit=True) as connection:
        for page in PAGES.values():
            plans = []
            for figure in page.figures:
                rows = connection.execute(f"explain (analyze, buffers) {figure.query}".encode(), days).fetchall()
                plan = [row[0] for row in rows]
                plans.append((float(plan[-1].split()[-2]), figure.name, plan))
            spent, name, plan = max(plans)
            total = sum(one for one, _, _ in plans)
            print(f"\n{page.name}: {total:.1f} ms of queries; the slowest, {name}, {spent:.1f} ms")
            print("\n".join(f"  {line}" for line in plan))


if __name__ == "__main__":
    sys.exit(main())
