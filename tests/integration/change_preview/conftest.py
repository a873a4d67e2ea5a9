"""The shop of the pages, which a preview reads as the role `previewer`."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.integration.shop_pages.conftest import dsn_of, filled

__all__ = ["dsn_of", "filled", "previewer"]


@pytest.fixture
def previewer(filled: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection]:
    """A session of the role, to which the variables of `profiles.yml` lead as well."""
    address = conninfo_to_dict(filled("previewer"))
    parts = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password", "DBNAME": "dbname"}
    for name, part in parts.items():
        monkeypatch.setenv(f"WAREHOUSE_{name}", str(address[part]))
    with psycopg.connect(filled("previewer"), autocommit=True) as connection:
        yield connection
