"""`airflow_settings.yaml`: placeholders are filled in, and entries converted to those of Airflow's API."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecommerce.common.connections import LOADER, PUBLISHER, TRANSFORMER
from ecommerce.common.shop import shop
from ecommerce.dag_defaults import CLAIM_POOL
from ecommerce.extract.weather_reader import CITIES
from include.demo.errors import StackError
from include.demo.settings import apply_settings, read_settings
from include.demo.stack import SETTINGS
from shop_pages.limits import INSPECTOR, READER

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "airflow_settings.yaml"
        path.write_text(text)
        return path

    return write


class Api:
    """Keeps the entities that are sent to the API."""

    def __init__(self) -> None:
        self.entities: dict[str, list[dict[str, Any]]] = {}

    def overwrite(self, kind: str, entities: list[dict[str, Any]]) -> None:
        self.entities[kind] = entities


def applied(settings: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    api = Api()
    apply_settings(api, settings)  # type: ignore[arg-type]
    return api.entities


def connection(write: Write, *lines: str, **values: str) -> dict[str, Any]:
    """The connection of these lines, as it is sent to the API."""
    text = "airflow:\n  connections:\n    - conn_id: it\n" + "".join(f"      {line}\n" for line in lines)
    (made,) = applied(read_settings(write(text), values))["connections"]
    return {name: value for name, value in made.items() if value is not None}


def test_placeholders_are_filled_from_values_then_environment(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_ENVIRONMENT", "environment")
    monkeypatch.setenv("PASSED", "not this one")
    path = write(
        "airflow:\n  variables:\n    - variable_name: v\n"
        "      variable_value: '${PASSED} ${FROM_ENVIRONMENT} ${UNSET:-default} ${EMPTY:-} $PLAIN {a} ${PASSED:-x}'\n"
    )
    (variable,) = read_settings(path, {"PASSED": "passed"})["variables"]
    assert variable["variable_value"] == "passed environment default  $PLAIN {a} passed"


def test_missing_value_is_an_error(write: Write) -> None:
    path = write("airflow:\n  connections:\n    - conn_id: it\n      conn_uri: http://${NOT_SET}\n")
    with pytest.raises(StackError, match=r"airflow_settings\.yaml needs a value for NOT_SET"):
        read_settings(path, {})


@pytest.mark.parametrize(
    "text", ["", "[]", "airflow", "air: {}", "airflow: [1]", "airflow: {connections: [x]}", "a: ["]
)
def test_malformed_file_is_an_error(write: Write, text: str) -> None:
    with pytest.raises(StackError, match=r"airflow_settings\.yaml is not of the form"):
        read_settings(write(text), {})


def test_lists_may_be_missing_or_empty(write: Write) -> None:
    nothing: dict[str, list] = {"connections": [], "variables": [], "pools": []}
    assert read_settings(write("airflow: {}"), {}) == nothing
    assert read_settings(write("airflow:\n  pools:\n"), {}) == nothing


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (
            "postgres://me:p%40ss%2F@db.example:5433/warehouse",
            {
                "conn_type": "postgres",
                "host": "db.example",
                "port": 5433,
                "schema": "warehouse",
                "login": "me",
                "password": "p@ss/",
            },
        ),
        ("postgresql://db/warehouse", {"conn_type": "postgres", "host": "db", "schema": "warehouse"}),
        (
            "postgres://db/warehouse?sslmode=require&connect_timeout=5",
            {
                "conn_type": "postgres",
                "host": "db",
                "schema": "warehouse",
                "extra": '{"sslmode": "require", "connect_timeout": "5"}',
            },
        ),
        ("http://127.0.0.1:8090", {"conn_type": "http", "schema": "http", "host": "127.0.0.1", "port": 8090}),
        (
            "https://archive-api.open-meteo.com",
            {"conn_type": "http", "schema": "https", "host": "archive-api.open-meteo.com"},
        ),
        (
            "http://admin:secret@localhost:8080",
            {
                "conn_type": "http",
                "schema": "http",
                "host": "localhost",
                "port": 8080,
                "login": "admin",
                "password": "secret",
            },
        ),
    ],
)
def test_connection_uri_is_split_into_fields(write: Write, uri: str, expected: dict[str, Any]) -> None:
    assert connection(write, f"conn_uri: {uri}") == {"connection_id": "it", **expected}


@pytest.mark.parametrize("extra", ["""'{"bootstrap.servers": "${BROKER}"}'""", '{bootstrap.servers: "b:9092"}'])
def test_connection_extra_is_sent_as_json(write: Write, extra: str) -> None:
    made = connection(write, "conn_type: kafka", f"conn_extra: {extra}", BROKER="b:9092")
    assert made == {"connection_id": "it", "conn_type": "kafka", "extra": '{"bootstrap.servers": "b:9092"}'}


def test_variables_and_pools_are_converted(write: Write) -> None:
    made = applied(
        read_settings(
            write(
                "airflow:\n  variables:\n    - {variable_name: n, variable_value: 5}\n"
                "  pools:\n    - {pool_name: one, pool_slot: '1', pool_description: a pool}\n"
            ),
            {},
        )
    )
    assert made["variables"] == [{"key": "n", "value": "5", "description": None}]
    assert made["pools"] == [{"name": "one", "slots": 1, "description": "a pool", "include_deferred": False}]


def test_project_settings_define_all_entries_used_by_the_dags(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {"LOADER_PASSWORD": "l", "TRANSFORMER_PASSWORD": "t", "PUBLISHER_PASSWORD": "p", "SHOP_PASSWORD": "s"}
    secrets |= {"READER_PASSWORD": "r", "INSPECTOR_PASSWORD": "i", "REVIEWER_PASSWORD": "v", "AIRFLOW_PASSWORD": "a"}
    made = applied(read_settings(SETTINGS, secrets))
    connections = {entry["connection_id"]: entry for entry in made["connections"]}
    assert {
        LOADER,
        TRANSFORMER,
        PUBLISHER,
        READER,
        INSPECTOR,
        *(location.connection for location in shop().sources.values()),
    } <= set(connections)
    assert connections[LOADER]["password"] == "l"
    assert "bootstrap.servers" in json.loads(connections["shop_kafka"]["extra"])
    (cities,) = [variable["value"] for variable in made["variables"] if variable["key"] == CITIES]
    assert all(len(place) == 2 for place in json.loads(cities).values())
    assert [pool["slots"] for pool in made["pools"] if pool["name"] == CLAIM_POOL] == [1]


def test_project_settings_without_password_are_an_error() -> None:
    with pytest.raises(StackError, match="needs a value for LOADER_PASSWORD"):
        read_settings(SETTINGS, {"SHOP_PASSWORD": "s", "AIRFLOW_PASSWORD": "a"})
