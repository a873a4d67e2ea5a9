"""The fault points: nothing happens unless one is armed, and then at that pass of that point alone."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecommerce import faults

PACKAGE = Path(faults.__file__).parent


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    faults.arm(None)


def test_nothing_happens_unless_a_point_is_armed() -> None:
    for name in faults.POINTS:
        faults.point(name)


def test_the_armed_point_acts_at_its_pass_and_once() -> None:
    faults.arm("mid_copy@3:raise")
    for name in ("before_read", "mid_copy", "mid_copy", "before_commit"):
        faults.point(name)
    with pytest.raises(faults.FaultRaised):
        faults.point("mid_copy")
    faults.point("mid_copy")


@pytest.mark.parametrize("text", ["before_comit:kill", "before_commit", "before_commit:explode", "mid_copy@x:kill"])
def test_a_fault_that_would_never_happen_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"ECOMMERCE_FAULT={text} is not of the form")):
        faults.arm(text)


def test_the_variable_arms_a_process() -> None:
    killed = subprocess.run(
        [sys.executable, "-c", "from ecommerce import faults; faults.point('landed'); faults.point('after_commit')"],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), "ECOMMERCE_FAULT": "after_commit:kill"},
        check=False,
    )
    assert killed.returncode == -9


def test_the_list_is_what_the_code_has() -> None:
    called = [
        name
        for path in PACKAGE.rglob("*.py")
        if path != Path(faults.__file__)
        for name in re.findall(r"faults\.point\(\"(\w+)\"\)", path.read_text())
    ]
    assert sorted(set(called)) == sorted(faults.POINTS)
