"""docs/guarantees.md: each promise about loading names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
PROMISES = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| Promise", "| ---"))]
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
