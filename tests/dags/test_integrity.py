"""The DAG files: they import without any service, and their tasks have owners, timeouts, retries and dependencies."""

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from dbt.cli.main import dbtRunner
from dbt.compilation import Linker

from dbt_triggerer import nodes_of
from ecommerce.audit.checks_file import read_checks
from ecommerce.build.dbt_project import DBT_PROJECT, MANIFEST
from ecommerce.build.excluded_models import exclusions_for, nodes_of_models
from ecommerce.build.warehouse_group import BUILD_GROUP, warehouse_group, warehouse_profile
from ecommerce.common.sources import SOURCES
from ecommerce.dag_defaults import CLAIM_POOL
from include.demo.state import ROOT

pytestmark = pytest.mark.usefixtures("manifest")

MARTS = {path.stem for path in (ROOT / "include" / "dbt" / "models" / "marts").rglob("*.sql")}


@pytest.fixture(scope="module")
def dags():
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(ROOT / "dags", load_op_links=False)
    assert bag.import_errors == {}
    return bag.dags


def test_dag_bag_has_every_dag(dags) -> None:
    assert set(dags) == {
        "ecommerce_warehouse",
        "verify_warehouse",
        "replay_quarantine",
        "rollback_publication",
        "erase_customer",
        "prune_warehouse",
        "check_shop",
        *(f"extract_{source}" for source in SOURCES),
    }


def test_shop_without_a_source_has_no_task_check_or_form_entry_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("ECOMMERCE_SHOP", "example")
    bag = DagBag(ROOT / "dags", load_op_links=False)
    assert bag.import_errors == {}
    present = ["product", "product_category", "sales_fact", "refund", "customer"]
    assert {name for name in bag.dags if name.startswith("extract_")} == {f"extract_{source}" for source in present}
    warehouse = bag.dags["ecommerce_warehouse"]
    assert {task.task_id for task in warehouse.tasks if task.task_id.startswith("extract.")} == {
        f"extract.{source}" for source in present
    }
    claim: Any = warehouse.get_task("claim")
    assert claim.extract_task_ids == {source: f"extract.{source}" for source in present}
    assert warehouse.params["sources"] == present
    assert bag.dags["replay_quarantine"].params.get_param("source").schema["enum"] == present
    # All models are built: those of an absent source are empty.
    assert {task.task_id for task in warehouse.tasks if "fact_weather" in task.task_id}


@pytest.mark.parametrize(
    ("task_id", "has_build"), [("window", False), ("extract.product", False), ("claim", True), ("quality.volume", True)]
)
def test_process_of_a_task_makes_the_build_only_if_the_task_needs_it(
    dags, monkeypatch: pytest.MonkeyPatch, task_id: str, has_build: bool
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    # How Airflow tells a DAG file which task its process runs.
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "ecommerce_warehouse")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", task_id)
    bag = DagBag(ROOT / "dags" / "ecommerce_warehouse.py", load_op_links=False)
    assert bag.import_errors == {}
    everything = {task.task_id for task in dags["ecommerce_warehouse"].tasks}
    build = {name for name in everything if name.startswith("warehouse.")}
    assert build
    made = {task.task_id for task in bag.dags["ecommerce_warehouse"].tasks}
    assert made == (everything if has_build else everything - build | {BUILD_GROUP})


@pytest.mark.parametrize(
    ("zone", "begin", "end"),
    [
        ("Europe/Berlin", "2024-03-30T23:00:00+00:00", "2024-03-31T22:00:00+00:00"),
        ("America/New_York", "2024-11-03T04:00:00+00:00", "2024-11-04T05:00:00+00:00"),
        ("Asia/Kolkata", "2024-03-30T18:30:00+00:00", "2024-03-31T18:30:00+00:00"),
    ],
)
def test_daily_schedule_and_backfill_are_of_the_shops_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str, begin: str, end: str
) -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization

    (tmp_path / "shop.yml").write_text(f"time_zone: {zone}\nsources:\n  sales_fact: {{connection: c, table: t}}\n")
    monkeypatch.setenv("ECOMMERCE_SHOP", str(tmp_path))
    bag = DagBag(ROOT / "dags", load_op_links=False)
    assert bag.import_errors == {}
    warehouse = DagSerialization.from_dict(DagSerialization.to_dict(bag.dags["ecommerce_warehouse"]))
    assert str(warehouse.timezone) == zone
    # As Airflow's backfill asks: of the days from the first to the last, by their midnights. The day before and the day
    # after have 24 hours.
    first, after = pendulum.instance(datetime.fromisoformat(begin)), pendulum.instance(datetime.fromisoformat(end))
    runs = list(warehouse.iter_dagrun_infos_between(first.subtract(days=1), after))
    intervals = [run.data_interval for run in runs if run.data_interval]
    assert [(interval.start, interval.end) for interval in intervals] == [
        (first.subtract(days=1), first), (first, after), (after, after.add(days=1))
    ]  # fmt: skip


def test_form_of_the_shop_check_has_only_its_days(dags) -> None:
    form = dags["check_shop"].params
    assert set(form) == {"start_date", "end_date"}
    assert form.get_param("start_date").description == "UTC, inclusive. Empty: the seven days up to the newest order."


#: DAG → its tags beside `ecommerce`.
TAGS = {
    "ecommerce_warehouse": "warehouse",
    "verify_warehouse": "verify",
    "replay_quarantine": "quarantine",
    "rollback_publication": "warehouse",
    "erase_customer": "privacy",
    "prune_warehouse": "maintenance",
    "check_shop": "shop",
    **{f"extract_{source}": "extract" for source in SOURCES},
}
_DAYS: dict[str, tuple[str, object]] = {"start_date": ("First day", None), "end_date": ("Last day", None)}
_LOAD: dict[str, tuple[str, object]] = {
    **_DAYS,
    "allow_mass_removal": ("Allow mass removal", False),
    "dry_run": ("Dry run", False),
}
#: DAG → the fields of its form, each with its title and what it has without an entry.
FORMS: dict[str, dict[str, tuple[str, object]]] = {
    "ecommerce_warehouse": {
        **_LOAD,
        "sources": ("Sources", list(SOURCES)),
        "full_refresh": ("Full refresh", False),
        "allow_column_changes": ("Allow column changes", False),
    },
    "verify_warehouse": {"days": ("Days", 7), "seed": ("Seed", None), "full": ("Full", False)},
    "replay_quarantine": {
        "source": ("Source", next(iter(SOURCES))),
        "batch": ("Batch", None),
        "reason": ("Reason", None),
        "dry_run": ("Dry run", False),
    },
    "rollback_publication": {"publication_id": ("Publication", None)},
    "erase_customer": {"customer": ("Customer", ""), "dry_run": ("Dry run", True)},
    "prune_warehouse": {"dry_run": ("Dry run", True)},
    "check_shop": {**_DAYS},
    **{f"extract_{source}": _LOAD for source in SOURCES},
}


def test_dags_have_docs_tags_and_days(dags) -> None:
    for name, dag in dags.items():
        assert dag.doc_md.lstrip().startswith("### "), name
        assert dag.tags == {"ecommerce", TAGS[name]}, name
        assert dag.catchup is False, name
        assert dag.start_date == pendulum.datetime(2010, 1, 1), name
        assert dag.max_active_runs == (4 if name == "ecommerce_warehouse" else 1), name


def test_each_field_of_a_form_has_title_description_and_default(dags) -> None:
    for name, dag in dags.items():
        form = {field: dag.params.get_param(field) for field in dag.params}
        assert {field: (param.schema["title"], param.value) for field, param in form.items()} == FORMS[name], name
        for field, param in form.items():
            if field != "source":
                assert param.description.endswith("."), f"{name} {field}"


@pytest.mark.parametrize(
    ("dag_id", "field", "good", "bad"),
    [
        ("ecommerce_warehouse", "start_date", [None, "2024-02-29"], [1, "2024-02-30"]),
        ("ecommerce_warehouse", "end_date", [None, "2024-02-29"], [1, "yesterday"]),
        ("ecommerce_warehouse", "sources", [[], ["product"]], [None, "product", ["nothing"]]),
        ("ecommerce_warehouse", "full_refresh", [True, False], [None, "yes"]),
        ("ecommerce_warehouse", "allow_column_changes", [True, False], [None, "yes"]),
        ("extract_product", "allow_mass_removal", [True, False], [None, "yes"]),
        ("extract_product", "dry_run", [True, False], [None, "yes"]),
        ("verify_warehouse", "days", [1], [0, None, 1.5]),
        ("verify_warehouse", "seed", [None, -1], ["a"]),
        ("verify_warehouse", "full", [True, False], [None]),
        ("replay_quarantine", "source", ["weather_data"], [None, "nothing"]),
        ("replay_quarantine", "batch", [None, 1], ["a"]),
        ("replay_quarantine", "reason", [None, "is negative"], [1]),
        ("rollback_publication", "publication_id", [None, 1], [0, "a"]),
        ("erase_customer", "customer", ["", "CUST001"], [None, 1]),
        ("erase_customer", "dry_run", [True, False], [None, "yes"]),
        ("prune_warehouse", "dry_run", [True, False], [None, "yes"]),
    ],
)
def test_field_of_a_form_takes_only_values_that_make_sense(
    dags, dag_id: str, field: str, good: list[object], bad: list[object]
) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    param = dags[dag_id].params.get_param(field)
    for value in good:
        assert param.resolve(value) == value
    for value in bad:
        with pytest.raises(ParamValidationError):
            param.resolve(value)


def test_only_kafka_extract_has_a_schedule(dags) -> None:
    alone = {name: dags[f"extract_{name}"] for name in SOURCES}
    expressions = {name: getattr(dag.timetable, "expression", None) for name, dag in alone.items()}
    assert expressions == dict.fromkeys(SOURCES, None) | {"kafka_stream": "*/15 * * * *"}
    assert {dag.max_active_runs for dag in alone.values()} == {1}


def test_dag_without_a_schedule_is_not_paused_when_airflow_first_reads_it(dags) -> None:
    # Paused, it would only let the runs wait that a person starts.
    scheduled = {"ecommerce_warehouse", "verify_warehouse", "extract_kafka_stream"}
    assert {name for name, dag in dags.items() if dag.timetable.can_be_scheduled} == scheduled
    assert {name for name, dag in dags.items() if dag.is_paused_upon_creation is False} == set(dags) - scheduled
    assert {dags[name].is_paused_upon_creation for name in scheduled} == {None}


def test_pruning_runs_by_itself_only_if_its_file_says_so(dags, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    def read(text: str) -> DagBag:
        file = tmp_path / "retention.yml"
        file.write_text(text)
        monkeypatch.setattr("ecommerce.prune.retention_file.RETENTION_FILE", file)
        return DagBag(ROOT / "dags" / "prune_warehouse.py", load_op_links=False)

    assert not dags["prune_warehouse"].timetable.can_be_scheduled
    days = (ROOT / "include" / "retention.yml").read_text()
    weekly = read(days.replace("schedule: null", 'schedule: "0 5 * * 0"')).dags["prune_warehouse"]
    timetable: Any = weekly.timetable
    assert (timetable.can_be_scheduled, timetable.expression) == (True, "0 5 * * 0")
    # Without a form it deletes; a person who opens the form of the other one gets a dry run.
    assert weekly.params["dry_run"] is False
    (error,) = read(days.replace("ops.alert: 400", "ops.alert: 4")).import_errors.values()
    assert "retention.yml, line " in error
    assert "ops.alert: is 4; write a number of days, 30 or more, or keep" in error


def test_tasks_have_owner_timeout_and_retries(dags) -> None:
    tasks = [task for dag in dags.values() for task in dag.tasks]
    assert len(tasks) > 60
    for task in tasks:
        assert task.owner == "data-platform", task.task_id
        assert task.execution_timeout is not None, task.task_id
        assert task.retries == 1, task.task_id
        if not task.task_id.startswith("warehouse."):
            assert task.retry_delay == timedelta(seconds=10), task.task_id
            # Such a check waits for the build.
            hours = 24 if getattr(task, "build_task_id", None) else 2
            assert task.execution_timeout == timedelta(hours=hours), task.task_id


def test_each_task_reports_how_it_ended(dags) -> None:
    def names(callbacks: object) -> list[str]:
        return [
            callback.__name__ for callback in (callbacks if isinstance(callbacks, list) else [callbacks]) if callback
        ]

    for dag_id, dag in dags.items():
        for task in dag.tasks:
            assert names(task.on_failure_callback) == ["note_failure", "alert_failure"], task.task_id
            is_alone = dag_id != "ecommerce_warehouse"
            of_last = ["settle_run", "note_repair"] if task.task_id == "refresh_marts" else []
            expected = ["alert_recovery", "note_own_repair"] if is_alone else of_last
            assert names(task.on_success_callback) == expected, task.task_id
            assert names(task.on_skipped_callback) == of_last
        assert names(dag.on_failure_callback) == ([] if is_alone else ["settle_failed_run"])
        assert bool(dag.deadline) is not is_alone


def test_tasks_that_wait_for_the_lease_share_a_pool(dags) -> None:
    waiting = {(dag_id, task.task_id) for dag_id, dag in dags.items() for task in dag.tasks if task.pool == CLAIM_POOL}
    assert waiting == {
        ("ecommerce_warehouse", "claim"),
        ("verify_warehouse", "verify"),
        ("rollback_publication", "roll_back"),
        ("erase_customer", "erase"),
    }


def test_only_tasks_that_must_run_without_a_source_do(dags) -> None:
    rules = {
        task.task_id: task.trigger_rule.value
        for dag in dags.values()
        for task in dag.tasks
        if not task.task_id.startswith("warehouse.")
    }
    own = {"claim": "all_done", "all_sources_loaded": "none_failed", "refresh_marts": "none_failed"}
    checks = {
        f"quality.{name}": "always" if check.follows_the_build else "none_failed"
        for name, check in read_checks().checks.items()
    }
    assert rules == dict.fromkeys(rules, "all_success") | own | checks


def test_claim_knows_what_to_skip(dags) -> None:
    claim = dags["ecommerce_warehouse"].get_task("claim")
    assert claim.extract_task_ids == {source: f"extract.{source}" for source in SOURCES}
    assert claim.build_group_id == "warehouse"
    assert claim.need_build_task_ids == {
        "refresh_marts", *(f"quality.{name}" for name, check in read_checks().checks.items() if check.checks_the_build),
    }  # fmt: skip


def test_checks_that_follow_the_build_watch_it(dags) -> None:
    for name, check in read_checks().checks.items():
        task = dags["ecommerce_warehouse"].get_task(f"quality.{name}")
        assert (task.check_name, task.window_task_id) == (name, "window")
        assert task.build_task_id == ("warehouse.dbt_build" if check.follows_the_build else None)


def test_dbt_connects_as_the_transformer() -> None:
    profile = warehouse_profile()
    assert (profile.profile_name, profile.target_name) == ("ecommerce", "airflow")
    mapping = profile.profile_mapping
    assert mapping is not None
    assert mapping.conn_id == "warehouse_transformer"
    assert mapping.profile_args == {"schema": "core", "threads": 4, "search_path": "pg_catalog"}


def test_unknown_mode_of_dbt_is_an_error() -> None:
    with pytest.raises(ValueError, match="ECOMMERCE_DBT_EXECUTION_MODE is 'fast'; it may be "):
        warehouse_group("fast")


def test_machine_without_a_manifest_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Airflow shows an error of the import to everybody, or in the task's log if only a worker has no manifest."""
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setattr("ecommerce.build.dbt_project.MANIFEST", tmp_path / "manifest.json")
    bag = DagBag(ROOT / "dags" / "ecommerce_warehouse.py", load_op_links=False)
    (error,) = bag.import_errors.values()
    assert f"manifest.json is missing on {socket.gethostname()}" in error
    assert "`dbt parse`" in error


def test_deadline_is_two_hours_after_a_run_is_created(dags) -> None:
    from airflow.serialization.decoders import decode_deadline_alert
    from airflow.serialization.definitions.deadline import SerializedReferenceModels
    from airflow.serialization.encoders import encode_deadline_alert

    (deadline,) = dags["ecommerce_warehouse"].deadline
    encoded = encode_deadline_alert(deadline)
    # With that one, Airflow 3.3.2 cannot clear a run.
    assert encoded["reference"]["reference_type"] != "DagRunQueuedAtDeadline"
    assert encoded["callback"]["__data__"]["path"] == "ecommerce.alerts.task_callbacks.missed_deadline"
    # Airflow asks it when it creates a run; the plugin registers our own kind of reference.
    decoded = decode_deadline_alert(encoded)
    assert isinstance(decoded.reference, SerializedReferenceModels.TYPES.DAGRUN)
    late = decoded.reference.evaluate_with(session=None, interval=decoded.interval, dag_id="d", run_id="r")
    assert late is not None
    assert timedelta(minutes=119) < late - datetime.now(UTC) < timedelta(minutes=121)


def test_warehouse_tasks_follow_the_data(dags) -> None:
    dag = dags["ecommerce_warehouse"]
    extracts = {f"extract.{source}" for source in SOURCES}
    assert dag.get_task("window").downstream_task_ids == extracts
    assert dag.get_task("claim").upstream_task_ids == extracts
    quality = {task.task_id for task in dag.tasks if task.task_id.startswith("quality.")}
    assert quality == {f"quality.{check}" for check in read_checks().checks}
    # Checks of the loads follow the claim, beside the build; checks of the build and the publication follow the build.
    built = {task for task in dag.get_task("refresh_marts").upstream_task_ids if task.startswith("warehouse.")}
    assert dag.get_task("refresh_marts").upstream_task_ids == quality | built
    assert built == {
        task.task_id
        for task in dag.tasks
        if task.task_id.startswith("warehouse.")
        and not any(other.startswith("warehouse.") for other in task.downstream_task_ids)
    }
    for name, check in read_checks().checks.items():
        assert dag.get_task(f"quality.{name}").upstream_task_ids == (built if check.follows_the_build else {"claim"})
    assert {
        "freshness",
        "completeness",
        "quarantined",
        "schema_drift",
        "reconciliation_source",
        "reconciliation_refund",
        "rows_of_loads",
        "dated_back",
        "outside_covered_days",
    } == {name for name, check in read_checks().checks.items() if not check.follows_the_build}
    assert dag.get_task("refresh_marts").downstream_task_ids == set()
    # A run without every source is not green.
    assert dag.get_task("all_sources_loaded").upstream_task_ids == extracts
    assert dag.get_task("all_sources_loaded").downstream_task_ids == set()


#: Marts that are built and published although a source could not be loaded; those of sales depend on each other.
SUBSCRIPTIONS = {"subscription_performance_monthly", "subscription_customers"}
SALES = MARTS - SUBSCRIPTIONS - {"conversion_funnel_daily"}
BUILT_WITHOUT = {
    "kafka_stream": MARTS - {"conversion_funnel_daily"},
    "product": SUBSCRIPTIONS,
    "product_category": SUBSCRIPTIONS,
    "sales_fact": MARTS - SALES,
    # Those with net figures wait for the refunds.
    "refund": MARTS
    - {
        "customer_segments",
        "daily_revenue",
        "product_category_revenue_monthly",
        "product_performance_monthly",
        "revenue_trend",
    },
    "customer": set(),
    "subscription_data": MARTS - SUBSCRIPTIONS,
    "weather_data": MARTS - {"weather_sales_impact", "weather_correlation"},
}


@pytest.mark.parametrize("source", SOURCES)
def test_marts_built_without_a_source(source: str) -> None:
    assert MARTS - exclusions_for([source]).models == BUILT_WITHOUT[source]


def test_dbt_excludes_the_nodes_whose_tasks_are_skipped(tmp_path) -> None:
    excluded = exclusions_for(["sales_fact"]).models
    listed = dbtRunner().invoke(
        [
            *("--quiet", "ls", "--output", "json", "--output-keys", "unique_id", "--exclude", *sorted(excluded)),
            *("--resource-types", "model", "--resource-types", "test"),
            *("--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)),
            *("--target-path", str(tmp_path), "--log-path", str(tmp_path)),
        ]
    )
    kept = {json.loads(line)["unique_id"] for line in listed.result}  # type: ignore[union-attr]
    nodes = json.loads(MANIFEST.read_text())["nodes"]
    wanted = {unique_id for unique_id, node in nodes.items() if node["resource_type"] in ("model", "test")}
    assert kept == wanted - nodes_of_models(excluded)


@pytest.mark.parametrize("mode", ["watcher", "local"])
def test_nodes_of_finds_cosmos_tasks_to_skip(mode: str, dags) -> None:
    from airflow.sdk import DAG

    excluded = exclusions_for(["weather_data"]).models
    with DAG("cosmos", schedule=None):
        group = warehouse_group(mode, exclude="weather")
    nodes = nodes_of_models(excluded)
    skipped = {task.task_id for task in group.iter_tasks() if not nodes.isdisjoint(nodes_of(task))}
    core, marts = "warehouse.models.core", "warehouse.models.marts"
    assert skipped >= {
        "warehouse.models.staging.stg_weather_data_run",
        f"{core}.fact_weather.run",
        f"{core}.fact_weather.test",
        f"{marts}.analytics.weather_sales_impact_run",
        f"{marts}.analytics.weather_correlation_run",
    }
    assert len(skipped) == (5 if mode == "watcher" else 6)
    if mode == "watcher":
        producer: Any = group.dag.get_task("warehouse.dbt_producer_watcher")
        assert producer.exclude == "weather"


def test_no_folder_of_seeds_has_the_name_of_one_of_models() -> None:
    """Cosmos takes both for one task group, of the folder that comes first in dbt's manifest: ids would change."""
    folders = {
        kind: {path.name for path in (DBT_PROJECT / kind).rglob("*") if path.is_dir()} for kind in ("models", "seeds")
    }
    assert "core" in folders["models"]
    assert folders["models"].isdisjoint(folders["seeds"])


def test_each_mart_is_a_task_in_its_folder(dags) -> None:
    ids = {task.task_id for task in dags["ecommerce_warehouse"].tasks}
    for mart in MARTS:
        assert any(f".{mart}" in task_id and ".marts." in task_id for task_id in ids), mart
    assert len(MARTS) == 23


def test_each_dbt_node_has_one_task(dags, manifest) -> None:
    """Otherwise a node could fail without a failed task, or a task could succeed without its node."""
    unique_ids = [
        unique_id for task in dags["ecommerce_warehouse"].tasks for unique_id in getattr(task, "unique_ids", ())
    ]
    nodes = json.loads(MANIFEST.read_text())["nodes"]
    wanted = [unique_id for unique_id, node in nodes.items() if node["resource_type"] in ("seed", "model", "test")]
    assert sorted(unique_ids) == sorted(wanted)
    build = dags["ecommerce_warehouse"].get_task("warehouse.dbt_build")
    assert set(build.task_ids) == set(wanted)
    assert all(dags["ecommerce_warehouse"].has_task(task_id) for task_id in build.task_ids.values())


def test_task_waits_for_every_test_that_dbt_waits_for(dags) -> None:
    """Otherwise a task would build its node on its own, although dbt has skipped it because of a failed test."""
    manifest = json.loads(MANIFEST.read_text())
    nodes = {
        unique_id: SimpleNamespace(
            resource_type=node["resource_type"], depends_on_nodes=node["depends_on"].get("nodes", [])
        )
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] in ("seed", "model", "test")
    }
    linker = Linker()
    for unique_id, node in nodes.items():
        linker.graph.add_edges_from((parent, unique_id) for parent in node.depends_on_nodes)
    known: Any = SimpleNamespace(nodes=nodes, child_map=manifest["child_map"])
    linker.add_test_edges_1(known)
    edges = [(test, waiting) for test, waiting, kind in linker.graph.edges(data="edge_type") if kind == "parent_test"]
    assert any(len(nodes[test].depends_on_nodes) > 1 for test, _ in edges)

    dag = dags["ecommerce_warehouse"]
    task_of = dag.get_task("warehouse.dbt_build").task_ids
    for test, waiting in edges:
        upstream = {task.task_id for task in dag.get_task(task_of[waiting]).get_flat_relatives(upstream=True)}
        assert task_of[test] in upstream, f"{waiting} does not wait for {test}"


def test_mart_waits_for_its_facts_and_sources(dags) -> None:
    dag = dags["ecommerce_warehouse"]
    upstream = {
        task.task_id
        for task in dag.get_task("warehouse.models.marts.finance.daily_revenue.run").get_flat_relatives(upstream=True)
    }
    assert any(".core.fact_sales" in task_id for task_id in upstream)
    assert any(".staging.stg_sales_fact" in task_id for task_id in upstream)


@pytest.mark.parametrize("mode", ["triggerer", "watcher", "local"])
def test_dags_import_in_each_mode_without_services(mode: str, tmp_path) -> None:
    """Parsing a DAG file must not need a database, a connection or a variable; nor import what is off."""
    script = (
        "import sys; sys.path.insert(0, 'plugins')\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        "bag = DagBag('dags', load_op_links=False)\n"
        "assert not bag.import_errors, bag.import_errors\n"
        "import shop_pages_plugin, warehouse_plugin\n"
        "off = 'statsd', 'openlineage.', 'ecommerce.telemetry.emit', 'ecommerce.telemetry.lineage_events'\n"
        "print([name for name in sys.modules if name.startswith(off)])\n"
        "print(len(bag.dags['ecommerce_warehouse'].tasks))\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql+psycopg2://nobody@127.0.0.1:9/nowhere",
            "ECOMMERCE_DBT_EXECUTION_MODE": mode,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    *_, imported_though_off, tasks = outcome.stdout.splitlines()
    assert int(tasks) > 40
    assert imported_though_off == "[]"
