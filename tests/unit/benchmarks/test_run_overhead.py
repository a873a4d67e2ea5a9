"""The benchmark of a run's overhead: its synthetic projects, its use of CPU and memory, and its tables."""

import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.run_overhead.measuring import Cost
from benchmarks.run_overhead.projects import LEVELS, write_synthetic
from benchmarks.run_overhead.report import Result, main_table, target_lines, timeline_table
from benchmarks.usage import Usage


@pytest.mark.parametrize("nodes", [32, 100, 300])
def test_synthetic_project_has_its_nodes_in_six_levels(tmp_path: Path, nodes: int):
    write_synthetic(tmp_path, nodes)

    level_of = {path.stem: int(path.parent.name[-1]) for path in tmp_path.glob("models/*/*.sql")}
    tests = (tmp_path / "models" / "_models.yml").read_text().count("unique")
    assert len(level_of) + tests == nodes
    assert set(level_of.values()) == set(range(len(LEVELS)))
    for path in tmp_path.glob("models/*/*.sql"):
        parents = re.findall(r"ref\('(\w+)'\)", path.read_text())
        assert {level_of[parent] for parent in parents} == ({level_of[path.stem] - 1} if parents else set())
        assert bool(parents) == (level_of[path.stem] > 0)


def test_usage_counts_processes_that_have_ended():
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    with Usage(lambda: [psutil.Process()]) as usage:
        subprocess.run([sys.executable, "-c", burn], check=True)

    assert 0.3 <= usage.cpu < 3
    assert 0 < usage.peak < 10 * 2**30


def _result(project: str, *, first: float, warm: list[Cost], bare: float) -> Result:
    return Result(project, int(project), "triggerer", Cost(first, 9, 2**30), warm, [Cost(bare, 4, 2**28)] * len(warm))


def test_target_lines_compare_with_dbt_by_hand_without_failed_runs():
    small = _result("32", first=7.5, warm=[Cost(4, 8, 2**30), Cost(1, 1, 1, "failed"), Cost(6, 8, 2**30)], bare=5)
    large = _result("300", first=30, warm=[Cost(25, 8, 2**30)], bare=20)

    assert target_lines([small, large]) == [
        "32 nodes: warm 1.00 × by hand (within 1.0), first run after a start 1.50 × by hand (within 2.0)",
        "300 nodes: warm 1.25 × by hand (misses 1.0), first run after a start 1.50 × by hand (within 2.0)",
        "from 32 to 300 nodes: a node more costs `dbt build` by hand 56 ms, our run 75 ms (steeper)",
    ]
    gentle = _result("300", first=30, warm=[Cost(20, 8, 2**30)], bare=20)
    assert target_lines([small, gentle])[-1].endswith("by hand 56 ms, our run 56 ms (no steeper)")
    assert "| 32 nodes | ours | 7.5 | 5.0 | 1.00 | 8.0 | 2.00 | 1,024 |  | 1 of 4 |" in main_table([small, large])


def test_timeline_has_a_column_for_each_moment():
    run = Cost(4, 8, 1, timeline={"build task started": 0.5, "run ended": 4.0})

    table = timeline_table([Result("32", 32, "triggerer", run, [run], [run])])

    assert table.splitlines()[0] == "| seconds since the run was queued | build task started | run ended |"
    assert table.splitlines()[2:] == ["| 32 nodes, first | 0.50 | 4.00 |", "| 32 nodes, warm | 0.50 | 4.00 |"]
