"""The packages that know of each other can be imported in any order."""

import subprocess
import sys

import pytest

from include.demo.state import ROOT


@pytest.mark.parametrize("package", ["ecommerce.load", "ecommerce.extract.readers"])
def test_a_package_can_be_the_first_one_imported(package: str) -> None:
    started = subprocess.run(
        [sys.executable, "-c", f"import {package}"],
        cwd=ROOT / "plugins",
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 0, started.stderr
