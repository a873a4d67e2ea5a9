"""The DAG files: they import with no service running, and every task has what operations needs of it."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from dbt.compilation import Linker

from ecommerce.dbt_project import MANIFEST
from ecommerce.sensors import read_checks
from ecommerce.sources import SOURCES
from include.demo.state import ROOT

pytestmark = pytest.mark.usefixtures("manifest")

MARTS = {path.stem for path in (ROOT / "include" / "dbt" / "models" / "marts").rglob("*.sql")}


@pytest.fixture(scope="module")
def dags():
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(ROOT / "dags", load_op_links=False)
    assert bag.import_errors == {}
    return bag.dags


def test_every_dag_is_there(dags) -> None:
    assert set(dags) == {"ecommerce_warehouse", "verify_warehouse", *(f"extract_{source}" for source in SOURCES)}


def test_dags_say_what_they_are(dags) -> None:
    for dag in dags.values():
        assert dag.doc_md, dag.dag_id
        assert "ecommerce" in dag.tags, dag.dag_id
        assert dag.catchup is False, dag.dag_id
        assert ("days" if dag.dag_id == "verify_warehouse" else "start_date") in dag.params, dag.dag_id


def test_tasks_have_owner_timeout_and_retries(dags) -> None:
    tasks = [task for dag in dags.values() for task in dag.tasks]
    assert len(tasks) > 60
    for task in tasks:
        assert task.owner == "data-platform", task.task_id
        assert task.execution_timeout is not None, task.task_id
        assert task.retries == 1, task.task_id


def test_the_way_of_the_data(dags) -> None:
    dag = dags["ecommerce_warehouse"]
    extracts = {f"extract.{source}" for source in SOURCES}
    assert dag.get_task("window").downstream_task_ids == extracts
    assert dag.get_task("claim").upstream_task_ids == extracts
    quality = {task.task_id for task in dag.tasks if task.task_id.startswith("quality.")}
    assert quality == {f"quality.{check}" for check in read_checks().checks}
    assert dag.get_task("refresh_marts").upstream_task_ids == quality
    assert dag.get_task("refresh_marts").downstream_task_ids == set()


def test_each_dbt_model_is_a_task_in_its_folder(dags) -> None:
    ids = {task.task_id for task in dags["ecommerce_warehouse"].tasks}
    for mart in MARTS:
        assert any(f".{mart}" in task_id and ".marts." in task_id for task_id in ids), mart
    assert len(MARTS) == 13


def test_each_node_of_the_project_has_one_task(dags, manifest) -> None:
    """A node without one could fail unseen, and one that stands for another could pass unseen."""
    told = [unique_id for task in dags["ecommerce_warehouse"].tasks for unique_id in getattr(task, "unique_ids", ())]
    nodes = json.loads(MANIFEST.read_text())["nodes"]
    wanted = [unique_id for unique_id, node in nodes.items() if node["resource_type"] in ("model", "test")]
    assert sorted(told) == sorted(wanted)
    build = dags["ecommerce_warehouse"].get_task("warehouse.dbt_build")
    assert set(build.told) == set(wanted)
    assert all(dags["ecommerce_warehouse"].has_task(task_id) for task_id in build.told.values())


def test_a_node_waits_for_every_test_that_dbt_lets_it_wait_for(dags) -> None:
    """Otherwise a task would take its node, left out because of a test, for one that may be built on its own."""
    manifest = json.loads(MANIFEST.read_text())
    nodes = {
        unique_id: SimpleNamespace(resource_type=node["resource_type"], depends_on_nodes=node["depends_on"]["nodes"])
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] in ("model", "test")
    }
    linker = Linker()
    for unique_id, node in nodes.items():
        linker.graph.add_edges_from((parent, unique_id) for parent in node.depends_on_nodes)
    known: Any = SimpleNamespace(nodes=nodes, child_map=manifest["child_map"])
    linker.add_test_edges_1(known)
    edges = [(test, waiting) for test, waiting, kind in linker.graph.edges(data="edge_type") if kind == "parent_test"]
    assert any(len(nodes[test].depends_on_nodes) > 1 for test, _ in edges)

    dag = dags["ecommerce_warehouse"]
    task_of = dag.get_task("warehouse.dbt_build").told
    for test, waiting in edges:
        upstream = {task.task_id for task in dag.get_task(task_of[waiting]).get_flat_relatives(upstream=True)}
        assert task_of[test] in upstream, f"{waiting} does not wait for {test}"


def test_a_mart_waits_for_its_facts(dags) -> None:
    dag = dags["ecommerce_warehouse"]
    upstream = {
        task.task_id
        for task in dag.get_task("warehouse.models.marts.finance.daily_revenue.run").get_flat_relatives(upstream=True)
    }
    assert any(".core.fact_sales" in task_id for task_id in upstream)
    assert any(".staging.stg_sales_fact" in task_id for task_id in upstream)


@pytest.mark.parametrize("mode", ["triggerer", "watcher", "local"])
def test_imports_in_each_mode_with_nothing_running(mode: str, tmp_path) -> None:
    """No database, no connection, no variable: parsing a DAG file must touch none of them."""
    script = (
        "import sys; sys.path.insert(0, 'plugins')\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        "bag = DagBag('dags', load_op_links=False)\n"
        "assert not bag.import_errors, bag.import_errors\n"
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
    assert int(outcome.stdout.split()[-1]) > 40
