"""The pages over a small warehouse whose figures are known, asked by users with tokens of Airflow's own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date

import psycopg
import pytest
from airflow.api_fastapi.app import get_auth_manager, init_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi.testclient import TestClient
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ecommerce.ui.app import create_app
from include.demo.state import State

AS_OF = date(2024, 3, 1)


@pytest.fixture(scope="session")
def tokens() -> dict[str, str]:
    """Role → a token that Airflow made; `nobody` is a user without a role."""
    init_auth_manager()
    roles = {"viewer": "VIEWER", "user": "USER", "admin": "ADMIN", "nobody": None}
    return {
        name: get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=name, role=role))
        for name, role in roles.items()
    }


@pytest.fixture(scope="module")
def as_role(warehouse_dsn: str, postgres: State, set_connection: Callable[[str, str], None]) -> Callable[[str], str]:
    """The DSN of the module's warehouse for a role."""

    def dsn(role: str) -> str:
        parts = conninfo_to_dict(warehouse_dsn) | {"user": role, "password": postgres.passwords[role]}
        return make_conninfo("", **parts)

    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        name = conninfo_to_dict(warehouse_dsn)["dbname"]
        connection.execute(f'grant connect on database "{name}" to reader, inspector'.encode())
    for role in ("reader", "inspector"):
        parts = conninfo_to_dict(dsn(role))
        set_connection(
            f"warehouse_{role}",
            "postgres://{user}:{password}@{host}:{port}/{dbname}".format(**parts),
        )
    return dsn


@contextmanager
def client_of(token: str | None) -> Iterator[TestClient]:
    """A client of an application of its own, with the lifespan that Airflow gives it."""
    with TestClient(create_app(), base_url="http://testserver", follow_redirects=False) as client:
        if token:
            client.headers["Authorization"] = f"Bearer {token}"
        yield client
