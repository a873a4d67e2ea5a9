"""
Measure what each patch of Airflow saves, one by one: on the running demo.

In each of `--rounds` rounds the scheduler and the triggerer are started anew with all patches, and then without each
one in turn (`DBT_TRIGGERER_PATCHES_OFF`). After each start one daily run is not counted, then come `--runs` daily runs
with one corrected order, and a backfill over the shop's last `--backfill` days. Prints the median of the daily runs and
the backfill's runs a minute with all and without each patch, and whether a patch saves more than a tenth of either. At
the end the stack runs with all patches again.

With the defaults a round takes about half an hour on two idle cores.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta

import psycopg

from benchmarks.main_job import correct_an_order, run_over
from dbt_triggerer.airflow_internals import PATCHES
from dbt_triggerer.patch_gate import PATCHES_OFF
from include.demo import airflow_services, processes, stack
from include.demo.airflow_api import AirflowApi
from include.demo.runs import backfill
from include.demo.state import State

#: Where patches are applied: the triggerer, and the scheduler for its workers.
SERVICES = ("airflow-scheduler", "airflow-triggerer")
_JOBS = {"SchedulerJob", "TriggererJob"}
#: A patch stays if a daily run or a backfill takes so much longer without it.
KEEP_ABOVE = 1.10
_START_SECONDS = 120


@dataclass
class Measure:
    """
    Of one way to start Airflow.

    :param daily: seconds of daily runs
    :param rates: runs a minute of backfills
    """

    daily: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)


def main() -> int:
    """Measure and print."""
    names = [patch.name for patch in PATCHES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", default=",".join(names), help=f"of {', '.join(names)} (default all)")
    parser.add_argument(
        "--rounds", type=int, default=2, help="times that each is measured with and without (default 2)"
    )
    parser.add_argument("--runs", type=int, default=5, help="daily runs after each start (default 5)")
    parser.add_argument(
        "--backfill", type=int, default=30, metavar="DAYS", help="days of a backfill (default 30; 0: none)"
    )
    arguments = parser.parse_args()
    chosen = arguments.patches.split(",")
    if not set(chosen) <= set(names) or min(arguments.rounds, arguments.runs) < 1:
        parser.error("see --help for what may be given")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    state = stack.running()
    last = _last_day(state)
    with_all = Measure()
    without = {name: Measure() for name in chosen}
    try:
        for n in range(arguments.rounds):
            for off, measure in (("", with_all), *without.items()):
                restart(state, off)
                _measure(state, last, measure, runs=arguments.runs, days=arguments.backfill)
                label = f"without {off}" if off else "all patches"
                print(f"round {n + 1}, {label}: {_figures(measure)}", flush=True)
    finally:
        restart(state, "")
    print(f"\n{table(with_all, without)}")
    return 0


def restart(state: State, off: str) -> None:
    """
    Start the scheduler and the triggerer anew without some patches, and wait until both are at work.

    :param off: names of patches, separated by commas
    """
    for service in SERVICES:
        processes.stop(service)
    with psycopg.connect(state.dsn("airflow")) as connection:
        (began,) = connection.execute("select clock_timestamp()").fetchone() or ()
    with _environment(off):
        airflow_services.start(state)
    deadline = time.monotonic() + _START_SECONDS
    with psycopg.connect(state.dsn("airflow"), autocommit=True) as connection:
        while _JOBS - {
            job
            for (job,) in connection.execute(
                """
                select job_type
                from job
                where
                    state = 'running'
                    and start_date > %s
                    and latest_heartbeat > start_date + interval '1 second'
                """,
                [began],
            )
        }:
            if time.monotonic() > deadline:
                sys.exit(f"the scheduler and the triggerer were not at work after {_START_SECONDS} s")
            time.sleep(0.2)


@contextmanager
def _environment(off: str) -> Iterator[None]:
    before = os.environ.get(PATCHES_OFF)
    os.environ[PATCHES_OFF] = off
    try:
        yield
    finally:
        if before is None:
            del os.environ[PATCHES_OFF]
        else:
            os.environ[PATCHES_OFF] = before


def _measure(state: State, last: date, measure: Measure, *, runs: int, days: int) -> None:
    api = stack.api_of(state)
    run_over(state, api, last)
    for _ in range(runs):
        measure.daily.append(run_over(state, api, last)[1])
    if days:
        measure.rates.append(_backfill_rate(state, api, last, days))


def _backfill_rate(state: State, api: AirflowApi, last: date, days: int) -> float:
    """
    Runs a minute of Airflow's own backfill over the last days, each with one corrected order.

    Counted from the first run's start: creating the runs is the API server's work, which no patch changes.
    """
    first = last - timedelta(days=days - 1)
    for n in range(days):
        correct_an_order(state, first + timedelta(days=n))
    with psycopg.connect(state.dsn("airflow")) as connection:
        # Airflow takes several seconds to clear a run that it has had, before it starts the first one.
        connection.execute("delete from dag_run where run_type = 'backfill'")
    if not backfill(api, str(first), str(last)):
        sys.exit("a run of the backfill has failed")
    with psycopg.connect(state.dsn("airflow")) as connection:
        (seconds,) = connection.execute(
            """
            select extract(epoch from max(end_date) - min(start_date))
            from dag_run
            where dag_id = 'ecommerce_warehouse' and run_type = 'backfill' and logical_date between %s and %s
            """,
            [f"{first} 00:00+00", f"{last} 00:00+00"],
        ).fetchone() or (0,)
    return 60 * days / float(seconds)


def _last_day(state: State) -> date:
    with psycopg.connect(state.dsn()) as connection:
        row = connection.execute("select as_of_date from ops.as_of").fetchone()
    if row is None or row[0] is None:
        sys.exit("the warehouse is empty; run: make demo")
    return row[0]


def _figures(measure: Measure) -> str:
    rates = f", backfill {statistics.median(measure.rates):.1f} runs a minute" if measure.rates else ""
    return f"daily run {statistics.median(measure.daily):.1f} s (median of {len(measure.daily)}){rates}"


def table(on: Measure, without: dict[str, Measure]) -> str:
    """A row a patch, in Markdown: medians with all and without it, their ratios, and whether it saves a tenth."""
    lines = [
        "| patch | daily run, s | without | × | backfill, runs a minute | without | × slower | keep |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, off in without.items():
        daily = statistics.median(off.daily) / statistics.median(on.daily)
        cells = [
            f"`{name}`",
            f"{statistics.median(on.daily):.1f}",
            f"{statistics.median(off.daily):.1f}",
            f"{daily:.2f}",
        ]
        slower = 0.0
        if on.rates and off.rates:
            slower = statistics.median(on.rates) / statistics.median(off.rates)
            cells += [f"{statistics.median(on.rates):.1f}", f"{statistics.median(off.rates):.1f}", f"{slower:.2f}"]
        else:
            cells += ["", "", ""]
        cells.append("yes" if max(daily, slower) > KEEP_ABOVE else "no")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
