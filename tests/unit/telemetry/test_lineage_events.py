"""The events of loads and models, as a receiver gets them by HTTP, and by OpenLineage's own schema."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from dbt_triggerer.node_results import NodeResult
from ecommerce.common.sources import SOURCES
from ecommerce.dag_defaults import DEFAULT_ARGS
from ecommerce.telemetry import lineage_hooks
from include.demo.state import ROOT

#: The folder `spec` of OpenLineage's repository, with its JSON schemas: the events are validated by them, too.
SPEC = os.environ.get("OPENLINEAGE_SPEC")

#: What OpenLineage 2-0-2 requires of each run event.
_NAMED = {
    "type": "object",
    "properties": {"namespace": {"type": "string", "minLength": 1}, "name": {"type": "string", "minLength": 1}},
    "required": ["namespace", "name"],
}
_FACETS = {
    "additionalProperties": {
        "type": "object",
        "properties": {name: {"type": "string", "format": "uri"} for name in ("_producer", "_schemaURL")},
        "required": ["_producer", "_schemaURL"],
    }
}
REQUIRED = {
    "type": "object",
    "properties": {
        "eventTime": {"type": "string", "format": "date-time"},
        "producer": {"type": "string", "format": "uri"},
        "schemaURL": {"const": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"},
        "eventType": {"enum": ["START", "COMPLETE", "FAIL"]},
        "run": {
            "properties": {"runId": {"type": "string", "format": "uuid"}, "facets": _FACETS},
            "required": ["runId", "facets"],
        },
        "job": {**_NAMED, "properties": {**_NAMED["properties"], "facets": _FACETS}},  # type: ignore[dict-item]
        "inputs": {"items": {**_NAMED, "properties": {"facets": _FACETS, "inputFacets": _FACETS}}},
        "outputs": {"items": {**_NAMED, "properties": {"facets": _FACETS, "outputFacets": _FACETS}}},
    },
    "required": ["eventTime", "producer", "schemaURL", "eventType", "run", "job", "inputs", "outputs"],
}

MANIFEST = {
    "nodes": {
        "model.shop.stg": {
            "name": "stg", "resource_type": "model", "schema": "staging", "alias": "stg",
            "columns": {"id": {"name": "id", "data_type": "text", "description": "The key."}},
            "depends_on": {"nodes": ["source.shop.shop.sales_fact"]},
        },
        "model.shop.mart": {
            "name": "mart", "resource_type": "model", "schema": "marts_build", "alias": "mart",
            "columns": {
                "day": {"name": "day", "data_type": "date", "description": ""},
                "revenue": {"name": "revenue", "data_type": "numeric(18, 2)", "description": "Of the day."},
            },
            "depends_on": {"nodes": ["model.shop.stg"]},
        },
        "test.shop.a_test": {"name": "a_test", "resource_type": "test", "schema": "x", "columns": {}},
    },
    "sources": {
        "source.shop.shop.sales_fact": {
            "name": "sales_fact", "resource_type": "source", "schema": "raw", "identifier": "sales_fact",
            "columns": {"order_id": {"name": "order_id", "description": "The order."}},
        }
    },
}  # fmt: skip


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """The events that a server receives, to which the environment leads."""
    events: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/api/v1/lineage"
            events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{server.server_port}")
        for name in ("LOADER", "TRANSFORMER"):
            monkeypatch.setenv(f"AIRFLOW_CONN_WAREHOUSE_{name}", f"postgres://{name.lower()}:secret@wh:5499/dwh")
        monkeypatch.setenv("AIRFLOW_CONN_SHOP_POSTGRES", "postgres://shop:secret@shop-db/shop")
        monkeypatch.setenv(
            "AIRFLOW_CONN_SHOP_KAFKA",
            '{"conn_type": "kafka", "extra": {"bootstrap.servers": "k1:9092,k2:9092", "sasl.password": "secret"}}',
        )
        monkeypatch.setenv("AIRFLOW_CONN_WEATHER_API", "https://weather.example")
        (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
        from ecommerce.telemetry import lineage_events

        monkeypatch.setattr(lineage_events, "MANIFEST", tmp_path / "manifest.json")
        before = dict(os.environ)
        yield events
        # The client writes its settings into the environment.
        for name in set(os.environ) - set(before):
            del os.environ[name]
        server.shutdown()
    for event in events:
        assert "secret" not in json.dumps(event)
        jsonschema.Draft202012Validator(REQUIRED, format_checker=jsonschema.FormatChecker()).validate(event)
        if SPEC:
            validate_by_spec(event, Path(SPEC))


def validate_by_spec(event: dict[str, Any], folder: Path) -> None:
    """Validate an event, and each of its facets by the facet's own schema."""
    from referencing import Registry, Resource

    found = [folder / "OpenLineage.json", *(folder / "facets").glob("*.json")]
    schemas = [json.loads(path.read_text()) for path in found]
    registry: Any = Registry().with_resources([(schema["$id"], Resource.from_contents(schema)) for schema in schemas])

    def validator(reference: str) -> Any:
        return jsonschema.Draft202012Validator({"$ref": reference}, registry=registry)

    validator(event["schemaURL"]).validate(event)
    for part in (event["run"], event["job"], *event["inputs"], *event["outputs"]):
        for kind in ("facets", "inputFacets", "outputFacets"):
            for facet in (part.get(kind) or {}).values():
                validator(facet["_schemaURL"]).validate(facet)


def context_of(task_id: str, **task: Any) -> Any:
    moment = datetime(2024, 3, 2, 0, 5, tzinfo=UTC)
    ti = SimpleNamespace(dag_id="ecommerce_warehouse", task_id=task_id, try_number=1, start_date=moment)
    run = SimpleNamespace(
        dag_id=ti.dag_id,
        run_id="the run",
        run_after=moment,
        logical_date=moment,
        data_interval_start=None,
        data_interval_end=None,
    )
    params = {"start_date": "2024-03-01", "end_date": "2024-03-01", "sources": ["sales_fact"]}
    return {"ti": ti, "dag_run": run, "task": SimpleNamespace(**task), "params": params}


def report(function: str, *arguments: Any) -> None:
    from ecommerce.telemetry import lineage_events

    getattr(lineage_events, function)(*arguments)


def fields(dataset: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(field["name"], field.get("type")) for field in dataset["facets"]["schema"]["fields"]]


def test_load_names_source_and_raw_table_with_columns_and_rows(received: list[dict[str, Any]]) -> None:
    context = context_of("extract.sales_fact", source="sales_fact")
    report("report_load", context, {"rows_read": 10, "rows_loaded": 7})
    start, end = received
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == end["run"]["runId"]
    assert (end["job"]["namespace"], end["job"]["name"]) == ("ecommerce", "ecommerce_warehouse.extract.sales_fact")
    (read,), (written,) = end["inputs"], end["outputs"]
    assert (read["namespace"], read["name"]) == ("postgres://shop-db:5432", "shop.public.sales_fact")
    assert (written["namespace"], written["name"]) == ("postgres://wh:5499", "dwh.raw.sales_fact")
    assert fields(written)[:2] == [("order_id", "text"), ("line_number", "integer")]
    assert len(fields(read)) == len(SOURCES["sales_fact"].columns)
    assert read["inputFacets"]["inputStatistics"]["rowCount"] == 10
    assert written["outputFacets"]["outputStatistics"]["rowCount"] == 7
    nominal = end["run"]["facets"]["nominalTime"]
    assert (nominal["nominalStartTime"], nominal["nominalEndTime"]) == (
        "2024-03-01T00:00:00+00:00", "2024-03-02T00:00:00+00:00"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("kafka_stream", ("kafka://k1:9092", "customer_interactions")),
        ("weather_data", ("https://weather.example", "weather_data")),
    ],
)
def test_topic_and_api_have_their_own_names(
    received: list[dict[str, Any]], source: str, place: tuple[str, str]
) -> None:
    report("report_load", context_of(f"extract.{source}", source=source), {"rows_read": 1, "rows_loaded": 1})
    assert (received[1]["inputs"][0]["namespace"], received[1]["inputs"][0]["name"]) == place


def test_failed_load_has_the_kind_of_its_error_and_no_rows(received: list[dict[str, Any]]) -> None:
    context = context_of("extract.sales_fact", source="sales_fact") | {"exception": ValueError("no such table")}
    report("report_failed_load", context)
    assert [event["eventType"] for event in received] == ["START", "FAIL"]
    assert received[1]["run"]["facets"]["errorMessage"]["message"] == "ValueError; see the task's log"
    assert not received[1]["outputs"][0].get("outputFacets")


def test_build_has_a_run_for_each_model_under_that_of_the_dag(received: list[dict[str, Any]]) -> None:
    times: Any = {"started_at": "2024-03-02T00:06:00+00:00", "finished_at": "2024-03-02T00:06:02+00:00"}
    results = [
        NodeResult("model.shop.stg", "success", **times),
        NodeResult("test.shop.a_test", "pass", **times),
        NodeResult("model.shop.mart", "error", message="division by zero", rows=3, **times),
        NodeResult("model.shop.gone", "success", **times),
    ]
    report("report_build", context_of("warehouse.dbt_build", results=results), None)
    assert [(event["job"]["name"].split(".")[1], event["eventType"]) for event in received] == [
        ("stg", "START"), ("stg", "COMPLETE"), ("mart", "START"), ("mart", "FAIL")
    ]  # fmt: skip
    assert len({event["run"]["runId"] for event in received}) == 2
    parents = {json.dumps(event["run"]["facets"]["parent"]["run"]) for event in received}
    assert len(parents) == 1
    stg, mart = received[1], received[3]
    assert [dataset["name"] for dataset in stg["inputs"]] == ["dwh.raw.sales_fact"]
    assert [dataset["name"] for dataset in mart["inputs"]] == ["dwh.staging.stg"]
    assert [dataset["name"] for dataset in mart["outputs"]] == ["dwh.marts_build.mart"]
    assert fields(mart["outputs"][0]) == [("day", "date"), ("revenue", "numeric(18, 2)")]
    assert mart["run"]["facets"]["errorMessage"]["message"] == "error; see the task's log", "a message may quote values"
    assert (mart["eventTime"], received[2]["eventTime"]) == (times["finished_at"], times["started_at"])
    # The same DAG run is the parent of its loads.
    report("report_load", context_of("extract.sales_fact", source="sales_fact"), {"rows_read": 1, "rows_loaded": 1})
    assert json.dumps(received[-1]["run"]["facets"]["parent"]["run"]) in parents


def test_rows_of_a_model_are_those_that_dbt_reports(received: list[dict[str, Any]]) -> None:
    times: Any = {"started_at": "2024-03-02T00:06:00+00:00", "finished_at": "2024-03-02T00:06:02+00:00"}
    results = [NodeResult("model.shop.mart", "success", rows=3, **times), NodeResult("model.shop.stg", "skipped")]
    report("report_build", context_of("warehouse.dbt_build", results=results), None)
    assert len(received) == 2
    assert received[1]["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 3


def test_receiver_that_is_away_fails_no_task(
    received: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "http")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__URL", "http://127.0.0.1:9")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__RETRY", '{"total": 0}')
    report("report_load", context_of("extract.product", source="product"), {"rows_read": 1, "rows_loaded": 1})
    assert received == []
    assert "the lineage could not be reported" in caplog.text


# -- on and off --------------------------------------------------------------------------------------------------------


def names(hooks: list[Callable]) -> list[str]:
    return [hook.__name__ for hook in hooks]


def test_tasks_have_no_hooks_while_lineage_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lineage_hooks.load_hooks(DEFAULT_ARGS) == {}
    assert lineage_hooks.build_hook() is None
    monkeypatch.setenv("OPENLINEAGE_URL", "http://receiver")
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    assert lineage_hooks.load_hooks(DEFAULT_ARGS) == {}


def test_extracts_and_build_report_while_lineage_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("OPENLINEAGE_URL", "http://receiver")
    bag = DagBag(ROOT / "dags" / "extract_sources.py", load_op_links=False)
    assert bag.import_errors == {}
    task: Any = bag.dags["extract_product"].get_task("extract")
    assert names(task.on_failure_callback) == ["note_failure", "alert_failure", "report_failed_load"]
    assert names([task._post_execute_hook]) == ["report_load"]
    hook = lineage_hooks.build_hook()
    assert hook is not None
    assert hook.__name__ == "report_build"
