"""Each promise about loading names tests, and they are there."""

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
def test_a_promise_names_tests_that_are_there(promise: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", promise))
    assert named
    assert named <= TESTS


def test_the_page_makes_promises_and_names_what_it_does_not_promise() -> None:
    assert len(PROMISES) > 15
    assert "## What is not promised" in PAGE
