"""A new shop database for each test."""

from collections.abc import Callable

import pytest


@pytest.fixture
def shop_dsn(new_database: Callable[[str], str]) -> str:
    """A fresh, empty database."""
    return new_database("shop")
