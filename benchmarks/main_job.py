"""
The daily run on the running stack, beside `dbt build` typed by hand: `python -m benchmarks.main_job [--runs 5]`.

Each run corrects one order of the shop's last day, so that there is one day to rebuild. Prints medians of seconds,
the ratio to the yardstick, the peak memory of each task, and the resident memory of the idle stack.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time

import psutil
import psycopg

from include.demo import dbt, stack
from include.demo.runs import trigger
from include.demo.state import State


class PeakMemory:
    """Samples the resident memory of task processes, which carry their task instance's id in their title."""

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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="measured runs (default 5)")
    arguments = parser.parse_args()
    state = stack.running()
    api = stack.api_of(state)
    with psycopg.connect(state.dsn()) as connection:
        day = connection.execute("select as_of_date from ops.as_of").fetchone()
    if day is None or day[0] is None:
        sys.exit("the warehouse is empty; run: make demo")
    walls, builds = [], []
    with PeakMemory() as memory:
        for n in range(arguments.runs + 1):
            _correct_an_order(state, day[0])
            run_id = trigger(api, stack.WAREHOUSE_DAG, {"start_date": str(day[0]), "end_date": str(day[0])})
            while api.run(stack.WAREHOUSE_DAG, run_id)["state"] not in ("success", "failed"):
                time.sleep(0.25)
            seconds = _seconds(state, run_id)
            build = _dbt_build(state)
            print(f"run {n}{' (not counted)' if n == 0 else ''}: {seconds:.1f} s; dbt build by hand: {build:.1f} s")
            if n:
                walls.append(seconds)
                builds.append(build)
    run, build = statistics.median(walls), statistics.median(builds)
    print(f"\ndaily run, median of {len(walls)}: {run:.1f} s = {run / build:.1f} x `dbt build` by hand ({build:.1f} s)")
    _print_peaks(state, memory.peaks)
    time.sleep(20)
    _print_idle()
    return 0


def _correct_an_order(state: State, day: object) -> None:
    with psycopg.connect(state.dsn("shop")) as connection:
        connection.execute(
            "update sales_fact set shipping_cost = coalesce(shipping_cost, 0) + 0.01 where order_id ="
            " (select min(order_id) from sales_fact where created_at::date = %s and shipping_cost >= 0)",
            [day],
        )


def _seconds(state: State, run_id: str) -> float:
    with psycopg.connect(state.dsn("airflow")) as connection:
        row = connection.execute(
            "select state, extract(epoch from end_date - queued_at) from dag_run where run_id = %s", [run_id]
        ).fetchone()
    if row is None or row[0] != "success":
        sys.exit(f"run {run_id} did not end well: {row}")
    return float(row[1])


def _dbt_build(state: State) -> float:
    """Seconds of the same build, by dbt's own command line."""
    started = time.monotonic()
    if dbt.run(state.dsn(), ["--quiet", "build"]) != 0:
        sys.exit("dbt build by hand failed")
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


def _print_idle() -> None:
    """Proportional set size: pages that processes share are counted once."""
    total: dict[str, float] = {}
    for process in psutil.process_iter(["cmdline", "name"]):
        title = " ".join(process.info["cmdline"] or [])
        kind = next((kind for kind in ("airflow", "postgres", "noida", "weather_api") if kind in title), None)
        if kind:
            try:
                total[kind] = total.get(kind, 0) + process.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
    print("\nidle stack, proportional set size")
    for kind, size in total.items():
        print(f"  {kind:<40} {size / 2**20:6.0f} MiB")
    print(f"  {'all':<40} {sum(total.values()) / 2**20:6.0f} MiB")


if __name__ == "__main__":
    sys.exit(main())
