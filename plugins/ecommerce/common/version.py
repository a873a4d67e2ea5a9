"""The project's version: the one of `pyproject.toml`."""

from __future__ import annotations

import tomllib
from functools import cache

from ecommerce.common.shop import PROJECT


@cache
def version() -> str:
    """
    E.g. `0.1.0`.

    :raises FileNotFoundError: `plugins` was deployed without the project's `pyproject.toml`
    """
    project: dict[str, str] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return project["version"]
