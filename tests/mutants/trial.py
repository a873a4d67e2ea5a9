"""Try mutants: run the tests of an area with each one, and keep what was found, so that a run can go on later."""

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from include.demo.state import ROOT
from tests.mutants.areas import Area
from tests.mutants.copied_project import CopiedProject, Outcome, files_of_the_project
from tests.mutants.executed_lines import ExecutedLines
from tests.mutants.mutant import Mutant

T = TypeVar("T")

#: Where results are kept; Git ignores it.
KEPT = ROOT / ".mutants"
#: What tests may take with a mutant: so many times as long as without, and so many seconds more.
_FACTOR, _SECONDS = 3, 90
#: A module that takes less is run whole: the start of another run, to see whether its test fails alone, takes longer.
_SECONDS_OF_A_START = 15


class TestsFail(Exception):
    """The tests of an area fail without any mutant, so they cannot tell anything about mutants."""

    __test__ = False


@dataclass(frozen=True)
class Tried:
    """
    A mutant that was tried.

    :param caught_by: the test that failed first, or why else it was noticed; None: it survived
    """

    mutant: Mutant
    caught_by: str | None


class Project:
    """The files of the project as they are now; digests of them tell which results still hold."""

    @cached_property
    def digest(self) -> str:
        """Of all files that code or tests may read; documents are none."""
        names = [
            name for name in files_of_the_project() if name.split("/")[0] in ("plugins", "include", "dags", "tests")
        ]
        return _digest(*(f"{name}\0{digest_of_file(name)}" for name in names))


def digest_of_file(name: str) -> str:
    """Of one file of the project; of nothing if it is not there."""
    path = ROOT / name
    return _digest(path.read_bytes().hex() if path.is_file() else "")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


class Results:
    """
    What was found, in a file: a mutant that was caught stays caught as long as the test that did it is the same, one
    that survived is tried again after any change.
    """

    def __init__(self, file: Path, project: Project) -> None:
        self._file = file
        self._project = project
        self._lock = threading.Lock()
        self._found: dict[str, dict[str, str | None]] = json.loads(file.read_text()) if file.exists() else {}

    def of(self, mutant: Mutant) -> Tried | None:
        """What is known of a mutant, if it still holds."""
        found = self._found.get(mutant.id)
        if found is None or found["digest"] != self._digest(found["caught_by"]):
            return None
        return Tried(mutant, found["caught_by"])

    def add(self, tried: Tried) -> None:
        """Keep a result."""
        with self._lock:
            self._found[tried.mutant.id] = {"caught_by": tried.caught_by, "digest": self._digest(tried.caught_by)}
            self._file.parent.mkdir(parents=True, exist_ok=True)
            scratch = self._file.with_suffix(".new")
            scratch.write_text(json.dumps(self._found, indent=1))
            scratch.replace(self._file)

    def _digest(self, caught_by: str | None) -> str:
        if caught_by is None or "::" not in caught_by:
            return self._project.digest
        return digest_of_file(caught_by.partition("::")[0])


@dataclass
class Baseline:
    """
    The tests of an area without a mutant.

    :param seconds: of each test, in their order
    :param alone: tests that were seen to pass alone
    :param whole: modules of which a test fails alone: they are always run as a whole
    """

    seconds: dict[str, float]
    alone: list[str]
    whole: list[str]

    def timeout(self, tests: Sequence[str]) -> float:
        """How long these tests may take; what the first test of a module sets up, another one may have to."""
        modules = {module_of(test) for test in tests}
        return _SECONDS + _FACTOR * sum(seconds for test, seconds in self.seconds.items() if module_of(test) in modules)

    def with_whole_modules(self, tests: Sequence[str]) -> list[str]:
        """These tests and those without which they would fail; of quick modules all."""
        seconds: dict[str, float] = defaultdict(float)
        for test, taken in self.seconds.items():
            seconds[module_of(test)] += taken
        modules = {module_of(test) for test in tests}
        modules = {name for name in modules if name in self.whole or seconds[name] < _SECONDS_OF_A_START}
        chosen = set(tests)
        return [test for test in self.seconds if test in chosen or module_of(test) in modules]

    def is_whole_up_to(self, tests: Sequence[str], failed: str) -> bool:
        """Whether all tests of its module that come before the failed one ran as well."""
        before = list(self.seconds)
        before = before[: before.index(failed)] if failed in self.seconds else []
        return {test for test in before if module_of(test) == module_of(failed)} <= set(tests)


def module_of(test: str) -> str:
    """The file of a test's id."""
    return test.partition("::")[0]


class Trial:
    """The mutants of one area and its tests."""

    def __init__(self, area: Area, project: Project, copies: Sequence[CopiedProject]) -> None:
        self._area = area
        self._project = project
        self._copies: SimpleQueue[CopiedProject] = SimpleQueue()
        for copy in copies:
            self._copies.put(copy)
        self._folder = KEPT / area.name
        self._lock = threading.Lock()
        self._patience = 1

    @cached_property
    def _baseline(self) -> Baseline:
        return self._read_baseline() or self._record_baseline()

    @cached_property
    def _executed(self) -> ExecutedLines | None:
        coverage = self._folder / "coverage"
        return ExecutedLines(coverage) if coverage.exists() else None

    def _read_baseline(self) -> Baseline | None:
        file = self._folder / "baseline.json"
        kept = json.loads(file.read_text()) if file.exists() else {}
        return Baseline(**kept["tests"]) if kept.get("digest") == self._key() else None

    def _key(self) -> str:
        return _digest(self._project.digest, *self._area.tests)

    def _record_baseline(self) -> Baseline:
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in self._folder.glob("coverage*"):
            old.unlink()
        has_python = any(path.endswith(".py") for path in self._area.files)
        coverage = self._folder / "coverage" if has_python else None
        outcome = self._in_copy(lambda copy: copy.run(self._area.tests, None, coverage=coverage, slow=self._area.slow))
        if not outcome.passed:
            raise TestsFail(f"{self._area.name}: the tests fail without a mutant\n{outcome.output[-4000:]}")
        baseline = Baseline(outcome.seconds, [], [])
        self._save(baseline)
        return baseline

    def _save(self, baseline: Baseline) -> None:
        kept = {"digest": self._key(), "tests": asdict(baseline)}
        (self._folder / "baseline.json").write_text(json.dumps(kept, indent=1))

    def _in_copy(self, use: Callable[[CopiedProject], T]) -> T:
        copy = self._copies.get()
        try:
            return use(copy)
        finally:
            self._copies.put(copy)

    def run(self, mutants: Sequence[Mutant], results: Results, jobs: int) -> Iterator[Tried]:
        """Try mutants, several at once; those that are known come first."""
        unknown = []
        for mutant in mutants:
            known = results.of(mutant)
            if known:
                yield known
            else:
                unknown.append(mutant)
        if not unknown:
            return
        # Before the threads start: each of them needs it.
        _ = self._baseline, self._executed
        with ThreadPoolExecutor(jobs) as threads:
            futures = [
                threads.submit(self._in_copy, lambda copy, one=mutant: self._try(copy, one)) for mutant in unknown
            ]
            try:
                for future in as_completed(futures):
                    results.add(future.result())
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()

    def _try(self, copy: CopiedProject, mutant: Mutant) -> Tried:
        tests = list(self._baseline.seconds)
        if self._executed:
            tests = self._executed.tests_of(mutant, tests)
        may_time_out = False
        while tests:
            tests = self._baseline.with_whole_modules(tests)
            with copy.with_mutant(mutant):
                outcome = copy.run(tests, self._timeout(tests), slow=self._area.slow)
            if outcome.passed:
                return Tried(mutant, None)
            if outcome.timed_out and not may_time_out:
                # The machine may have been busy, or asleep: only a second time says something.
                may_time_out = self._end_in_time(copy, tests)
                continue
            if self._fails_only_with_mutant(copy, tests, outcome):
                return Tried(mutant, outcome.reason)
        return Tried(mutant, None)

    def _fails_only_with_mutant(self, copy: CopiedProject, tests: Sequence[str], outcome: Outcome) -> bool:
        """
        Whether the failed test would pass without the mutant, also if not all tests before it run.

        If not, its module is from now on run as a whole.
        """
        if outcome.timed_out or not outcome.failed:
            return True
        failed = outcome.failed[0]
        if failed in self._baseline.alone or self._baseline.is_whole_up_to(tests, failed):
            return True
        is_independent = copy.run([failed], self._timeout([failed]), slow=self._area.slow).passed
        with self._lock:
            if is_independent:
                self._baseline.alone.append(failed)
            else:
                self._baseline.whole.append(module_of(failed))
            self._save(self._baseline)
        return is_independent

    def _end_in_time(self, copy: CopiedProject, tests: Sequence[str]) -> bool:
        """Whether the tests do without the mutant; if not, all tests may from now on take twice as long."""
        if not copy.run(tests, self._timeout(tests), slow=self._area.slow).timed_out:
            return True
        self._patience *= 2
        return False

    def _timeout(self, tests: Sequence[str]) -> float:
        return self._patience * self._baseline.timeout(tests)
