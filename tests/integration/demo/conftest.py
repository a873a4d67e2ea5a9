"""A shop database a test, so that each starts empty."""

from collections.abc import Callable

import pytest


@pytest.fixture
def shop_dsn(new_database: Callable[[str], str]) -> str:
    """A fresh, empty database."""
    return new_database("shop")
