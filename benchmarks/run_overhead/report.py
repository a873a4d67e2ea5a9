"""The tables, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.run_overhead.dags import MODES
from benchmarks.run_overhead.measuring import Cost

#: What the project wants of its own way: a run in multiples of `dbt build` by hand.
WARM_REACH, FIRST_REACH = 1.0, 2.0
OURS = "triggerer"
SMALL, LARGE = "32", "300"


@dataclass
class Result:
    """
    One project in one mode.

    :param warm: runs after the first
    :param bare: `dbt build` by hand, one after each of those
    """

    project: str
    nodes: int
    mode: str
    first: Cost
    warm: list[Cost] = field(default_factory=list)
    bare: list[Cost] = field(default_factory=list)

    @property
    def good(self) -> list[Cost]:
        """The warm runs that came to a good end; of the others no figure counts."""
        return [cost for cost in self.warm if cost.state == "success"]

    @property
    def failed(self) -> int:
        """How many runs did not, the first one included."""
        return sum(cost.state != "success" for cost in [self.first, *self.warm])


def main_table(results: Sequence[Result]) -> str:
    """A line a project and way."""
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
        "project", "way", "first run, s", "warm run, s", "× by hand", "CPU, s", "× by hand", "peak, MiB",
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
    """Where the time of a run goes, where one task builds."""
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


def verdict(results: Sequence[Result]) -> list[str]:
    """What was reached of what is wanted."""
    said = []
    ours = {result.project: result for result in results if result.mode == OURS and result.good}
    for result in ours.values():
        by_hand = median(cost.seconds for cost in result.bare)
        warm = _ratio(median(cost.seconds for cost in result.good), by_hand)
        first = _ratio(result.first.seconds, by_hand)
        said.append(
            f"{_title(result)}: warm {_judged(warm, WARM_REACH)}, first run after a start {_judged(first, FIRST_REACH)}"
        )
    if SMALL in ours and LARGE in ours:
        more = ours[LARGE].nodes - ours[SMALL].nodes
        by_hand, run = (
            1000 * ((median(of(ours[LARGE])) or 0.0) - (median(of(ours[SMALL])) or 0.0)) / more
            for of in (_seconds_of("bare"), _seconds_of("good"))
        )
        said.append(
            f"from {SMALL} to {LARGE} nodes: a node more costs `dbt build` by hand {by_hand:.0f} ms,"
            f" our run {run:.0f} ms ({'no steeper' if run <= by_hand else 'steeper'})"
        )
    return said


def _seconds_of(kind: str) -> Callable[[Result], Iterable[float]]:
    return lambda result: (cost.seconds for cost in getattr(result, kind))


def median(values: Iterable[float]) -> float | None:
    """Of none it is None."""
    found = list(values)
    return statistics.median(found) if found else None


def _title(result: Result) -> str:
    return f"{result.project}, {result.nodes} nodes" if result.project != str(result.nodes) else f"{result.nodes} nodes"


def _ratio(value: float | None, yardstick: float | None) -> float | None:
    return value / yardstick if value is not None and yardstick else None


def _judged(ratio: float | None, reach: float) -> str:
    if ratio is None:
        return "not measured"
    return f"{ratio:.2f} × by hand ({'within' if ratio <= reach else 'misses'} {reach:.1f})"


def _number(value: float | None, places: int = 1) -> str:
    return "" if value is None else f"{value:,.{places}f}"


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))
