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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from include.demo.state import ROOT
from tests.mutants import outcomes
from tests.mutants.mutant import Mutant

#: How long a run of the tests that takes too long may take to stop its services.
_SECONDS_TO_STOP = 30


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
    """All files of the working tree that Git knows or would add."""

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="ecommerce-mutants-"))
        self.root = self._home / "project"
        self._process: subprocess.Popen[str] | None = None
        for name in files_of_the_project():
            target = self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)

    def close(self) -> None:
        """Stop what runs, and delete the folder."""
        self._end_process()
        self._stop_services(self._home / "tmp")
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
        self, tests: Sequence[str], timeout: float | None, *, coverage: Path | None = None, slow: bool = False
    ) -> Outcome:
        """
        Run tests until the first one fails; with `coverage`, run all and record there who executes which line.

        :param tests: ids of tests, or files and folders
        :param slow: run those that are marked slow as well
        """
        scratch = self._home / "tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        (scratch / "tests.txt").write_text("\n".join(tests))
        found = scratch / "outcomes.json"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", outcomes.__name__]
        command += ["--hypothesis-seed=0", "--tb=short"]
        if coverage:
            command += ["--cov", f"--cov-config={Path(__file__).with_name('coverage.ini')}", "--cov-context=test"]
            command += ["--cov-report="]
        else:
            command += ["-x"]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "ECOMMERCE", "COV"))}
        env |= {"PYTHONPATH": str(self.root), "TMPDIR": str(scratch), outcomes.FILE: str(found)}
        if slow:
            env["ECOMMERCE_CI"] = "1"
        env["COVERAGE_FILE"] = str(coverage or scratch / "coverage")
        # Without a pipe: services that outlive the tests would keep it open.
        with (scratch / "output.txt").open("w") as output:
            self._process = subprocess.Popen(
                [*command, f"@{scratch / 'tests.txt'}"],
                cwd=self.root, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, text=True,
                start_new_session=True,
            )  # fmt: skip
            timed_out = False
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                timed_out = True
            code = self._process.returncode
            self._end_process()
        self._stop_services(scratch)
        shutil.rmtree(self.root / ".hypothesis", ignore_errors=True)
        written = json.loads(found.read_text()) if found.exists() else {"failed": [], "seconds": {}}
        return Outcome(
            code == 0, written["failed"], written["seconds"], timed_out, (scratch / "output.txt").read_text()
        )

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        # As Ctrl-C: pytest stops its services.
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS_TO_STOP)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    @staticmethod
    def _stop_services(scratch: Path) -> None:
        """Stop the services of tests that were killed; by the project's own code, not the copy's."""
        for stack in scratch.glob("ecommerce-tests-*/stack"):
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
