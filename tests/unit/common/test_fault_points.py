"""The fault points: nothing happens unless one is armed, and then at that pass of that point alone."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecommerce.common import fault_points

PACKAGE = Path(fault_points.__file__).parents[1]


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    fault_points.arm(None)


def test_nothing_happens_unless_a_point_is_armed() -> None:
    for name in fault_points.POINTS:
        fault_points.point(name)


def test_the_armed_point_acts_at_its_pass_and_once() -> None:
    fault_points.arm("mid_copy@3:raise")
    for name in ("before_read", "mid_copy", "mid_copy", "before_commit"):
        fault_points.point(name)
    with pytest.raises(fault_points.FaultRaised):
        fault_points.point("mid_copy")
    fault_points.point("mid_copy")


@pytest.mark.parametrize("text", ["before_comit:kill", "before_commit", "before_commit:explode", "mid_copy@x:kill"])
def test_a_fault_that_would_never_happen_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"ECOMMERCE_FAULT={text} is not of the form")):
        fault_points.arm(text)


def test_the_variable_arms_a_process() -> None:
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            "from ecommerce.common.fault_points import point; point('written_to_raw'); point('after_commit')",
        ],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), "ECOMMERCE_FAULT": "after_commit:kill"},
        check=False,
    )
    assert killed.returncode == -9


def test_the_list_is_what_the_code_has() -> None:
    called = [
        name
        for path in PACKAGE.rglob("*.py")
        if path != Path(fault_points.__file__)
        for name in re.findall(r"fault_points\.point\(\"(\w+)\"\)", path.read_text())
    ]
    assert sorted(set(called)) == sorted(fault_points.POINTS)
