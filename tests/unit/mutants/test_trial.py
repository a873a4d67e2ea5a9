"""How mutants are tried: which tests run, what counts as caught, and what is known afterwards."""

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import coverage
import pytest

from tests.mutants import trial as trials
from tests.mutants.areas import Area, mutants_of
from tests.mutants.copied_project import CopiedProject, Outcome
from tests.mutants.executed_lines import ExecutedLines, lines_of_statement
from tests.mutants.mutant import Mutant
from tests.mutants.recorded_module import RecordedModule
from tests.mutants.trial import Project, Results, TestsFail, Trial, Tried, modules_of

MUTANT = Mutant("include/sql/a.sql", "comparison", 1, "a < b", lambda: "a <= b")
PYTHON = replace(MUTANT, path="plugins/a.py")
AREA = Area("an_area", ("include/sql/a.sql",), ("tests/unit/a.py",))
ONE, TWO = "tests/unit/a.py::one", "tests/unit/a.py::two"


class FakeCopy(CopiedProject):
    """Runs nothing: a test fails if its name says so, and where the mutant is in the copy."""

    def __init__(self, fails_with_mutant: Sequence[str] = (), fails_alone: Sequence[str] = ()) -> None:
        self.runs: list[list[str]] = []
        self._fails_with_mutant, self._fails_alone = fails_with_mutant, fails_alone
        self.root = Path("nowhere")
        self.has_mutant = False
        self.slow: set[bool] = set()
        #: The modules that have run without a mutant, and the runs in which services of other runs were used.
        self.recorded: list[str] = []
        self.with_kept_services: list[bool] = []
        #: What each test takes before the mutants are tried, and then all of them.
        self.seconds = 20.0
        self.needs = self.needs_with_mutant = 0.0
        self.timeouts: list[float] = []

    def _write(self, path: Path, text: str) -> None:  # type: ignore[override]
        self.has_mutant = text != MUTANT.source

    def run(
        self, tests: Sequence[str], timeout: float | None, *, coverage: Path | None = None, slow: bool = False,
        with_kept_services: bool = True,
    ) -> Outcome:  # fmt: skip
        self.slow.add(slow)
        if timeout is None:
            self.recorded += tests
            return Outcome(True, [], {f"{module}::{name}": self.seconds for module in tests for name in ("one", "two")})
        self.timeouts.append(timeout)
        if timeout < (self.needs_with_mutant if self.has_mutant else self.needs):
            return Outcome(False, timed_out=True)
        self.runs.append(list(tests))
        self.with_kept_services.append(with_kept_services)
        failed = [test for test in tests if self.has_mutant and test in self._fails_with_mutant]
        failed += [test for test in tests if len(tests) == 1 and test in self._fails_alone]
        return Outcome(not failed, failed[:1])


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(trials, "KEPT", tmp_path)
    return tmp_path


def project(code: str = "as it is", tests: str = "as they are") -> Project:
    it = Project()
    it.__dict__["digests"] = {"include/sql/a.sql": code, "tests/unit/a.py": tests, "tests/test_of_others.py": tests}
    return it


def run(
    copy: CopiedProject, kept: Path, here: Project | None = None, area: Area = AREA, mutant: Mutant = MUTANT
) -> Tried:
    here = here or project()
    (tried,) = Trial(area, here, [copy]).run([mutant], Results(kept / "results.json", here, area), 1)
    return tried


def test_mutant_survives_if_all_tests_pass(kept: Path) -> None:
    copy = FakeCopy()
    assert run(copy, kept).caught_by is None
    assert copy.runs == [[ONE, TWO]]
    assert not copy.has_mutant


def test_mutant_is_caught_by_the_first_test_that_fails(kept: Path) -> None:
    assert run(FakeCopy([TWO]), kept).caught_by == TWO


def test_modules_after_the_one_that_catches_the_mutant_do_not_run(kept: Path) -> None:
    area = replace(AREA, tests=("tests/unit/b.py", "tests/unit/a.py", "tests/unit/c.py"))
    copy = FakeCopy([ONE])
    assert run(copy, kept, area=area).caught_by == ONE
    assert copy.recorded == ["tests/unit/b.py", "tests/unit/a.py"]


def test_quickest_module_is_first_once_it_is_known(kept: Path) -> None:
    area = replace(AREA, tests=("tests/unit/b.py", "tests/unit/a.py"))
    slow, quick = FakeCopy(), FakeCopy()
    quick.seconds = 1
    run(slow, kept, area=replace(AREA, tests=("tests/unit/b.py",)))
    (kept / "results.json").unlink()
    run(quick, kept)
    (kept / "results.json").unlink()
    copy = FakeCopy()
    run(copy, kept, area=area)
    assert copy.runs == [[ONE, TWO, "tests/unit/b.py::one", "tests/unit/b.py::two"]]


def test_tests_that_fail_without_a_mutant_are_an_error(kept: Path) -> None:
    class Failing(FakeCopy):
        def run(self, tests: Sequence[str], timeout: float | None, **options: object) -> Outcome:
            self.recorded += tests
            return Outcome(False, [ONE], output="1 failed")

    copy = Failing()
    with pytest.raises(TestsFail, match=r"an_area: the tests fail without a mutant\n1 failed"):
        run(copy, kept)
    assert len(copy.recorded) == 2


def test_timeout_and_tests_that_cannot_be_collected_count_as_caught() -> None:
    assert Outcome(False, timed_out=True).reason == "timeout"
    assert Outcome(False).reason == "the tests cannot be collected"


@pytest.mark.parametrize(
    ("here", "area", "is_known"),
    [(project(), AREA, True), (project("changed"), AREA, False), (project(), replace(AREA, slow=True), False)],
    ids=["nothing changed", "code changed", "other tests of the area"],
)
def test_survivor_is_tried_again_only_after_a_change(kept: Path, here: Project, area: Area, is_known: bool) -> None:
    run(FakeCopy(), kept)
    copy = FakeCopy()
    run(copy, kept, here, area)
    assert copy.runs == ([] if is_known else [[ONE, TWO]])


@pytest.mark.parametrize(
    ("here", "runs_again"),
    [(project(), False), (project("changed"), True), (project(tests="changed"), True)],
    ids=["nothing changed", "code changed", "tests changed"],
)
def test_module_runs_again_without_a_mutant_after_a_change(kept: Path, here: Project, runs_again: bool) -> None:
    run(FakeCopy(), kept)
    (kept / "results.json").unlink()
    copy = FakeCopy()
    run(copy, kept, here)
    assert bool(copy.recorded) == runs_again


def test_caught_mutant_stays_caught_until_the_test_that_did_it_changes(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(FakeCopy([ONE]), kept)
    assert run(FakeCopy(), kept, project("changed")).caught_by == ONE
    monkeypatch.setattr(trials, "digest_of_file", lambda name: "another test")
    assert run(FakeCopy(), kept, project("changed")).caught_by is None


def test_tests_do_not_run_without_a_mutant_if_everything_is_known(kept: Path) -> None:
    run(FakeCopy([ONE]), kept)
    copy = FakeCopy()
    run(copy, kept, project("changed"))
    assert copy.recorded == []


@pytest.mark.parametrize("slow", [True, False])
def test_slow_tests_run_in_an_area_that_asks_for_them(kept: Path, slow: bool) -> None:
    copy = FakeCopy()
    run(copy, kept, area=replace(AREA, slow=slow))
    assert copy.slow == {slow}


def executed_by(monkeypatch: pytest.MonkeyPatch, *contexts: str) -> None:
    """What coverage says of the line of `PYTHON`."""
    monkeypatch.setattr(RecordedModule, "coverage", Path(__file__))
    monkeypatch.setattr(ExecutedLines, "_contexts_of", lambda lines, path: {1: set(contexts)})


def test_test_that_fails_alone_is_run_with_its_module(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executed_by(monkeypatch, f"{TWO}|run")
    copy = FakeCopy(fails_alone=[TWO])
    assert run(copy, kept, mutant=PYTHON).caught_by is None
    assert copy.runs == [[TWO], [TWO], [ONE, TWO]]


def test_quick_module_is_run_whole_and_not_twice(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executed_by(monkeypatch, f"{TWO}|run")
    copy = FakeCopy([TWO])
    copy.seconds = 1.0
    assert run(copy, kept, mutant=PYTHON).caught_by == TWO
    assert copy.runs == [[ONE, TWO]]


@pytest.mark.parametrize(
    ("contexts", "is_kept"),
    [((f"{TWO}|run",), True), ((f"{TWO}|setup",), False), (("",), False), (("", f"{TWO}|run"), True)],
    ids=["test", "fixture", "constants", "import of what a test calls"],
)
def test_services_of_other_runs_are_used_if_no_fixture_executes_the_mutant(
    kept: Path, monkeypatch: pytest.MonkeyPatch, contexts: tuple[str, ...], is_kept: bool
) -> None:
    executed_by(monkeypatch, *contexts)
    copy = FakeCopy()
    run(copy, kept, mutant=PYTHON)
    assert copy.runs == [[TWO] if contexts == (f"{TWO}|run",) else [ONE, TWO]]
    assert copy.with_kept_services == [is_kept]


def test_mutant_with_which_tests_do_not_end_is_caught(kept: Path) -> None:
    copy = FakeCopy()
    copy.needs_with_mutant = float("inf")
    assert run(copy, kept).caught_by == "timeout"
    # With, without, with.
    assert copy.timeouts == [180, 180, 180]


def test_timeout_that_does_not_come_again_says_nothing(kept: Path) -> None:
    class Asleep(FakeCopy):
        def run(self, tests: Sequence[str], timeout: float | None, **options: Any) -> Outcome:
            self.needs_with_mutant = 0 if self.timeouts else float("inf")
            return super().run(tests, timeout, **options)

    assert run(Asleep(), kept).caught_by is None


def test_tests_on_a_machine_that_has_become_slow_have_more_time(kept: Path) -> None:
    copy = FakeCopy()
    copy.needs = copy.needs_with_mutant = 500
    assert run(copy, kept).caught_by is None
    assert copy.timeouts == [180, 180, 360, 360, 720]


def test_failure_of_services_that_does_not_come_again_says_nothing(kept: Path) -> None:
    class Busy(FakeCopy):
        def run(self, tests: Sequence[str], timeout: float | None, **options: Any) -> Outcome:
            outcome = super().run(tests, timeout, **options)
            if outcome.passed:
                return outcome
            self._fails_with_mutant = ()
            return replace(outcome, failed=["tests/integration/a.py::one"])

    copy = Busy([ONE])
    assert run(copy, kept).caught_by is None
    assert copy.runs == [[ONE, TWO], [ONE, TWO]]


def test_mutant_that_no_test_executes_survives_without_a_run(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executed_by(monkeypatch)
    copy = FakeCopy([ONE])
    assert run(copy, kept, mutant=PYTHON).caught_by is None
    assert copy.runs == []


def test_folder_stands_for_its_modules() -> None:
    modules = modules_of(["tests/unit/mutants/test_trial.py", "tests/unit/mutants"])
    assert modules[0] == "tests/unit/mutants/test_trial.py"
    assert modules[1] == "tests/unit/mutants/test_areas.py"
    assert len(modules) == len(set(modules))


# -- which tests execute a line ----------------------------------------------------------------------------------------

SOURCE = """\
LIMIT = 10


def f(a):
    if a < LIMIT:
        return g(
            a,
            1,
        )
    return 2


def g(a, b):
    return a + b
"""
SMALL, LARGE, FIXTURE = "t.py::test_small|run", "t.py::test_large|run", "t.py::test_g|setup"


@pytest.fixture
def executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExecutedLines:
    """A module is imported, called by two tests, and its last function by the fixture of a third one."""
    (tmp_path / "m.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "data"
    recorder = coverage.Coverage(data_file=str(file), include=["*/m.py"], config_file=False)
    recorder.set_option("run:relative_files", True)
    names: dict = {}
    # In a process of its own a second recorder would not disturb the one of `--cov`.
    recorder.start()
    try:
        exec(compile(SOURCE, str(tmp_path / "m.py"), "exec"), names)
        for context, value in ((SMALL, 1), (LARGE, 11)):
            recorder.switch_context(context)
            names["f"](value)
        recorder.switch_context(FIXTURE)
        names["g"](1, 2)
    finally:
        recorder.stop()
    recorder.save()
    return ExecutedLines(file)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (1, {""}),
        (5, {SMALL, LARGE}),
        (8, {SMALL}),
        (10, {LARGE}),
        (14, {SMALL, FIXTURE}),
        (3, set()),
    ],
    ids=["while importing", "both branches", "inside of a statement", "last line", "fixture", "nobody"],
)
def test_who_executes_the_statement_of_a_mutant(executed: ExecutedLines, line: int, expected: set[str]) -> None:
    assert executed.contexts_of(Mutant("m.py", "", line, SOURCE, lambda: SOURCE)) == expected


def test_statement_of_several_lines_is_one() -> None:
    assert list(lines_of_statement(SOURCE, 8)) == [6, 7, 8, 9]
    assert list(lines_of_statement(SOURCE, 5)) == [5]


# -- the copy ----------------------------------------------------------------------------------------------------------

QUICK = "tests/unit/common/test_days.py"


@pytest.mark.long_form
def test_copy_of_the_project_has_the_mutant_only_while_it_is_tried() -> None:
    path = "plugins/ecommerce/common/days.py"
    source = (Path(__file__).parents[3] / path).read_text()
    broken = Mutant(path, "", 1, source, lambda: textwrap.dedent(source) + "\nraise SystemError\n")
    copy = CopiedProject()
    try:
        with copy.with_mutant(broken):
            assert not copy.run([QUICK], 300).passed
        found = copy.run([QUICK], 300)
        assert found.passed
        assert all(test.startswith(QUICK) for test in found.seconds)
        assert copy.run([QUICK], 0.1).timed_out
    finally:
        copy.close()
    assert not copy.root.exists()
    assert list(mutants_of(path, source))
