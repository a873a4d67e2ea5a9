"""
Run the daily job, beside its bare parts without Airflow: on the running demo.

Before each run one order of the shop's last day is corrected, so that there is one day to rebuild. The bare parts are
what no run can do without: a COPY of each table's window from the shop, `dbt build`, and a MERGE of each mart. Prints
medians of seconds, the ratio, the share of the audit and the publication, when each step ended, the peak memory of each
task, and memory and CPU of the idle stack.

`--range 90` instead compares a run over 90 days with a run over one day, in turns; one order per day is corrected.
`--backfill 30` instead runs Airflow's backfill over 30 days and prints its runs per minute; one order per day is
corrected.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import psutil
import psycopg
from psycopg import sql

from benchmarks.usage import airflow_processes, cpu_seconds, memory
from ecommerce.common.sources import SOURCES, Source
from ecommerce.publish.marts import Mart, built_marts, column_list
from include.demo import dbt, processes, stack
from include.demo.airflow_api import AirflowApi
from include.demo.runs import backfill, trigger
from include.demo.state import State


class PeakMemory:
    """Measures the peak resident memory of tasks; the title of a task's process has the id of its task instance."""

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.2):
            for process in psutil.process_iter(["cmdline", "memory_info"]):
                title = " ".join(process.info["cmdline"] or [])
                if title.startswith("airflow worker -- ") and "LocalExecutor" not in title:
                    ti_id = title.removeprefix("airflow worker -- ").strip()
                    self.peaks[ti_id] = max(self.peaks.get(ti_id, 0), process.info["memory_info"].rss)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="measured runs (default 5)")
    parser.add_argument("--range", type=int, metavar="DAYS", help="run over the shop's last days instead")
    parser.add_argument("--backfill", type=int, metavar="DAYS", help="run a backfill of the shop's last days instead")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for name in ("ecommerce.publish.merge", "include.demo.runs"):
        logging.getLogger(name).setLevel(logging.WARNING if arguments.backfill is None else logging.INFO)
    state = stack.running()
    api = stack.api_of(state)
    with psycopg.connect(state.dsn()) as connection:
        day = connection.execute("select as_of_date from ops.as_of").fetchone()
    if day is None or day[0] is None:
        sys.exit("the warehouse is empty; run: make demo")
    if arguments.range:
        return _range(state, api, day[0], arguments.range, arguments.runs)
    if arguments.backfill:
        return _backfill(state, api, day[0], arguments.backfill)
    return _daily(state, api, day[0], arguments.runs)


@dataclass
class Measurement:
    """One daily run, and its bare parts after it; all in seconds."""

    run: float
    bare_parts: dict[str, float]
    #: step of the run → its end after the run was queued
    step_ends: dict[str, float]
    #: from the end of dbt's last node to the end of the publication
    after_dbt: float


def _daily(state: State, api: AirflowApi, day: date, runs: int) -> int:
    measurements: list[Measurement] = []
    with PeakMemory() as peaks:
        for n in range(runs + 1):
            run_id, seconds = run_over(state, api, day)
            bare_parts = _bare_parts(state, day)
            listing = ", ".join(f"{part} {spent:.1f} s" for part, spent in bare_parts.items())
            print(f"run {n}{' (not counted)' if n == 0 else ''}: {seconds:.1f} s; bare parts: {listing}", flush=True)
            if n:
                steps, after_dbt = _step_ends(state, run_id), _after_dbt(state, run_id)
                measurements.append(Measurement(seconds, bare_parts, steps, after_dbt))
    _print_medians(measurements)
    _print_peaks(state, peaks.peaks)
    time.sleep(20)
    _print_idle()
    return 0


def _print_medians(measurements: Sequence[Measurement]) -> None:
    def median(value: Callable[[Measurement], float]) -> float:
        return statistics.median(map(value, measurements))

    run, bare = median(lambda one: one.run), median(lambda one: sum(one.bare_parts.values()))
    print(f"\ndaily run, median of {len(measurements)}: {run:.1f} s = {run / bare:.2f} x its bare parts ({bare:.1f} s)")
    for part in measurements[0].bare_parts:
        print(f"  {part:<40} {median(lambda one, part=part: one.bare_parts[part]):6.1f} s")  # type: ignore[misc]
    seconds, share = median(lambda one: one.after_dbt), median(lambda one: one.after_dbt / one.run)
    print(f"\nfrom the end of dbt's last node to the publication: {seconds:.1f} s = {share:.0%} of a run")
    print("\nwhen each step of the run ended, seconds after it was queued")
    for step in measurements[0].step_ends:
        print(f"  {step:<40} {median(lambda one, step=step: one.step_ends[step]):6.1f}")  # type: ignore[misc]


def run_over(state: State, api: AirflowApi, last: date, days: int = 1) -> tuple[str, float]:
    """Correct one order of each of the days that end with ``last``, and run over these days; run id and seconds."""
    first = last - timedelta(days=days - 1)
    for n in range(days):
        correct_an_order(state, first + timedelta(days=n))
    run_id = trigger(api, stack.WAREHOUSE_DAG, {"start_date": str(first), "end_date": str(last)})
    with psycopg.connect(state.dsn("airflow"), autocommit=True) as connection:
        # Airflow's API takes 60 ms of processor time to answer for a run with 150 tasks: asked four times a second, it
        # would be part of what is measured.
        while not connection.execute(
            """
            select
            from dag_run
            where run_id = %s and state in ('success', 'failed')
            """,
            [run_id],
        ).rowcount:
            time.sleep(0.25)
    return run_id, _seconds(state, run_id)


def correct_an_order(state: State, day: date) -> None:
    """Change one order of a day in the shop, so that the next run has this day to rebuild."""
    with psycopg.connect(state.dsn("shop")) as connection:
        connection.execute(
            """
            update sales_fact
            set shipping_cost = coalesce(shipping_cost, 0) + 0.01
            where order_id = (
                select min(order_id)
                from sales_fact
                where created_at::date = %s and shipping_cost >= 0
            )
            """,
            [day],
        )


def _seconds(state: State, run_id: str) -> float:
    with psycopg.connect(state.dsn("airflow")) as connection:
        row = connection.execute(
            """
            select state, extract(epoch from end_date - queued_at)
            from dag_run
            where run_id = %s
            """,
            [run_id],
        ).fetchone()
    if row is None or row[0] != "success":
        sys.exit(f"run {run_id} did not succeed: {row}")
    return float(row[1])


def _step_ends(state: State, run_id: str) -> dict[str, float]:
    """Seconds from the queueing of the run to the end of the last task of each task group."""
    with psycopg.connect(state.dsn("airflow")) as connection:
        rows = connection.execute(
            """
            select
                split_part(task_id, '.', 1) as step,
                extract(
                    epoch from max(
                        greatest(task.end_date, case when task.operator = 'DbtNode' then task.updated_at end)
                    ) - max(run.queued_at)
                ) as seconds
            from task_instance as task
            inner join dag_run as run
                on task.run_id = run.run_id
            where task.run_id = %s
            group by step
            order by seconds
            """,
            [run_id],
        ).fetchall()
    return {step: float(ended) for step, ended in rows}


def _after_dbt(state: State, run_id: str) -> float:
    """Seconds from the end of dbt's last node (in each mode the end of its task) to the end of the publication."""
    with psycopg.connect(state.dsn("airflow")) as connection:
        row = connection.execute(
            """
            select
                extract(
                    epoch from max(end_date) filter (where task_id = 'refresh_marts')
                    - max(end_date) filter (where task_id like 'warehouse.models.%%')
                )
            from task_instance
            where run_id = %s
            """,
            [run_id],
        ).fetchone()
    if row is None or row[0] is None:
        sys.exit(f"run {run_id} has built or published nothing")
    return float(row[0])


def _bare_parts(state: State, day: date) -> dict[str, float]:
    """Seconds of what no run can do without: copy, build, publish, one after the other."""
    started = time.monotonic()
    with psycopg.connect(state.dsn("shop")) as shop, psycopg.connect(state.dsn()) as warehouse:
        for source in SOURCES.values():
            if source.reader == "database":
                _copy(shop, warehouse, source, day)
        warehouse.rollback()
    copied = time.monotonic()
    _dbt_build(state)
    built = time.monotonic()
    with psycopg.connect(state.dsn()) as connection:
        for mart in built_marts(connection):
            connection.execute(_bare_merge(mart))
        connection.rollback()
    return {"COPY": copied - started, "dbt build": built - copied, "MERGE": time.monotonic() - built}


def _copy(shop: psycopg.Connection, warehouse: psycopg.Connection, source: Source, day: date) -> None:
    """Copy a table's rows of a day, or all of them if it has no window, into a temporary table."""
    table, where = sql.Identifier(source.name), sql.Composed([])
    if source.window_column:
        where = sql.SQL(" where {} >= {} and {} < {}").format(
            sql.Identifier(source.window_column), sql.Literal(day),
            sql.Identifier(source.window_column), sql.Literal(day + timedelta(days=1)),
        )  # fmt: skip
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in source.columns)
    into = sql.Identifier(f"copy_of_{source.name}")
    warehouse.execute(sql.SQL("create temporary table {} as select {} from raw.{} limit 0").format(into, names, table))
    read = sql.SQL("copy (select {} from {}{}) to stdout").format(names, table, where)
    with (
        shop.cursor().copy(read) as out,
        warehouse.cursor().copy(sql.SQL("copy {} from stdin").format(into)) as back,
    ):
        for block in out:
            back.write(block)


def _bare_merge(mart: Mart) -> sql.Composed:
    names = [sql.Identifier(name) for name in mart.columns]
    return sql.SQL(
        """
        merge into {target} as old
        using {built} as new
            on {key_condition}
        when matched and ({old}) is distinct from ({new}) then
            update set ({names}) = row({new})
        when not matched then
            insert ({names}) values ({new})
        when not matched by source then
            delete
        """
    ).format(
        target=mart.published_table,
        built=mart.built_table,
        key_condition=mart.key_condition,
        old=column_list("old", list(mart.columns)),
        new=column_list("new", list(mart.columns)),
        names=sql.SQL(", ").join(names),
    )


def _range(state: State, api: AirflowApi, last: date, days: int, runs: int) -> int:
    one_day: list[float] = []
    all_days: list[float] = []
    for n in range(runs + 1):
        one, every = (run_over(state, api, last, length)[1] for length in (1, days))
        print(f"{n}{' (not counted)' if n == 0 else ''}: one day {one:.1f} s, {days} days {every:.1f} s", flush=True)
        if n:
            one_day.append(one)
            all_days.append(every)
    one, every = statistics.median(one_day), statistics.median(all_days)
    print(f"\nmedians of {runs}: {days} days in one run {every:.1f} s = {every / one:.2f} x a run of one ({one:.1f} s)")
    return 0


def _backfill(state: State, api: AirflowApi, last: date, days: int) -> int:
    first = last - timedelta(days=days - 1)
    for n in range(days):
        correct_an_order(state, first + timedelta(days=n))
    with psycopg.connect(state.dsn()) as connection:
        started_at = connection.execute("select now()").fetchone()
    started = time.monotonic()
    is_successful = backfill(api, str(first), str(last))
    seconds = time.monotonic() - started
    with psycopg.connect(state.dsn()) as connection:
        row = connection.execute(
            """
            select count(distinct run_id)
            from ops.build
            inner join ops.rebuild
                using (run_id)
            where claimed_at > %s
            """,
            started_at,
        ).fetchone()
    builds = row[0] if row else 0
    rate = 60 * days / seconds
    print(f"{days} runs, 4 at a time: {seconds:.0f} s, {rate:.1f} runs a minute; {builds} of them built models")
    return 0 if is_successful else 1


def _dbt_build(state: State) -> float:
    """Run the same build by dbt's own command line; its seconds."""
    started = time.monotonic()
    if dbt.run(state.dsn(role="transformer"), ["--quiet", "build", "--exclude-resource-type", "unit_test"]) != 0:
        sys.exit("dbt build without Airflow failed")
    return time.monotonic() - started


def _print_peaks(state: State, peaks: dict[str, int]) -> None:
    with psycopg.connect(state.dsn("airflow")) as connection:
        names: dict[str, str] = dict(connection.execute("select id::text, task_id from task_instance").fetchall())
    by_task: dict[str, int] = {}
    for ti_id, peak in peaks.items():
        name = names.get(ti_id, "?")
        name = name if name.count(".") < 2 else ".".join(name.split(".")[:3]) + ".*"
        by_task[name] = max(by_task.get(name, 0), peak)
    print("\npeak resident memory of a task's process (shared pages included)")
    for name, peak in sorted(by_task.items(), key=lambda entry: -entry[1]):
        print(f"  {name:<40} {peak / 2**20:6.0f} MiB")


def _print_idle(seconds: float = 60.0) -> None:
    """Print memory (proportional set size: shared pages count once) and CPU (in % of one core) of the idle services."""
    airflow = airflow_processes()
    roots = {name: [process] for name in ("kafka", "weather") if (process := processes.find(name)) is not None}
    roots |= {name: [process] for name, process in airflow.items()}
    roots["Airflow, all four"] = list(airflow.values())
    used = {name: cpu_seconds(processes_of) for name, processes_of in roots.items()}
    time.sleep(seconds)
    print(f"\nidle, over {seconds:.0f} s: proportional set size, CPU in % of one core")
    for name, processes_of in roots.items():
        percent = 100 * (cpu_seconds(processes_of) - used[name]) / seconds
        print(f"  {name:<40} {memory(processes_of) / 2**20:6.0f} MiB {percent:6.1f} %")


if __name__ == "__main__":
    sys.exit(main())
