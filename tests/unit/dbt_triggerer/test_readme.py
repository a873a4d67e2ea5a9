"""The example of `plugins/dbt_triggerer/README.md` on a small dbt project: its DAG and its plugin work."""

import re
import sys
import textwrap
from pathlib import Path

import pytest
from dbt.cli.main import dbtRunner

import dbt_triggerer

pytestmark = pytest.mark.slow

README = Path(dbt_triggerer.__file__).with_name("README.md")
PROJECT = {
    "dbt_project.yml": "name: tiny\nversion: '1.0.0'\nprofile: tiny\nflags: {send_anonymous_usage_stats: false}\n",
    "profiles.yml": """
        tiny:
          target: nowhere
          outputs:
            nowhere: {type: postgres, host: 127.0.0.1, port: 9, user: nobody, password: "", dbname: none, schema: tiny}
    """,
    "models/one.sql": "select 1 as number\n",
    "models/two.sql": "select * from {{ ref('one') }}\n",
    "models/_models.yml": "models: [{name: two, columns: [{name: number, data_tests: [unique]}]}]\n",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A parsed project."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in PROJECT.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    options = ["--project-dir", str(folder), "--profiles-dir", str(folder), "--log-path", str(folder)]
    assert dbtRunner().invoke(["--quiet", "parse", *options]).success
    return folder


def examples(project: Path) -> list[str]:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    return [block.replace("/opt/airflow/include/dbt", str(project)) for block in blocks]


def test_example_dag_has_a_task_for_the_build_and_for_each_node(project: Path) -> None:
    dag_file, _ = examples(project)
    names: dict = {}
    exec(dag_file, names)
    dag = names["dag"]
    assert set(dag.task_ids) == {
        "warehouse.dbt_build", "warehouse.models.one_run", "warehouse.models.two.run", "warehouse.models.two.test"
    }  # fmt: skip
    assert dag.get_task("warehouse.models.two.run").start_from_trigger


def test_example_plugin_warms_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, plugin_file = examples(project)
    calls: list[dict] = []
    monkeypatch.setattr("dbt_triggerer.warm_workers.warm_up", lambda **arguments: calls.append(arguments))
    monkeypatch.setattr(sys, "argv", ["airflow", "scheduler"])
    names: dict = {}
    exec(plugin_file, names)
    (listener,) = names["DbtPlugin"].listeners
    listener.on_starting(type("Job", (), {})())
    assert calls == [{"project": project, "modules": []}]
