"""docs/guarantees.md and docs/threat_model.md: each promise and each boundary names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
PROMISES = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| Promise", "| ---"))]
BOUNDARIES = [
    line
    for line in (ROOT / "docs" / "threat_model.md").read_text().split("## The boundaries")[1].splitlines()
    if line.startswith("| ") and not line.startswith(("| Boundary", "| ---"))
]
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("promise", PROMISES, ids=lambda line: line[2:50])
def test_promise_names_existing_tests(promise: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", promise))
    assert named
    assert named <= TESTS


def test_page_has_promises_and_says_what_is_not_promised() -> None:
    assert len(PROMISES) > 15
    assert "## What is not promised" in PAGE


@pytest.mark.parametrize("boundary", BOUNDARIES, ids=lambda line: line[2:50])
def test_boundary_names_existing_tests(boundary: str) -> None:
    tests = boundary.split("|")[3]
    named, modules = set(re.findall(r"`(test_\w+)`", tests)), re.findall(r"`(tests/[\w/]+\.py)`", tests)
    assert named or modules
    assert named <= TESTS
    for module in modules:
        assert (ROOT / module).is_file(), module


def test_threat_model_has_each_boundary_and_what_is_left() -> None:
    assert len(BOUNDARIES) > 10
    assert "## What each could still do" in (ROOT / "docs" / "threat_model.md").read_text()
