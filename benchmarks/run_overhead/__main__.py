"""
Run `dbt build` as a DAG in each execution mode, beside dbt without Airflow: on a stack of its own.

Starts a stack of its own (Postgres and Airflow, free ports, a temporary folder), and removes it at the end. Airflow is
started anew for each project and each mode of running dbt: the run after that is the first run, those that follow are
warm. After each warm run `dbt build` builds the same nodes in a process of its own, with its cached parse: the
yardstick. The projects are the product's own, on a warehouse with its tables and no rows, and synthetic ones.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

MODES = ("local", "watcher", "triggerer")
PROJECTS = ("product", "32", "100", "300")
#: Stock LOCAL runs a dbt command for each node, some seconds each: a project with more nodes than this gets two runs, a
#: first and a warm one, and the largest project only with --all-local.
LOCAL_NODES = 32


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="warm runs of each (default 5)")
    parser.add_argument("--modes", default=",".join(MODES), help=f"of {', '.join(MODES)} (default all)")
    parser.add_argument("--nodes", default=",".join(PROJECTS), help=f"of {', '.join(PROJECTS)} (default all)")
    parser.add_argument(
        "--limit", type=float, default=900, help="seconds after which a run counts as a timeout (default 900)"
    )
    parser.add_argument("--all-local", action="store_true", help="stock LOCAL with 300 nodes too")
    arguments = parser.parse_args()
    modes, sizes = arguments.modes.split(","), arguments.nodes.split(",")
    if arguments.runs < 1 or not set(modes) <= set(MODES) or not set(sizes) <= set(PROJECTS):
        parser.error("see --help for the valid values")

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    folder = Path(tempfile.mkdtemp(prefix="run-overhead-"))
    # Both are read once, when the stack and Airflow are imported.
    os.environ["STACK_DIR"] = str(folder / "stack")
    os.environ["AIRFLOW_HOME"] = str(folder / "stack" / "airflow")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    from include.demo import stack

    try:
        _measure(folder, modes, sizes, runs=arguments.runs, limit=arguments.limit, all_local=arguments.all_local)
    finally:
        stack.reset()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _measure(folder: Path, modes: list[str], sizes: list[str], *, runs: int, limit: float, all_local: bool) -> None:
    from benchmarks.run_overhead.measuring import bare_build, dag_run, idle_percent
    from benchmarks.run_overhead.projects import PRODUCT, nodes_of, write_synthetic
    from benchmarks.run_overhead.report import OURS, Result, main_table, target_lines, timeline_table
    from benchmarks.run_overhead.services import Services
    from include.demo import airflow_services

    airflow_services.build_manifest()
    services = Services()
    results: list[Result] = []
    for size in sizes:
        if size == PRODUCT.label:
            project = PRODUCT
        else:
            project = write_synthetic(folder / "projects" / size, int(size))
            services.dbt(project, "parse")
        target = folder / "by_hand" / size
        bare_build(services, project, target)
        for mode in modes:
            is_long = mode == "local" and size != PRODUCT.label and int(size) > LOCAL_NODES
            if is_long and int(size) == max(int(other) for other in PROJECTS[1:]) and not all_local:
                print(f"{size} nodes, {mode}: skipped, it takes too long; --all-local measures it", flush=True)
                continue
            dag_id = services.start(project, mode)
            result = Result(size, nodes_of(project), mode, dag_run(services, dag_id, limit=limit))
            results.append(result)
            print(f"{size}, {mode}: first run {result.first.seconds:.1f} s, {result.first.state}", flush=True)
            while len(result.warm) < (1 if is_long else runs) and "timeout" not in (
                cost.state for cost in [result.first, *result.warm]
            ):
                result.warm.append(dag_run(services, dag_id, limit=limit))
                result.bare.append(bare_build(services, project, target))
                print(
                    f"{size}, {mode}: run {result.warm[-1].seconds:.1f} s, {result.warm[-1].state}; "
                    f"by hand {result.bare[-1].seconds:.1f} s",
                    flush=True,
                )
            if size == sizes[0]:
                print(f"idle, {mode}: {idle_percent(services):.1f} % of one core, Airflow and Postgres", flush=True)
            services.stop_airflow()
    print(f"\n{main_table(results)}")
    if OURS in modes:
        print(f"\n{timeline_table(results)}\n")
        print("\n".join(target_lines(results)))


if __name__ == "__main__":
    sys.exit(main())
