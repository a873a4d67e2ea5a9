"""What Airflow's backends send of the gauges, by UDP, and that alert rules and dashboard name only what is sent."""

import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import promql_parser
import pytest
import yaml
from airflow.sdk.observability import stats

from ecommerce.telemetry import gauges
from ecommerce.telemetry.gauges import GAUGES, Gauge
from include.demo.state import ROOT

DEPLOY = ROOT / "deploy"
#: One gauge of each name; those with a label have it.
ONE_OF_EACH = [Gauge(name, 12.5, "x1" if label else None) for name, label in GAUGES.items()]
#: Name in Prometheus → label.
IN_PROMETHEUS = {f"airflow_{name.replace('.', '_')}": label for name, label in GAUGES.items()}


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Send the gauges by Airflow's StatsD backend, with these settings; the lines that arrive."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)

        def send(values: list[Gauge], **settings: str) -> list[str]:
            from airflow.sdk.observability.metrics import stats_utils

            port = str(receiver.getsockname()[1])
            settings = {"statsd_on": "True", "statsd_host": "127.0.0.1", "statsd_port": port, **settings}
            for name, value in settings.items():
                monkeypatch.setenv(f"AIRFLOW__METRICS__{name.upper()}", value)
            assert gauges.is_on()
            # As the process of a task does.
            stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)
            gauges.send(values)
            return sorted(receiver.recv(1000).decode() for _ in values)

        yield send
    monkeypatch.undo()
    from airflow.sdk.observability.metrics import stats_utils

    stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)


def prometheus_name(line: str, mappings: list[Mapping[str, Any]]) -> tuple[str, dict[str, str]]:
    """What statsd_exporter makes of a line: its first matching rule, or dots and other characters as underscores."""
    name, *tags = line.partition(":")[0].split(",")
    for mapping in mappings:
        if found := re.fullmatch(re.escape(mapping["match"]).replace(r"\*", "([^.]*)"), name):
            return mapping["name"], {label: found[int(value[1:])] for label, value in mapping["labels"].items()}
    return re.sub(r"[^a-zA-Z0-9_]", "_", name), dict(tag.split("=") for tag in tags)


@pytest.mark.parametrize("has_tags", [False, True])
def test_statsd_exporter_has_each_gauge_under_its_name_and_label(
    statsd: Callable[..., list[str]], has_tags: bool
) -> None:
    lines = statsd(ONE_OF_EACH, statsd_influxdb_enabled=str(has_tags))
    assert all(line.endswith(":12.5|g") for line in lines)
    mappings = yaml.safe_load((DEPLOY / "statsd_exporter" / "mapping.yml").read_text())["mappings"]
    found = [prometheus_name(line, [] if has_tags else mappings) for line in lines]
    expected = {name: ({label: "x1"} if label else {}) for name, label in IN_PROMETHEUS.items()}
    assert len(found) == len(expected)
    assert dict(found) == expected


def test_opentelemetry_has_each_gauge_under_its_name_and_label(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk._shared.observability.metrics.otel_logger import SafeOtelLogger
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    monkeypatch.setenv("AIRFLOW__METRICS__OTEL_ON", "True")
    reader = InMemoryMetricReader()
    initialize: Any = stats.initialize
    initialize(factory=lambda: SafeOtelLogger(MeterProvider([reader])), export_legacy_names=True)
    try:
        gauges.send(ONE_OF_EACH)
    finally:
        from airflow.sdk.observability.metrics import stats_utils

        monkeypatch.undo()
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)
    sent = reader.get_metrics_data()
    assert sent is not None
    (scope,) = sent.resource_metrics[0].scope_metrics
    found = {}
    for metric in scope.metrics:
        (point,) = metric.data.data_points
        assert point.value == 12.5  # type: ignore[union-attr]
        found[metric.name.replace(".", "_")] = dict(point.attributes or {})
    assert found == {name: ({label: "x1"} if label else {}) for name, label in IN_PROMETHEUS.items()}


def test_metrics_are_off_without_a_backend() -> None:
    assert not gauges.is_on()


def test_dag_sends_metrics_every_five_minutes_where_they_are_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
    bag = DagBag(ROOT / "dags" / "emit_metrics.py", load_op_links=False)
    assert bag.import_errors == {}
    dag = bag.dags["emit_metrics"]
    assert getattr(dag.timetable, "expression", None) == "*/5 * * * *"
    assert [(task.task_id, task.task_type, task.owner) for task in dag.tasks] == [
        ("emit", "EmitMetrics", "data-platform")
    ]


# -- alert rules and dashboard -----------------------------------------------------------------------------------------


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    return group["rules"]


def panels() -> list[dict[str, Any]]:
    return json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())["panels"]


def selectors(expression: Any) -> Iterator[Any]:
    """Every vector selector of a parsed expression."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    for name in ("lhs", "rhs", "expr", "args", "vector_selector"):
        part = getattr(expression, name, None)
        for child in part if isinstance(part, list) else [part]:
            if child is not None:
                yield from selectors(child)


@pytest.mark.parametrize(
    "expression",
    [rule["expr"] for rule in rules()] + [target["expr"] for panel in panels() for target in panel["targets"]],
)
def test_expression_names_gauges_and_labels_that_are_sent(expression: str) -> None:
    named = list(selectors(promql_parser.parse(expression)))
    assert len(named) == len(re.findall("airflow_", expression)) > 0
    for selector in named:
        assert selector.name in IN_PROMETHEUS, f"nothing sends {selector.name}"
        for matcher in selector.matchers.matchers:
            assert matcher.name == IN_PROMETHEUS[selector.name]


def test_dashboard_shows_each_gauge_and_five_rules_have_texts() -> None:
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    assert all(name in shown for name in IN_PROMETHEUS)
    assert len({panel["id"] for panel in panels()}) == len(panels())
    assert len(rules()) == 5
    labels = set(filter(None, GAUGES.values()))
    for rule in rules():
        texts = " ".join(rule["annotations"].values())
        assert set(re.findall(r"\$labels\.(\w+)", texts)) <= labels
        assert {"summary", "description"} == set(rule["annotations"])
        assert rule["labels"]["severity"] in ("warning", "critical")
    for panel in panels():
        for target in panel["targets"]:
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels
