"""Create the connections, variables and pools of `airflow_settings.yaml` in a running Airflow, through its API."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml

from include.demo.airflow_api import AirflowApi
from include.demo.errors import StackError

_PLACEHOLDER = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def read_settings(path: Path, values: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """
    Read the file's three lists; fill in `${NAME}` and `${NAME:-default}` from ``values`` or the environment.

    :raises StackError: the file does not have this form, or a value for a name is missing
    """
    known = {**os.environ, **values}

    def value_of(match: re.Match[str]) -> str:
        name, default = match.groups()
        value = known.get(name, default)
        if value is None:
            raise StackError(f"{path.name} needs a value for {name}; set it in the environment")
        return value

    def fill_in(entry: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: _PLACEHOLDER.sub(value_of, value) if isinstance(value, str) else value
            for name, value in entry.items()
        }

    try:
        airflow = yaml.safe_load(path.read_text())["airflow"]
        return {
            name: [fill_in(entry) for entry in airflow.get(name) or []]
            for name in ("connections", "variables", "pools")
        }
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise StackError(f"{path.name} is not of the form `airflow: connections, variables, pools`: {error}") from error


def apply_settings(api: AirflowApi, settings: Mapping[str, list[dict[str, Any]]]) -> None:
    """Create or replace the connections, variables and pools of the settings; others stay as they are."""
    api.overwrite("connections", [_connection(entry) for entry in settings["connections"]])
    api.overwrite(
        "variables",
        [
            {
                "key": entry["variable_name"],
                "value": str(entry["variable_value"]),
                "description": entry.get("variable_description"),
            }
            for entry in settings["variables"]
        ],
    )
    api.overwrite(
        "pools",
        [
            {
                "name": entry["pool_name"],
                "slots": int(entry["pool_slot"]),
                "description": entry.get("pool_description"),
                "include_deferred": False,
            }
            for entry in settings["pools"]
        ],
    )


def _connection(entry: Mapping[str, Any]) -> dict[str, Any]:
    extra = entry.get("conn_extra")
    connection: dict[str, Any] = {
        "connection_id": entry["conn_id"],
        "conn_type": entry.get("conn_type"),
        "description": entry.get("conn_description"),
        "extra": extra if isinstance(extra, str) or extra is None else json.dumps(extra),
    }
    if uri := entry.get("conn_uri"):
        parts = urlsplit(uri)
        is_http = parts.scheme in ("http", "https")
        connection |= {
            # For HTTP, Airflow keeps the scheme of the URL where other connections keep the database.
            "conn_type": "http" if is_http else parts.scheme.removesuffix("ql"),
            "schema": parts.scheme if is_http else parts.path.lstrip("/") or None,
            "host": parts.hostname,
            "port": parts.port,
            "login": unquote(parts.username) if parts.username else None,
            "password": unquote(parts.password) if parts.password else None,
        }
        if parts.query:
            connection["extra"] = json.dumps(dict(parse_qsl(parts.query)))
    return connection
