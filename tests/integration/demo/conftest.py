"""A generated shop for all tests, and a new shop database for each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from include.demo.shop.generate import SMALLEST, generate


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the smallest shop that can be generated."""
    folder = tmp_path_factory.mktemp("shop")
    sizes: dict[str, Any] = {**SMALLEST}
    generate(folder, **sizes)
    return folder


@pytest.fixture
def shop_dsn(new_database: Callable[[str], str]) -> str:
    """A fresh, empty database."""
    return new_database("shop")
