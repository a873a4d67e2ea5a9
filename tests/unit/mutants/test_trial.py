"""How mutants are tried: which tests run, what counts as caught, and what is known afterwards."""

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import coverage
import pytest

from tests.mutants import trial as trials
from tests.mutants.areas import Area, mutants_of
from tests.mutants.copied_project import CopiedProject, Outcome
from tests.mutants.executed_lines import ExecutedLines, lines_of_statement
from tests.mutants.mutant import Mutant
from tests.mutants.trial import Project, Results, TestsFail, Trial, Tried

MUTANT = Mutant("include/sql/a.sql", "comparison", 1, "a < b", lambda: "a <= b")
AREA = Area("an_area", ("include/sql/a.sql",), ("tests/a.py",))


class FakeCopy(CopiedProject):
    """Runs nothing: a test fails if its name says so, and where the mutant is in the copy."""

    def __init__(self, fails_with_mutant: Sequence[str] = (), fails_alone: Sequence[str] = ()) -> None:
        self.runs: list[list[str]] = []
        self._fails_with_mutant, self._fails_alone = fails_with_mutant, fails_alone
        self.root = Path("nowhere")
        self.has_mutant = False
        self.slow: set[bool] = set()
        self.baselines = 0
        #: What each test takes before the mutants are tried, and then all of them.
        self.seconds = 20.0
        self.needs = self.needs_with_mutant = 0.0
        self.timeouts: list[float] = []

    def _write(self, path: Path, text: str) -> None:  # type: ignore[override]
        self.has_mutant = text == MUTANT.text

    def run(
        self, tests: Sequence[str], timeout: float | None, *, coverage: Path | None = None, slow: bool = False
    ) -> Outcome:
        self.slow.add(slow)
        if timeout is None:
            self.baselines += 1
            return Outcome(True, [], {"tests/a.py::one": self.seconds, "tests/a.py::two": self.seconds})
        self.timeouts.append(timeout)
        if timeout < (self.needs_with_mutant if self.has_mutant else self.needs):
            return Outcome(False, timed_out=True)
        self.runs.append(list(tests))
        failed = [test for test in tests if self.has_mutant and test in self._fails_with_mutant]
        failed += [test for test in tests if len(tests) == 1 and test in self._fails_alone]
        return Outcome(not failed, failed[:1])


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(trials, "KEPT", tmp_path)
    return tmp_path


def project(digest: str = "as it is") -> Project:
    it = Project()
    it.__dict__["digest"] = digest
    return it


def run(copy: CopiedProject, kept: Path, digest: str = "as it is", area: Area = AREA) -> Tried:
    here = project(digest)
    (tried,) = Trial(area, here, [copy]).run([MUTANT], Results(kept / "results.json", here), 1)
    return tried


def test_mutant_survives_if_all_tests_pass(kept: Path) -> None:
    copy = FakeCopy()
    assert run(copy, kept).caught_by is None
    assert copy.runs == [["tests/a.py::one", "tests/a.py::two"]]
    assert not copy.has_mutant


def test_mutant_is_caught_by_the_first_test_that_fails(kept: Path) -> None:
    assert run(FakeCopy(["tests/a.py::two"]), kept).caught_by == "tests/a.py::two"


def test_tests_that_fail_without_a_mutant_are_an_error(kept: Path) -> None:
    class Failing(FakeCopy):
        def run(
            self, tests: Sequence[str], timeout: float | None, *, coverage: Path | None = None, slow: bool = False
        ) -> Outcome:
            return Outcome(False, ["tests/a.py::one"], output="1 failed")

    with pytest.raises(TestsFail, match=r"an_area: the tests fail without a mutant\n1 failed"):
        run(Failing(), kept)


def test_timeout_and_tests_that_cannot_be_collected_count_as_caught() -> None:
    assert Outcome(False, timed_out=True).reason == "timeout"
    assert Outcome(False).reason == "the tests cannot be collected"


@pytest.mark.parametrize(("digest", "is_known"), [("as it is", True), ("changed", False)])
def test_survivor_is_tried_again_only_after_a_change(kept: Path, digest: str, is_known: bool) -> None:
    run(FakeCopy(), kept)
    copy = FakeCopy()
    run(copy, kept, digest)
    assert copy.runs == ([] if is_known else [["tests/a.py::one", "tests/a.py::two"]])


def test_caught_mutant_stays_caught_until_the_test_that_did_it_changes(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(FakeCopy(["tests/a.py::one"]), kept)
    assert run(FakeCopy(), kept, "changed").caught_by == "tests/a.py::one"
    monkeypatch.setattr(trials, "digest_of_file", lambda name: "another test")
    assert run(FakeCopy(), kept, "changed").caught_by is None


def test_tests_do_not_run_without_a_mutant_if_everything_is_known(kept: Path) -> None:
    run(FakeCopy(["tests/a.py::one"]), kept)
    copy = FakeCopy()
    run(copy, kept, "changed")
    assert copy.baselines == 0


@pytest.mark.parametrize("slow", [True, False])
def test_slow_tests_run_in_an_area_that_asks_for_them(kept: Path, slow: bool) -> None:
    copy = FakeCopy()
    run(copy, kept, area=replace(AREA, slow=slow))
    assert copy.slow == {slow}


class OnlySecond:
    """What coverage knows: the mutant's line is executed by the second test alone."""

    def tests_of(self, mutant: Mutant, tests: Sequence[str]) -> list[str]:
        return [test for test in tests if test.endswith("two")]


def test_test_that_fails_alone_is_run_with_its_module(kept: Path) -> None:
    copy = FakeCopy(fails_alone=["tests/a.py::two"])
    trial = Trial(AREA, project(), [copy])
    trial._executed = OnlySecond()  # type: ignore[assignment]
    (tried,) = trial.run([MUTANT], Results(kept / "results.json", project()), 1)
    assert tried.caught_by is None
    assert copy.runs == [["tests/a.py::two"], ["tests/a.py::two"], ["tests/a.py::one", "tests/a.py::two"]]


def test_quick_module_is_run_whole_and_not_twice(kept: Path) -> None:
    copy = FakeCopy(["tests/a.py::two"])
    copy.seconds = 7.0
    trial = Trial(AREA, project(), [copy])
    trial._executed = OnlySecond()  # type: ignore[assignment]
    (tried,) = trial.run([MUTANT], Results(kept / "results.json", project()), 1)
    assert tried.caught_by == "tests/a.py::two"
    assert copy.runs == [["tests/a.py::one", "tests/a.py::two"]]


def test_mutant_with_which_tests_do_not_end_is_caught(kept: Path) -> None:
    copy = FakeCopy()
    copy.needs_with_mutant = float("inf")
    assert run(copy, kept).caught_by == "timeout"
    # With, without, with.
    assert copy.timeouts == [210, 210, 210]


def test_timeout_that_does_not_come_again_says_nothing(kept: Path) -> None:
    class Asleep(FakeCopy):
        def run(
            self, tests: Sequence[str], timeout: float | None, *, coverage: Path | None = None, slow: bool = False
        ) -> Outcome:
            self.needs_with_mutant = 0 if self.timeouts else float("inf")
            return super().run(tests, timeout, coverage=coverage, slow=slow)

    assert run(Asleep(), kept).caught_by is None


def test_tests_on_a_machine_that_has_become_slow_have_more_time(kept: Path) -> None:
    copy = FakeCopy()
    copy.needs = copy.needs_with_mutant = 500
    assert run(copy, kept).caught_by is None
    assert copy.timeouts == [210, 210, 420, 420, 840]


def test_mutant_that_no_test_executes_survives_without_a_run(kept: Path) -> None:
    copy = FakeCopy(["tests/a.py::one"])
    trial = Trial(AREA, project(), [copy])
    trial._executed = type("Nobody", (), {"tests_of": lambda *arguments: []})()
    (tried,) = trial.run([MUTANT], Results(kept / "results.json", project()), 1)
    assert tried.caught_by is None
    assert copy.runs == []


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
TESTS = ["t.py::test_small", "t.py::test_large", "t.py::test_other", "u.py::test_g"]


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
        for context, value in (("t.py::test_small|run", 1), ("t.py::test_large|run", 11)):
            recorder.switch_context(context)
            names["f"](value)
        recorder.switch_context("u.py::test_g|setup")
        names["g"](1, 2)
    finally:
        recorder.stop()
    recorder.save()
    return ExecutedLines(file)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (1, TESTS),
        (5, ["t.py::test_small", "t.py::test_large"]),
        (8, ["t.py::test_small"]),
        (10, ["t.py::test_large"]),
        (14, ["t.py::test_small", "u.py::test_g"]),
    ],
    ids=["while importing", "both branches", "inside of a statement", "last line", "fixture"],
)
def test_mutant_is_for_the_tests_that_execute_its_statement(
    executed: ExecutedLines, line: int, expected: list[str]
) -> None:
    assert executed.tests_of(Mutant("m.py", "", line, SOURCE, lambda: SOURCE), TESTS) == expected


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
