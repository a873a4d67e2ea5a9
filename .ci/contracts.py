"""
A data contract (ODCS) of each mart and each source: `make contracts`.

Made from what is there: dbt's manifest, the registry of sources, the shop's profile and `checks.yml`. Each is validated
by the JSON schema of the standard before it is written.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import yaml

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "plugins"), str(ROOT)]

from ecommerce.audit.checks_file import read_checks  # noqa: E402
from ecommerce.common.shop import SourceLocation, shop  # noqa: E402
from ecommerce.common.sources import CALENDAR, SOURCES, Column, Kind, Source, WriteDisposition  # noqa: E402
from ecommerce.common.value_rules import SQL_TYPES  # noqa: E402
from ecommerce.common.version import version  # noqa: E402
from ecommerce.dag_defaults import OWNER  # noqa: E402
from include.demo.settings import read_settings  # noqa: E402
from shop_pages.limits import LATE_AFTER_HOURS  # noqa: E402

#: Version 3.2 of the schema takes contracts of 3.1, and more tools read those.
API_VERSION = "v3.1.0"
PROJECT = "ecommerce-warehouse"
#: SQL type → ODCS's logical type; digits and lengths are cut off before.
LOGICAL_TYPES = {
    "text": "string", "date": "date", "timestamp": "timestamp", "timestamptz": "timestamp", "boolean": "boolean",
    "integer": "integer", "bigint": "integer", "numeric": "number", "text[]": "array",
}  # fmt: skip
#: Least and greatest value of a kind.
BOUNDS: dict[Kind, dict[str, Any]] = {
    Kind.COUNT: {"minimum": 0},
    Kind.MONEY: {"minimum": 0},
    Kind.POSITIVE_MONEY: {"minimum": 0.01},
    Kind.FRACTION: {"minimum": 0, "maximum": 1},
    Kind.AMOUNT: {"minimum": 0},
    Kind.DATE: {"minimum": CALENDAR[0], "maximum": CALENDAR[1]},
}
#: How a source is read and kept, in words.
DISPOSITIONS = {
    WriteDisposition.APPEND: "Append only: each message is read once, by its offset.",
    WriteDisposition.REPLACE_WINDOW: "Read by window: rows of the days that are read again replace those read before.",
    WriteDisposition.VERSION_LOG: "Read whole: each change of a key becomes a version; a key that is gone is deleted.",
}
#: Kinds of checks that are about every source.
OF_EVERY_SOURCE = {"freshness", "completeness", "quarantined", "rows_of_loads"}

Contract = dict[str, Any]
Node = Mapping[str, Any]


def main() -> int:
    """Write all contracts, and say how many."""
    parser = argparse.ArgumentParser(prog="make contracts", description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="dbt's manifest.json")
    parser.add_argument("--folder", type=Path, default=ROOT / "contracts", help="where to write them")
    arguments = parser.parse_args()
    manifest = json.loads(arguments.manifest.read_text())
    arguments.folder.mkdir(parents=True, exist_ok=True)
    contracts = {**marts_of(manifest), **sources_of(manifest)}
    for name, contract in contracts.items():
        validate(contract)
        text = yaml.safe_dump(contract, sort_keys=False, allow_unicode=True, width=120)
        (arguments.folder / f"{name}.odcs.yaml").write_text(text)
    print(f"{len(contracts)} contracts in {arguments.folder}, valid by ODCS {API_VERSION}")
    return 0


def validate(contract: Contract) -> None:
    """
    Validate a contract.

    :raises jsonschema.ValidationError: it is not valid
    """
    _validator().validate(contract)


@cache
def _validator() -> jsonschema.Draft201909Validator:
    text = (resources.files("open_data_contract_standard") / "schema.json").read_text()
    return jsonschema.Draft201909Validator(json.loads(text))


# -- marts -------------------------------------------------------------------------------------------------------------


def marts_of(manifest: Node) -> dict[str, Contract]:
    """File name → contract, of each published mart."""
    nodes = manifest["nodes"]
    found = {}
    for unique_id, node in sorted(nodes.items(), key=lambda entry: entry[1]["name"]):
        if node["resource_type"] != "model" or node["schema"] != "marts_build":
            continue
        tests = [test for test in nodes.values() if _is_test_of(test, unique_id)]
        exposures = [
            exposure for exposure in manifest["exposures"].values() if unique_id in exposure["depends_on"]["nodes"]
        ]
        found[f"marts.{node['name']}"] = _mart(node, tests, exposures)
    return found


def _mart(node: Node, tests: list[Node], exposures: list[Node]) -> Contract:
    name, key = node["name"], _key_of(node)
    first_date = next((column for column in key if node["columns"][column]["data_type"] == "date"), None)
    return {
        **_head(f"marts.{name}", domain=node["fqn"][-2]),
        "description": {
            "purpose": node["description"],
            "usage": "Read the schema marts by the role reader; one transaction publishes all marts.",
            "limitations": "A figure may change when rows come late: a run rebuilds the days that they belong to.",
        },
        "servers": [_warehouse("marts")],
        "schema": [
            {
                "name": name,
                "logicalType": "object",
                "physicalType": "table",
                "physicalName": f"marts.{name}",
                "description": node["description"],
                "dataGranularityDescription": re.split(r"(?<=\.)\s", node["description"])[0],
                "properties": [
                    _column_of_mart(column, key, [test for test in tests if test.get("column_name") == column["name"]])
                    for column in node["columns"].values()
                ],
                "quality": [
                    {
                        "name": "one_row_a_key",
                        "type": "library",
                        "metric": "duplicateValues",
                        "arguments": {"properties": key},
                        "mustBe": 0,
                        "severity": "error",
                        "description": "A constraint of the table.",
                    },
                    *(_dbt_test(test) for test in tests if not test.get("column_name")),
                    *_checks({name, f"marts.{name}", f"marts_build.{name}"}),
                ],
            }
        ],
        "team": {"name": node["config"]["meta"]["owner"], "description": "The owner of the model."},
        "roles": [
            {"role": "reader", "access": "read", "description": "Reads the schema marts, and nothing else."},
            {
                "role": "inspector",
                "access": "read",
                "description": "Reads where a figure comes from; no e-mail address.",
            },
        ],
        "slaProperties": [
            {"property": "frequency", "value": 1, "unit": "d", "description": "The daily run publishes once a day."},
            {
                "property": "latency",
                "value": LATE_AFTER_HOURS,
                "unit": "h",
                **({"element": f"{name}.{first_date}"} if first_date else {}),
                "description": "A publication that is older is late; /shop/health and an alert rule say so.",
            },
        ],
        "customProperties": [
            {"property": "dbtUniqueId", "value": node["unique_id"]},
            {"property": "consumers", "value": [exposure["label"] or exposure["name"] for exposure in exposures]},
        ],
    }


def _key_of(node: Node) -> list[str]:
    """The columns of the key, in order: of a primary key, or of a unique one in which null is a value like others."""
    for constraint in node["constraints"]:
        if constraint["type"] in ("primary_key", "unique"):
            return list(constraint["columns"])
    return [
        column["name"]
        for column in node["columns"].values()
        if any(constraint["type"] == "primary_key" for constraint in column["constraints"])
    ]


def _column_of_mart(column: Node, key: list[str], tests: list[Node]) -> Contract:
    name, data_type = column["name"], column["data_type"]
    constraints = {constraint["type"] for constraint in column["constraints"]}
    found: Contract = {
        "name": name,
        "logicalType": logical_type(data_type),
        "physicalType": data_type,
        "description": column["description"],
        "required": bool(constraints & {"not_null", "primary_key"}),
        "unique": key == [name],
    }
    if name in key:
        found |= {"primaryKey": True, "primaryKeyPosition": key.index(name) + 1}
    if logical_type(data_type) == "array":
        found["items"] = {"logicalType": "string", "physicalType": data_type.removesuffix("[]")}
    if column["config"].get("meta", {}).get("additive") is False:
        found["customProperties"] = [
            {"property": "additive", "value": False, "description": "It does not add up over rows."}
        ]
    if tests:
        found["quality"] = [_dbt_test(test) for test in tests]
    return found


def _is_test_of(test: Node, unique_id: str) -> bool:
    return test["resource_type"] == "test" and unique_id in test["depends_on"]["nodes"]


def _dbt_test(test: Node) -> Contract:
    """A test of dbt; those that ODCS has a metric for by that."""
    metadata = test.get("test_metadata") or {}
    arguments = {
        name: value for name, value in (metadata.get("kwargs") or {}).items() if name not in ("model", "column_name")
    }
    found: Contract = {"name": test["name"], "severity": test["config"]["severity"].lower()}
    if test.get("description"):
        found["description"] = test["description"]
    if metadata.get("name") == "unique":
        return found | {"type": "library", "metric": "duplicateValues", "mustBe": 0}
    if metadata.get("name") == "accepted_values":
        valid = {"validValues": arguments["values"]}
        return found | {"type": "library", "metric": "invalidValues", "arguments": valid, "mustBe": 0}
    implementation = {"test": metadata.get("name") or test["name"], "arguments": arguments}
    return found | {"type": "custom", "engine": "dbt", "implementation": implementation}


# -- sources -----------------------------------------------------------------------------------------------------------


def sources_of(manifest: Node) -> dict[str, Contract]:
    """File name → contract, of each source that the shop has."""
    described = {source["name"]: source for source in manifest["sources"].values() if source["schema"] == "raw"}
    return {
        f"sources.{name}": _source(SOURCES[name], location, described[name])
        for name, location in shop().sources.items()
        if name in described
    }


def _source(source: Source, location: SourceLocation, described: Node) -> Contract:
    name = source.name
    descriptions = {column["name"]: column["description"] for column in described["columns"].values()}
    return {
        **_head(f"sources.{name}", domain="shop"),
        "description": {
            "purpose": f"What the warehouse expects of {location.where}.",
            "usage": DISPOSITIONS[source.write_disposition],
            "limitations": (
                f"A row that breaks a rule is rejected with the reason; a load of which more than "
                f"{source.max_rejected_share:.0%} and {source.max_rejected_rows} rows are rejected loads nothing."
            ),
        },
        "servers": [_server(location)],
        "schema": [
            {
                "name": name,
                "logicalType": "object",
                "physicalType": {"kafka": "topic", "weather": "api"}.get(source.reader, "table"),
                "physicalName": location.table or location.topic or name,
                "description": described["description"],
                "properties": [_column_of_source(source, column, descriptions) for column in source.columns],
                "quality": list(_checks({name, f"raw.{name}"}, of_every_source=True)),
            }
        ],
        "team": {"name": OWNER, "description": "The owner of the DAGs' tasks, who agrees on this with the shop's own."},
        "slaProperties": list(_freshness(source, described)),
        "customProperties": [
            {"property": "writeDisposition", "value": source.write_disposition.value},
            {"property": "key", "value": list(source.key)},
            {"property": "lookbackDays", "value": source.lookback_days},
        ],
    }


def _column_of_source(source: Source, column: Column, descriptions: Mapping[str, str]) -> Contract:
    sql_type = SQL_TYPES[column.kind]
    found: Contract = {
        "name": column.name,
        "logicalType": logical_type(sql_type),
        "physicalType": sql_type,
        "description": descriptions.get(column.name) or column.name,
        "required": column.required,
    }
    if column.name in source.key:
        found |= {"primaryKey": True, "primaryKeyPosition": list(source.key).index(column.name) + 1}
    options = dict(BOUNDS.get(column.kind, {}))
    if column.bounds:
        options |= dict(zip(("minimum", "maximum"), column.bounds, strict=True))
    if options:
        found["logicalTypeOptions"] = options
    if column.is_personal:
        found["classification"] = "personal"
    if column.default is not None:
        found["customProperties"] = [
            {"property": "default", "value": column.default, "description": "What null means."}
        ]
    return found


def _freshness(source: Source, described: Node) -> Iterator[Contract]:
    limits = {"warn_after": "A load that is older warns.", "error_after": "A load that is older is an error."}
    for limit, text in limits.items():
        if found := (described.get("freshness") or {}).get(limit):
            element = {"element": f"{source.name}.{source.window_column}"} if source.window_column else {}
            unit = {"minute": "min", "hour": "h", "day": "d"}[found["period"]]
            yield {"property": "latency", "value": found["count"], "unit": unit, **element, "description": text}


def _server(location: SourceLocation) -> Contract:
    """Where the source lies, as `airflow_settings.yaml` has its connection; passwords stay there."""
    server: Contract = {"server": location.connection, "description": f"The Airflow connection {location.connection}."}
    connection = _connections().get(location.connection, {})
    if location.topic:
        extra = json.loads(connection.get("conn_extra") or "{}")
        return server | {"type": "kafka", "host": extra.get("bootstrap.servers", "kafka:9092"), "format": "json"}
    uri = urlsplit(connection.get("conn_uri", ""))
    if SOURCES[location.source].reader == "weather":
        return server | {"type": "api", "location": f"{uri.scheme}://{uri.netloc}{uri.path}"}
    if uri.scheme not in ("postgres", "mysql"):
        return server | {"type": "custom"}
    place = {"type": uri.scheme, "host": uri.hostname, "port": uri.port, "database": uri.path.lstrip("/")}
    return server | place | ({"schema": location.schema_name or "public"} if uri.scheme == "postgres" else {})


def _warehouse(schema: str) -> Contract:
    uri = urlsplit(_connections()["warehouse_reader"]["conn_uri"])
    return {
        "server": "warehouse",
        "type": "postgres",
        "description": "The Airflow connection warehouse_reader; host and port are those of your installation.",
        "host": uri.hostname,
        "port": uri.port,
        "database": uri.path.lstrip("/"),
        "schema": schema,
    }


@cache
def _connections() -> dict[str, dict[str, str]]:
    path = ROOT / "airflow_settings.yaml"
    passwords = dict.fromkeys(re.findall(r"\$\{(\w+)\}", path.read_text()), "")
    return {entry["conn_id"]: entry for entry in read_settings(path, passwords)["connections"]}


# -- both --------------------------------------------------------------------------------------------------------------


def _head(name: str, *, domain: str) -> Contract:
    return {
        "apiVersion": API_VERSION,
        "kind": "DataContract",
        # The same in each version of the contract.
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PROJECT}/{name}")),
        "name": name,
        "version": version(),
        "status": "active",
        "domain": domain,
        "dataProduct": PROJECT,
    }


def _checks(tables: set[str], *, of_every_source: bool = False) -> Iterator[Contract]:
    """The checks of `checks.yml` that read one of the tables."""
    for name, check in read_checks().checks.items():
        if (of_every_source and check.kind in OF_EVERY_SOURCE) or tables & set(_words(check.model_dump())):
            yield {
                "name": name,
                "type": "text",
                "description": check.description,
                "severity": {"fail": "error", "warn": "warning"}[check.severity],
            }


def _words(value: Any) -> Iterable[str]:
    """Every text in a check's settings."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [word for part in parts for word in _words(part)]


def logical_type(sql_type: str) -> str:
    """
    The logical type of ODCS.

    :raises KeyError: there is none for the SQL type
    """
    return LOGICAL_TYPES[re.sub(r"\(.*\)", "", sql_type)]


if __name__ == "__main__":
    sys.exit(main())
