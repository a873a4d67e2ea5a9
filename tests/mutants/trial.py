"""Try mutants: run the tests of an area with each one, and keep what was found, so that a run can go on later."""

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue

from include.demo.state import ROOT
from tests.mutants.areas import Area
from tests.mutants.copied_project import CopiedProject, Outcome, files_of_the_project
from tests.mutants.mutant import Mutant
from tests.mutants.recorded_module import RecordedModule

#: Where results are kept; Git ignores it.
KEPT = ROOT / ".mutants"
#: What tests may take with a mutant: so many times as long as without, and so many seconds more.
_FACTOR, _SECONDS = 3, 60


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
    def digests(self) -> dict[str, str]:
        """Of each file that code or tests may read; documents and this program are none."""
        folders = ("plugins", "include", "dags", "tests")
        return {
            name: digest_of_file(name)
            for name in files_of_the_project()
            if name.split("/")[0] in folders and not name.startswith("tests/mutants/")
        }

    @cached_property
    def digest(self) -> str:
        """Of all of them."""
        return _digest(*(f"{name}\0{digest}" for name, digest in self.digests.items()))


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

    def __init__(self, file: Path, project: Project, area: Area) -> None:
        self._file = file
        self._everything = _digest(project.digest, *area.tests, str(area.slow))
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
            return self._everything
        return digest_of_file(caught_by.partition("::")[0])


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
        self._modules: dict[str, RecordedModule] = {}
        self._locks = {module: threading.Lock() for module in modules_of(area.tests)}
        self._patience = 1

    def run(self, mutants: Sequence[Mutant], results: Results, jobs: int) -> Iterator[Tried]:
        """Try mutants, several at once; those that are known come first."""
        unknown = []
        for mutant in mutants:
            known = results.of(mutant)
            if known:
                yield known
            else:
                unknown.append(mutant)
        with ThreadPoolExecutor(jobs) as threads:
            futures = [threads.submit(self._try, mutant) for mutant in unknown]
            try:
                for future in as_completed(futures):
                    results.add(future.result())
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()

    def _try(self, mutant: Mutant) -> Tried:
        copy = self._copies.get()
        try:
            kept = {module: self._kept(module, mutant) for module in self._locks}
            # Modules that have run already, the quickest first; then one after the other those that have not.
            known = sorted(filter(None, kept.values()), key=lambda module: module.total_seconds)
            caught_by = self._run(copy, mutant, known)
            for name, module in kept.items():
                if module is None and caught_by is None:
                    caught_by = self._run(copy, mutant, [self._recorded(copy, name, mutant)])
            return Tried(mutant, caught_by)
        finally:
            self._copies.put(copy)

    def _kept(self, name: str, mutant: Mutant) -> RecordedModule | None:
        module = self._modules.get(name) or RecordedModule.read(self._folder(name))
        if module is None or not module.holds_for(mutant.path, self._project.digests):
            return None
        return self._modules.setdefault(name, module)

    def _folder(self, name: str) -> Path:
        return KEPT / "tests" / ("all" if self._area.slow else "quick") / name.replace("/", ".")

    def _recorded(self, copy: CopiedProject, name: str, mutant: Mutant) -> RecordedModule:
        """
        Run a module without a mutant, if nobody has done so.

        :raises TestsFail: it fails, twice: the machine may have been busy
        """
        with self._locks[name]:
            if kept := self._kept(name, mutant):
                return kept
            folder = self._folder(name)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            coverage = folder / "coverage" if mutant.path.endswith(".py") else None
            for _ in range(2):
                # With coverage, what fixtures execute must be executed, and not be there from another run.
                outcome = copy.run(
                    [name], None, coverage=coverage, slow=self._area.slow, with_kept_services=coverage is None
                )
                if outcome.passed:
                    break
            if not outcome.passed:
                raise TestsFail(f"{self._area.name}: the tests fail without a mutant\n{outcome.output[-4000:]}")
            digests = self._project.digests
            digests = {file: digests[file] for file in digests if not is_module_of_tests(file) or file == name}
            module = RecordedModule(name, folder, outcome.seconds, digests)
            module.save()
            self._modules[name] = module
            print(f"{self._area.name}: {name} takes {module.total_seconds:.0f} s", flush=True)
            return module

    def _run(self, copy: CopiedProject, mutant: Mutant, modules: Sequence[RecordedModule]) -> str | None:
        """:returns: what caught the mutant: the test that failed first, or another reason; None: nothing did"""
        may_time_out = False
        failed_before: list[str] = []
        while tests := [test for module in modules for test in module.tests_of(mutant)]:
            with copy.with_mutant(mutant):
                outcome = copy.run(
                    tests, self._timeout(tests), slow=self._area.slow,
                    with_kept_services=not any(module.may_begin_with(mutant) for module in modules),
                )  # fmt: skip
            if outcome.passed:
                return None
            if outcome.timed_out and not may_time_out:
                # The machine may have been busy, or asleep: only a second time says something.
                may_time_out = self._end_in_time(copy, tests)
                continue
            if self._uses_services(outcome) and outcome.failed != failed_before:
                # They may have been too slow on a busy machine: only a second time says something.
                failed_before = outcome.failed
                continue
            if self._fails_only_with_mutant(copy, tests, outcome):
                return outcome.reason
        return None

    @staticmethod
    def _uses_services(outcome: Outcome) -> bool:
        return any(not test.startswith("tests/unit/") for test in outcome.failed)

    def _fails_only_with_mutant(self, copy: CopiedProject, tests: Sequence[str], outcome: Outcome) -> bool:
        """
        Whether the failed test would pass without the mutant, also if not all tests before it run.

        If not, its module is from now on run as a whole.
        """
        if outcome.timed_out or not outcome.failed or module_of(outcome.failed[0]) not in self._modules:
            return True
        failed = outcome.failed[0]
        module = self._modules[module_of(failed)]
        if failed in module.alone or module.is_whole_up_to(tests, failed):
            return True
        is_independent = copy.run([failed], self._timeout([failed]), slow=self._area.slow).passed
        with self._locks[module.name]:
            if is_independent:
                module.alone.append(failed)
            else:
                module.needs_all = True
            module.save()
        return is_independent

    def _end_in_time(self, copy: CopiedProject, tests: Sequence[str]) -> bool:
        """Whether the tests do without the mutant; if not, all tests may from now on take twice as long."""
        if not copy.run(tests, self._timeout(tests), slow=self._area.slow).timed_out:
            return True
        self._patience *= 2
        return False

    def _timeout(self, tests: Sequence[str]) -> float:
        # What the first test of a module sets up, another one may have to.
        seconds = sum(self._modules[name].total_seconds for name in {module_of(test) for test in tests})
        return self._patience * (_SECONDS + _FACTOR * seconds)


def modules_of(tests: Sequence[str]) -> list[str]:
    """The modules of the tests of an area, in their order; a folder stands for those in it."""
    found: dict[str, None] = {}
    for test in tests:
        path = ROOT / module_of(test)
        files = sorted(path.rglob("test_*.py")) if path.is_dir() else [path]
        found |= {str(file.relative_to(ROOT)): None for file in files}
    return list(found)


def is_module_of_tests(path: str) -> bool:
    """Whether it has tests, and not what tests share."""
    return path.startswith("tests/") and path.rpartition("/")[2].startswith("test_")
