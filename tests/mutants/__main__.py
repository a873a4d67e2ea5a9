"""
Make mistakes in the code, one at a time, and count how many of them the tests notice.

The mistakes are made in a copy of the project. What was found is kept in .mutants, so a run that was stopped goes on
where it was, and after a new test only the mutants that survived are tried again. Exit code: 0 if none survived, 1 if
some did, 2 if tests fail without any mistake.
"""

import argparse
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import FrameType

from include.demo.state import ROOT
from tests.mutants.areas import Area, draw, read_areas, read_equivalents
from tests.mutants.copied_project import CopiedProject, TestsCannotRun
from tests.mutants.mutant import Mutant
from tests.mutants.trial import KEPT, Project, Results, TestsFail, Trial, Tried


@dataclass(frozen=True)
class Rate:
    """What was found in an area."""

    area: str
    tried: list[Tried]
    equivalent: int

    @property
    def survivors(self) -> list[Mutant]:
        return [tried.mutant for tried in self.tried if tried.caught_by is None]

    def __str__(self) -> str:
        caught = len(self.tried) - len(self.survivors)
        percent = f"{100 * caught / len(self.tried):.1f} %" if self.tried else "-"
        numbers = f"{len(self.tried):>8} {caught:>8} {len(self.survivors):>9} {percent:>8} {self.equivalent:>11}"
        return f"{self.area:<16} {numbers}"


HEADER = f"{'area':<16} {'mutants':>8} {'caught':>8} {'survived':>9} {'rate':>8} {'equivalent':>11}"


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _end)
    if arguments.list:
        for area in arguments.areas:
            for mutant in _draw(area, arguments)[0]:
                print(f"{described(mutant)}\n")
        return 0
    copies = [CopiedProject() for _ in range(arguments.jobs)]
    try:
        rates = [_try_area(area, *_draw(area, arguments), copies) for area in arguments.areas]
    except (TestsFail, TestsCannotRun) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    finally:
        for copy in copies:
            copy.close()
    print_rates([rate for rate in rates if rate.tried])
    return 1 if any(rate.survivors for rate in rates) else 0


def _end(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _arguments() -> argparse.Namespace:
    areas = read_areas()
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def named(names: str) -> list[Area]:
        if unknown := [name for name in names.split(",") if name not in areas]:
            raise argparse.ArgumentTypeError(f"no area is called {', '.join(unknown)}; there are {', '.join(areas)}")
        return [areas[name] for name in names.split(",")]

    parser.add_argument(
        "--area", dest="areas", type=named, default=list(areas.values()), metavar="A,B",
        help=f"areas of tests/mutants/areas.toml (default: all): {', '.join(areas)}",
    )  # fmt: skip
    parser.add_argument("--sample", type=int, default=20, help="mutants of each area; 0: all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another number draws other mutants (default: %(default)s)")
    parser.add_argument("--since", metavar="COMMIT", help="only lines that have changed since this commit or branch")
    parser.add_argument(
        "--jobs", type=int, default=2, help="mutants at once, each with a Postgres (default: %(default)s)"
    )
    parser.add_argument("--list", action="store_true", help="print the mutants and try none")
    return parser.parse_args()


def _draw(area: Area, arguments: argparse.Namespace) -> tuple[list[Mutant], int]:
    mutants: Iterable[Mutant] = area.mutants
    if arguments.since:
        changed = {path: changed_lines(path, arguments.since) for path in area.files}
        mutants = (mutant for mutant in mutants if mutant.line in changed[mutant.path])
    return draw(mutants, arguments.sample or None, arguments.seed, read_equivalents())


def changed_lines(path: str, commit: str) -> set[int]:
    """The lines of a file that are new or other since a commit."""
    diff = subprocess.run(
        ["git", "diff", "--unified=0", commit, "--", path], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    lines: set[int] = set()
    for start, count in re.findall(r"^@@ .*?\+(\d+)(?:,(\d+))? @@", diff, re.MULTILINE):
        lines |= set(range(int(start), int(start) + int(count or 1)))
    return lines


def _try_area(area: Area, mutants: Sequence[Mutant], equivalent: int, copies: Sequence[CopiedProject]) -> Rate:
    print(f"{area.name}: {len(mutants)} mutants", flush=True)
    project = Project()
    trial = Trial(area, project, copies)
    tried: list[Tried] = []
    before = time.monotonic()
    for one in trial.run(mutants, Results(KEPT / area.name / "results.json", project, area), len(copies)):
        tried.append(one)
        outcome = f"caught by {one.caught_by}" if one.caught_by else "SURVIVED"
        seconds = time.monotonic() - before
        place = f"{one.mutant.path}:{one.mutant.line} {one.mutant.operator}"
        print(f"{area.name} {len(tried)}/{len(mutants)} {seconds:.0f} s  {place}: {outcome}", flush=True)
    return Rate(area.name, tried, equivalent)


def print_rates(rates: Sequence[Rate]) -> None:
    """The table of areas, then each survivor."""
    print(f"\n{HEADER}")
    for rate in rates:
        print(rate)
    for rate in rates:
        for mutant in rate.survivors:
            print(f"\nsurvived, {rate.area}: {described(mutant)}")


def described(mutant: Mutant) -> str:
    """Where a mutant is, and its diff."""
    place = f" in {mutant.place}" if mutant.place else ""
    return "\n".join([f"{mutant.path}:{mutant.line}{place}, {mutant.operator}", *mutant.diff])


if __name__ == "__main__":
    sys.exit(main())
