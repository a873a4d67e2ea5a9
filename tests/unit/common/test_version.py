"""The version stands in one place, and is shown."""

from __future__ import annotations

import re
import tomllib

from ecommerce.common.version import version
from include.demo.state import ROOT


def test_version_is_the_one_of_pyproject() -> None:
    assert version() == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version())


def test_licence_is_the_one_that_pyproject_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    (name,) = project["license-files"]
    text = (ROOT / name).read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
