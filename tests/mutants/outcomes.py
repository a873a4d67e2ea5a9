"""A plugin of pytest for the runs with mutants: it writes each test's seconds, and which tests failed, to a file."""

import json
import os
from pathlib import Path

import pytest

#: The environment variable with the path of the file.
FILE = "MUTANTS_OUTCOMES"

_seconds: dict[str, float] = {}
_failed: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0) + report.duration
    if report.failed:
        _failed.append(report.nodeid)


def pytest_sessionfinish() -> None:
    Path(os.environ[FILE]).write_text(json.dumps({"seconds": _seconds, "failed": _failed}))
