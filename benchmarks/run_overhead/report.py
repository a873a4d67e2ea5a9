"""The tables of the benchmark, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.run_overhead.dags import MODES
from benchmarks.run_overhead.measuring import Cost

#: Targets of this project's mode: a run, and the first one after a start, in multiples of `dbt build` by hand.
WARM_TARGET, FIRST_TARGET = 1.0, 2.0
OURS = "triggerer"
SMALL, LARGE = "32", "300"


@dataclass
class Result:
    """
    The runs of one project in one mode.

    :param first: the first run after Airflow was started
    :param warm: the runs after it
    :param bare: `dbt build` by hand, one after each of the warm runs
    """

    project: str
    nodes: int
    mode: str
    first: Cost
    warm: list[Cost] = field(default_factory=list)
    bare: list[Cost] = field(default_factory=list)

    @property
    def good(self) -> list[Cost]:
        """The warm runs that succeeded; figures of the others do not count."""
        return [cost for cost in self.warm if cost.state == "success"]

    @property
    def failed(self) -> int:
        """The number of runs that did not succeed, the first one included."""
        return sum(cost.state != "success" for cost in [self.first, *self.warm])


def main_table(results: Sequence[Result]) -> str:
    """A row for each project and mode, and one for dbt by hand."""
    lines = []
    for project in dict.fromkeys(result.project for result in results):
        of_project = [result for result in results if result.project == project]
        bare = [cost for result in of_project for cost in result.bare]
        name = _title(of_project[0])
        lines.append([name, "`dbt build` by hand", "", *_figures(bare, bare), "", f"0 of {len(bare)}"])
        lines += [
            [
                name,
                MODES[result.mode],
                _number(result.first.seconds) if result.first.state == "success" else "",
                *_figures(result.good, result.bare),
                _number(median(cost.latency for cost in result.good if cost.latency is not None), 2),
                f"{result.failed} of {len(result.warm) + 1}",
            ]
            for result in of_project
        ]
    head = [
        "project", "mode", "first run, s", "warm run, s", "× by hand", "CPU, s", "× by hand", "peak, MiB",
        "wait a level, s", "failed",
    ]  # fmt: skip
    return _markdown(head, lines)


def _figures(costs: Sequence[Cost], bare: Sequence[Cost]) -> list[str]:
    seconds, cpu = median(cost.seconds for cost in costs), median(cost.cpu for cost in costs)
    return [
        _number(seconds),
        _number(_ratio(seconds, median(cost.seconds for cost in bare)), 2),
        _number(cpu),
        _number(_ratio(cpu, median(cost.cpu for cost in bare)), 2),
        _number(median(cost.peak / 2**20 for cost in costs), 0),
    ]


def timeline_table(results: Sequence[Result]) -> str:
    """The moments of a run in the mode of this project, in seconds since it was queued."""
    ours = [result for result in results if result.mode == OURS]
    names = list(dict.fromkeys(name for result in ours for cost in result.good for name in cost.timeline))
    lines = []
    for result in ours:
        for label, costs in (("first", [result.first]), ("warm", result.good)):
            lines.append(
                [
                    f"{_title(result)}, {label}",
                    *(
                        _number(median(cost.timeline[name] for cost in costs if name in cost.timeline), 2)
                        for name in names
                    ),
                ]
            )
    return _markdown(["seconds since the run was queued", *names], lines)


def target_lines(results: Sequence[Result]) -> list[str]:
    """A line for each project: the ratios of its runs, and whether they meet the targets."""
    lines = []
    ours = {result.project: result for result in results if result.mode == OURS and result.good}
    for result in ours.values():
        by_hand = median(cost.seconds for cost in result.bare)
        warm = _ratio(median(cost.seconds for cost in result.good), by_hand)
        first = _ratio(result.first.seconds, by_hand)
        lines.append(
            f"{_title(result)}: warm {_against_target(warm, WARM_TARGET)},"
            f" first run after a start {_against_target(first, FIRST_TARGET)}"
        )
    if SMALL in ours and LARGE in ours:
        more = ours[LARGE].nodes - ours[SMALL].nodes
        by_hand, run = (
            1000 * ((median(of(ours[LARGE])) or 0.0) - (median(of(ours[SMALL])) or 0.0)) / more
            for of in (_seconds_of("bare"), _seconds_of("good"))
        )
        lines.append(
            f"from {SMALL} to {LARGE} nodes: a node more costs `dbt build` by hand {by_hand:.0f} ms,"
            f" our run {run:.0f} ms ({'no steeper' if run <= by_hand else 'steeper'})"
        )
    return lines


def _seconds_of(kind: str) -> Callable[[Result], Iterable[float]]:
    return lambda result: (cost.seconds for cost in getattr(result, kind))


def median(values: Iterable[float]) -> float | None:
    """The median, or None without values."""
    numbers = list(values)
    return statistics.median(numbers) if numbers else None


def _title(result: Result) -> str:
    return f"{result.project}, {result.nodes} nodes" if result.project != str(result.nodes) else f"{result.nodes} nodes"


def _ratio(value: float | None, yardstick: float | None) -> float | None:
    return value / yardstick if value is not None and yardstick else None


def _against_target(ratio: float | None, target: float) -> str:
    if ratio is None:
        return "not measured"
    return f"{ratio:.2f} × by hand ({'within' if ratio <= target else 'misses'} {target:.1f})"


def _number(value: float | None, places: int = 1) -> str:
    return "" if value is None else f"{value:,.{places}f}"


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))
