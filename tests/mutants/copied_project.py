"""A copy of the project in a temporary folder, in which tests run with a mutant; the project is never changed."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from include.demo.state import ROOT
from tests.mutants import forked_tests, outcomes
from tests.mutants.forked_tests import KEPT, Request
from tests.mutants.mutant import Mutant


class TestsCannotRun(Exception):
    """The process that runs the tests has ended."""

    __test__ = False


@dataclass(frozen=True)
class Outcome:
    """
    How a run of tests ended.

    :param passed: whether all passed
    :param failed: the tests that failed, in their order; none if pytest could not even collect them
    :param seconds: of each test that ran
    """

    passed: bool
    failed: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    timed_out: bool = False
    output: str = ""

    @property
    def reason(self) -> str:
        """What noticed a mutant."""
        if self.timed_out:
            return "timeout"
        return self.failed[0] if self.failed else "the tests cannot be collected"


class CopiedProject:
    """All files of the working tree that Git knows or would add, and a process in whose forks its tests run."""

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="ecommerce-mutants-"))
        self.root = self._home / "project"
        for name in files_of_the_project():
            target = self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
        self._scratch = self._home / "tmp"
        self._scratch.mkdir()
        self._kept = self._home / "kept"
        self._kept.mkdir()
        # Imports the libraries while mutants are drawn.
        self._tests = self._start()

    def _start(self) -> subprocess.Popen[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "ECOMMERCE", "COV"))}
        # A session of its own: Ctrl-C is for the command, which then ends it.
        return subprocess.Popen(
            [sys.executable, "-m", forked_tests.__name__],
            cwd=self.root,
            env=env | {"PYTHONPATH": str(self.root), "TMPDIR": str(self._scratch), KEPT: str(self._kept)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(self._home / "errors.txt").open("w"), text=True,
            start_new_session=True,
        )  # fmt: skip

    def close(self) -> None:
        """Stop what runs, and delete the folder."""
        self._tests.send_signal(signal.SIGINT)
        self._tests.wait()
        self._stop([*self._scratch.glob("ecommerce-tests-*/stack"), self._kept / "stack"])
        shutil.rmtree(self._home, ignore_errors=True)

    @contextlib.contextmanager
    def with_mutant(self, mutant: Mutant) -> Iterator[None]:
        """The copy has this mistake."""
        path = self.root / mutant.path
        try:
            self._write(path, mutant.text)
            yield
        finally:
            self._write(path, mutant.source)

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        # Python would take the old code if size and second of the change were the same.
        if path.suffix == ".py":
            Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)

    def run(
        self,
        tests: Sequence[str],
        timeout: float | None,
        *,
        coverage: Path | None = None,
        slow: bool = False,
        with_kept_services: bool = True,
    ) -> Outcome:
        """
        Run tests until the first one fails; with `coverage`, record there who executes which line.

        :param tests: ids of tests, or files and folders
        :param slow: run those that are marked slow as well
        :param with_kept_services: begin with the services, and the contents of databases, that other runs have made
        """
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir()
        (self._scratch / "tests.txt").write_text("\n".join(tests))
        found, output = self._scratch / "outcomes.json", self._scratch / "output.txt"
        arguments = ["-q", "-x", "-p", "no:cacheprovider", "-p", outcomes.__name__, "--hypothesis-seed=0", "--tb=short"]
        if coverage:
            arguments += ["--cov", f"--cov-config={Path(__file__).with_name('coverage.ini')}", "--cov-context=test"]
            arguments += ["--cov-report="]
        env = {outcomes.FILE: str(found), "COVERAGE_FILE": str(coverage or self._scratch / "coverage")}
        if with_kept_services:
            env["STACK_DIR"] = str(self._kept / "stack")
        if slow:
            env["ECOMMERCE_CI"] = "1"
        code = self._ask(Request([*arguments, f"@{self._scratch / 'tests.txt'}"], env, str(output), timeout))
        self._stop(self._scratch.glob("ecommerce-tests-*/stack"))
        if code is None:
            self._stop([self._kept / "stack"])
        shutil.rmtree(self.root / ".hypothesis", ignore_errors=True)
        written = json.loads(found.read_text()) if found.exists() else {"failed": [], "seconds": {}}
        return Outcome(
            code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED), written["failed"], written["seconds"],
            code is None, output.read_text(),
        )  # fmt: skip

    def _ask(self, request: Request) -> int | None:
        """:returns: pytest's exit code; None if it took too long"""
        requests, answers = self._tests.stdin, self._tests.stdout
        assert requests is not None
        assert answers is not None
        print(json.dumps(asdict(request)), file=requests, flush=True)
        answer = answers.readline()
        if not answer:
            raise TestsCannotRun(f"tests cannot be run any more:\n{(self._home / 'errors.txt').read_text()[-4000:]}")
        code: int | None = json.loads(answer)
        return code

    @staticmethod
    def _stop(stacks: Iterable[Path]) -> None:
        """Stop services and delete their data; by the project's own code, not the copy's."""
        for stack in filter(Path.exists, stacks):
            env = {**os.environ, "PYTHONPATH": "plugins", "STACK_DIR": str(stack)}
            subprocess.run(
                [sys.executable, "-m", "include.demo", "reset"], cwd=ROOT, env=env, check=False, capture_output=True
            )


def files_of_the_project() -> list[str]:
    """The files of the working tree, those that are new and not ignored as well."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [name for name in sorted(set(listed.stdout.split("\0"))) if name and (ROOT / name).is_file()]
