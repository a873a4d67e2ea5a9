"""The areas of `areas.toml`, and the mutants of each."""

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from include.demo.state import ROOT
from tests.mutants.mutant import Mutant
from tests.mutants.python_mutants import mutants_of_python
from tests.mutants.sql_mutants import Edit, edits_of_dbt, edits_of_ddl

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Area:
    """
    Files, and the tests that should notice a mistake in them.

    :param files: paths in the project
    :param tests: arguments of pytest
    :param slow: whether those of them that are marked slow run as well
    """

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]
    slow: bool = False

    @property
    def mutants(self) -> Iterator[Mutant]:
        """All mutants of all files."""
        for path in self.files:
            yield from mutants_of(path, (ROOT / path).read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Equivalent:
    """
    A mutant that does what the code does, so that no test can notice it.

    :param path: its file
    :param place: its function, CTE or table; empty outside of any
    :param before: the lines that it changes, without indentation
    :param after: the same lines with the mistake
    """

    path: str
    place: str
    before: str
    after: str
    reason: str

    def is_like(self, mutant: Mutant) -> bool:
        """Whether it is this one, wherever the line now stands."""
        line = mutant.source.splitlines()[mutant.line - 1].strip()
        # To make a mutant takes long: most are on another line.
        return line in self.before.splitlines() and (mutant.path, mutant.before, mutant.after, mutant.place) == (
            self.path, self.before, self.after, self.place,
        )  # fmt: skip


def read_areas() -> dict[str, Area]:
    """All areas, by name."""
    with (_FOLDER / "areas.toml").open("rb") as file:
        areas = tomllib.load(file)
    return {
        name: Area(
            name,
            tuple(sorted(_matching(area["files"]) - _matching(area.get("without", ())))),
            tuple(area["tests"]),
            area.get("slow", False),
        )
        for name, area in areas.items()
    }


def _matching(patterns: Iterable[str]) -> set[str]:
    return {str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}


def read_equivalents() -> list[Equivalent]:
    """The mutants that are known to do what the code does, each with its reason."""
    with (_FOLDER / "equivalent.toml").open("rb") as file:
        return [Equivalent(**entry) for entry in tomllib.load(file).get("mutant", ())]


def mutants_of(path: str, source: str) -> Iterator[Mutant]:
    """All mutants of a file."""
    if path.endswith(".py"):
        yield from mutants_of_python(path, source)
        return
    edits = edits_of_ddl(source) if path.startswith("include/sql/") else edits_of_dbt(source)
    for edit in edits:
        line = source.count("\n", 0, edit.start) + 1
        yield Mutant(path, edit.operator, line, source, partial(_edited, source, edit))


def _edited(source: str, edit: Edit) -> str:
    return source[: edit.start] + edit.replacement + source[edit.end :]


def draw(
    mutants: Iterable[Mutant], size: int | None, seed: int, equivalents: Iterable[Equivalent] = ()
) -> tuple[list[Mutant], int]:
    """
    Draw valid mutants: of each line one, then of each line a second one, and so on.

    :param size: how many; None: all
    :returns: the mutants, and how many were not drawn because they are equivalent
    """
    lines: dict[tuple[str, int], list[Mutant]] = {}
    for mutant in mutants:
        lines.setdefault((mutant.path, mutant.line), []).append(mutant)
    random = Random(seed)
    order = sorted(lines)
    random.shuffle(order)
    for line in order:
        random.shuffle(lines[line])
    by_path: dict[str, list[Equivalent]] = {}
    for entry in equivalents:
        by_path.setdefault(entry.path, []).append(entry)
    drawn: list[Mutant] = []
    left_out = 0
    seen: set[str] = set()
    for mutant in _rounds([lines[line] for line in order]):
        if size is not None and len(drawn) >= size:
            break
        if not mutant.is_valid or mutant.id in seen:
            continue
        seen.add(mutant.id)
        if any(entry.is_like(mutant) for entry in by_path.get(mutant.path, ())):
            left_out += 1
        else:
            drawn.append(mutant)
    return drawn, left_out


def _rounds(lines: list[list[Mutant]]) -> Iterator[Mutant]:
    for number in range(max(map(len, lines), default=0)):
        for line in lines:
            if number < len(line):
                yield line[number]
