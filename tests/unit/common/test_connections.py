"""The arguments with which every connection to Postgres is made, from an Airflow connection."""

import json

import pytest
from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk import Connection

from ecommerce.common.connections import SESSION, connect_arguments


def account(**extra: object) -> Connection:
    return Connection(
        conn_id="warehouse_loader", conn_type="postgres", host="db", port=5433, login="loader", password="secret",
        schema="warehouse", extra=json.dumps(extra),
    )  # fmt: skip


def test_connect_arguments_have_account_timeouts_and_session() -> None:
    arguments = connect_arguments(account(), SESSION)
    assert arguments.items() >= {
        "host": "db", "port": 5433, "user": "loader", "password": "secret", "dbname": "warehouse", "options": SESSION,
    }.items()  # fmt: skip
    assert arguments["connect_timeout"] > 0
    assert arguments["tcp_user_timeout"] > 0


def test_connect_arguments_of_extra_override_timeouts_and_add_options() -> None:
    arguments = connect_arguments(
        account(connect_timeout=3, sslmode="require", options="-c work_mem=1GB", cursor="dictcursor"), "-c timezone=UTC"
    )
    assert (arguments["connect_timeout"], arguments["sslmode"]) == (3, "require")
    assert arguments["options"] == "-c timezone=UTC -c work_mem=1GB"
    assert "cursor" not in arguments


def test_connect_arguments_with_iam_have_token_for_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PostgresHook, "get_iam_token", lambda self, conn: (conn.login, "token", conn.port))
    arguments = connect_arguments(account(iam=True), SESSION)
    assert (arguments["user"], arguments["password"], arguments["port"]) == ("loader", "token", 5433)
    assert "iam" not in arguments
