"""Which shop a stack has: a folder with a mistake starts nothing, and leaves nothing behind."""

import logging
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import yaml

from ecommerce.common.shop import LAST_DAY, VARIABLE
from ecommerce.common.sources import SOURCES
from include.demo import airflow_services, stack, state
from include.demo.__main__ import absent_sources_in_words
from include.demo.airflow_api import AirflowApi
from include.demo.errors import StackError
from include.demo.shop.shop_folder import COLUMNS, ShopDataError
from include.demo.state import ROOT, State


def write_shop(folder: Path, *tables: str) -> Path:
    """Write a shop folder: one order, and headers."""
    folder.mkdir()
    for table in ("sales_fact", *tables):
        (folder / f"{table}.csv").write_text(",".join(COLUMNS[table]) + "\n")
    with (folder / "sales_fact.csv").open("a") as file:
        file.write("O1,1,P1,C1,2024-01-01,9.99,1,paypal,0,0,0,paid,2024-01-01 10:00:00\n")
    return folder


def demo(stack_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "include.demo", "demo", *arguments],
        cwd=ROOT,
        # With such a port no service starts, also if the folder's mistake is overlooked.
        env={**os.environ, "PYTHONPATH": "plugins", "STACK_DIR": str(stack_dir), "AIRFLOW_PORT": "none"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "sales_fact.csv").rename(folder / "sale_fact.csv"), "did you mean sales_fact.csv?"),
        (lambda folder: (folder / "sales_fact.csv").unlink(), "sales_fact.csv is missing"),
        (lambda folder: (folder / "Refund.csv").touch(), "did you mean refund.csv?"),
        (lambda folder: (folder / "customer.csv").write_text("customer\n"), "column 'customer' is unknown"),
        (lambda folder: (folder / "sales_fact.csv").write_text(",".join(COLUMNS["sales_fact"])), "has no order"),
    ],
)
def test_mistake_in_the_folder_is_named_before_anything_starts(tmp_path: Path, change, message: str) -> None:
    folder = write_shop(tmp_path / "data")
    change(folder)
    outcome = demo(tmp_path / "stack", "--data", str(folder))
    assert outcome.returncode == 1
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "Starting" not in outcome.stderr
    assert not (tmp_path / "stack").exists()


@pytest.fixture
def stack_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty stack's folder; no service can start."""
    monkeypatch.setattr(state, "STACK", tmp_path / "stack")
    monkeypatch.setenv("AIRFLOW_PORT", "none")
    return tmp_path / "stack"


def test_up_with_a_wrong_folder_starts_nothing_and_keeps_the_state(stack_dir: Path, tmp_path: Path) -> None:
    folder = write_shop(tmp_path / "data")
    (folder / "customers.csv").touch()
    with pytest.raises(ShopDataError, match=r"customers\.csv"):
        stack.up(folder)
    assert not stack_dir.exists()


def test_another_folder_may_be_chosen_until_the_warehouse_has_read_one(tmp_path: Path) -> None:
    made = State.create()
    stack._choose_shop(made, write_shop(tmp_path / "one"))
    made.shop["started"] = "yes"
    other = write_shop(tmp_path / "other", "customer", "refund")
    stack._choose_shop(made, other)
    assert made.shop["folder"] == str(other)
    assert made.shop["sources"] == "sales_fact,refund,customer"
    assert made.shop["started"] == "yes"
    made.shop |= {"is_read": "yes", "is_filled": "yes"}
    chosen = dict(made.shop)
    stack._choose_shop(made, other)
    assert made.shop == chosen
    with pytest.raises(StackError, match="holds another shop"):
        stack._choose_shop(made, tmp_path / "one")
    assert made.shop == chosen


def test_failed_choice_leaves_the_earlier_shop(tmp_path: Path) -> None:
    made = State.create()
    stack._choose_shop(made, write_shop(tmp_path / "one"))
    chosen = dict(made.shop)
    wrong = write_shop(tmp_path / "wrong")
    (wrong / "sales_fact.csv").write_text("order_id\n")
    with pytest.raises(ShopDataError):
        stack._choose_shop(made, wrong)
    assert made.shop == chosen


@pytest.fixture
def calls(stack_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is started and stopped of a stack: no service really is."""
    found: list[str] = []
    folder = tmp_path / "profile"

    def start(made: State) -> None:
        found.append(f"start, profile: {(folder / 'shop.yml').exists()}")

    monkeypatch.setattr(airflow_services, "PROFILE", folder)
    monkeypatch.setattr(airflow_services, "stop", lambda: found.append("stop"))
    monkeypatch.setattr(airflow_services, "start", start)
    monkeypatch.setattr(airflow_services, "build_manifest", lambda dsn: None)
    monkeypatch.setattr(airflow_services, "migrate", lambda made: None)
    monkeypatch.setattr(stack, "start_kafka", lambda made: None)
    monkeypatch.setattr(stack.database, "start", lambda made: None)
    monkeypatch.setattr(stack.database, "is_running", lambda: False)
    monkeypatch.setattr(stack, "api_of", lambda made: None)
    monkeypatch.setattr(stack, "wait_for_dag", lambda api, dag_id, since: found.append(dag_id))
    monkeypatch.setattr(stack, "_apply_settings", lambda made: None)
    monkeypatch.delenv("AIRFLOW_PORT")
    return found


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize("exported", [None, "example"])
def test_filled_stack_has_its_own_profile_whatever_the_shell_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: str | None
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if exported:
        monkeypatch.setenv(VARIABLE, exported)
    made = stack.up(write_shop(tmp_path / "part"), last_day=date(2024, 6, 28))
    assert airflow_services.environment(made)[LAST_DAY] == "2024-06-28"
    assert "customer: absent" in made.shop["profile"]
    assert airflow_services.environment(made)[VARIABLE] == str(airflow_services.PROFILE)
    made = stack.up(write_shop(tmp_path / "whole", *(table for table in COLUMNS if table != "sales_fact")))
    assert made.shop["profile"] == ""
    assert airflow_services.environment(made)[VARIABLE] == "default"


def test_stack_that_is_not_filled_has_the_profile_that_the_shell_names(
    calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "example")
    started = stack.up(last_day=date(2024, 6, 28))
    assert airflow_services.environment(started)[VARIABLE] == "example"
    # A shop that the user has chosen goes on.
    assert airflow_services.environment(started)[LAST_DAY] == ""
    calls.clear()
    # The same Airflow cannot go on: it would run the DAGs of the other profile.
    stack.up(write_shop(tmp_path / "whole", *(table for table in COLUMNS if table != "sales_fact")))
    assert calls[0] == "stop"


@pytest.mark.parametrize(
    ("current", "exported", "is_another"),
    [
        ("", "", False),
        ("", "default", False),
        ("example", "include/shops/example", False),
        ("", "example", True),
        ("example", "default", True),
    ],
)
def test_shell_that_names_another_shop_than_the_stack_has_is_an_error(
    monkeypatch: pytest.MonkeyPatch, current: str, exported: str, is_another: bool
) -> None:
    made = State.create()
    made.airflow_shop = current
    monkeypatch.setattr(stack, "running", lambda: made)
    monkeypatch.setenv(VARIABLE, exported)
    if not is_another:
        assert stack.running_with_the_chosen_shop() is made
        return
    with pytest.raises(StackError, match=f"{VARIABLE} is {exported}, but the stack runs with the shop"):
        stack.running_with_the_chosen_shop()


#: The files besides the code from which Airflow makes the DAG.
FILES_OF_THE_DAG = ("profile/shop.yml", "include/quality/checks.yml", "dags/ecommerce_warehouse.py")


@pytest.mark.parametrize("changed", [*FILES_OF_THE_DAG, None])
def test_changed_file_of_the_dag_is_read_by_airflow_before_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, changed: str | None
) -> None:
    caplog.set_level(logging.INFO)
    asked: list[str] = []
    read_at = datetime(2024, 1, 1, 10, tzinfo=UTC)
    changed_at = read_at + timedelta(seconds=1)
    for name in FILES_OF_THE_DAG:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, ((changed_at if name == changed else read_at - timedelta(hours=1)).timestamp(),) * 2)

    def respond(request: httpx.Request) -> httpx.Response:
        nonlocal read_at
        if request.method == "PUT":
            asked.append(request.url.path)
            read_at = changed_at + timedelta(seconds=1)
        file_token = request.url.path.rpartition("/")[2]
        return httpx.Response(
            200, json={"is_stale": False, "last_parsed_time": read_at.isoformat(), "file_token": file_token}
        )

    api = AirflowApi.__new__(AirflowApi)
    api._client = httpx.Client(base_url="http://airflow", transport=httpx.MockTransport(respond))
    monkeypatch.setattr(stack, "api_of", lambda made: api)
    monkeypatch.setattr(stack, "ROOT", tmp_path)
    parsed: list[str] = []
    monkeypatch.setattr(airflow_services, "build_manifest", parsed.append)
    made = State.create()
    made.ports = {"POSTGRES_PORT": 1}
    made.airflow_shop = str(tmp_path / "profile")
    stack.let_airflow_read_changed_files(made)
    files = ["ecommerce_warehouse", "extract_sales_fact"] if changed else []
    assert asked == [f"/api/v2/parseDagFile/{file}" for file in files]
    assert [record.getMessage() for record in caplog.records] == (
        [f"Airflow reads what has changed: {changed}"] if changed else []
    )
    assert parsed == [made.dsn(role="transformer")], "a changed dbt project is parsed again"


class Service:
    """A running service of Airflow."""

    def create_time(self) -> float:
        return 1_000.0


def test_code_that_airflow_has_imported_before_its_change_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "ROOT", tmp_path)
    (tmp_path / "plugins" / "ecommerce").mkdir(parents=True)
    for name, changed_at in (("sources", 1_001), ("days", 999)):
        path = tmp_path / "plugins" / "ecommerce" / f"{name}.py"
        path.touch()
        os.utime(path, (changed_at, changed_at))
    monkeypatch.setattr(stack.processes, "started", lambda prefix: [f"{prefix}scheduler", f"{prefix}worker-1"])
    monkeypatch.setattr(stack.processes, "find", lambda name: None)
    assert stack.restart_in_words() is None, "nothing runs that could run the code of before"
    monkeypatch.setattr(stack.processes, "find", lambda name: Service() if name == "airflow-worker-1" else None)
    assert stack.restart_in_words() == (
        "plugins/ecommerce/sources.py changed after Airflow was started: it still runs the code of before. "
        "To take up the change: make restart"
    )
    os.utime(tmp_path / "plugins" / "ecommerce" / "sources.py", (999, 999))
    assert stack.restart_in_words() is None


class RunningDags:
    """The runs that Airflow says are active."""

    def __init__(self, *run_ids: str) -> None:
        self.run_ids = run_ids

    def active_runs(self) -> list[dict[str, str]]:
        return [{"dag_id": "a_dag", "dag_run_id": run_id} for run_id in self.run_ids]


@pytest.fixture
def restarted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a restart stops and starts of a stack whose Airflow answers."""
    found: list[str] = []
    made = State.create()
    made.ports = {"AIRFLOW_PORT": 1}
    monkeypatch.setattr(State, "load", lambda: made)
    monkeypatch.setattr(airflow_services, "is_healthy", lambda made: True)
    monkeypatch.setattr(airflow_services, "stop", lambda: found.append("stop all"))
    monkeypatch.setattr(stack.processes, "stop", lambda name: found.append(f"stop {name}"))
    monkeypatch.setattr(stack, "up", lambda: found.append("up"))
    return found


def test_restart_ends_no_active_run_unless_it_is_forced(restarted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "api_of", lambda made: RunningDags("a_run"))
    with pytest.raises(StackError, match=r"1 run\(s\) are active, .*: a_dag a_run\. .*make restart FORCE=1"):
        stack.restart()
    assert restarted == []
    stack.restart(is_forced=True)
    assert restarted == ["stop all", "up"]


def test_restart_of_one_service_leaves_the_others(restarted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "api_of", lambda made: RunningDags())
    with pytest.raises(StackError, match="there is no service kafka; there are api-server, scheduler"):
        stack.restart("kafka")
    stack.restart("scheduler")
    assert restarted == ["stop airflow-scheduler", "up"]


def test_airflow_starts_again_only_if_the_profile_is_another(calls: list[str], tmp_path: Path) -> None:
    def start(made: State, *, has_read_dags: bool) -> list[str]:
        calls.clear()
        stack._start_airflow(made, "", has_read_dags=has_read_dags)
        return list(calls)

    made = State.create()
    assert start(made, has_read_dags=False) == ["start, profile: False"]
    stack._choose_shop(made, write_shop(tmp_path / "part"))
    changed = ["stop", "start, profile: True"]
    assert start(made, has_read_dags=True) == [*changed, "ecommerce_warehouse", "extract_sales_fact"]
    restarted = State.load()
    assert restarted is not None
    assert start(restarted, has_read_dags=True) == ["start, profile: True"]
    stack._choose_shop(restarted, write_shop(tmp_path / "whole", *set(COLUMNS) - {"sales_fact"}))
    assert start(restarted, has_read_dags=False) == ["stop", "start, profile: False"]


@pytest.mark.usefixtures("calls")
def test_stack_of_an_earlier_version_has_all_sources_but_refunds(monkeypatch: pytest.MonkeyPatch) -> None:
    made = State.create()
    made.shop = {"folder": "gone", "fingerprint": "f", "is_read": "yes", "is_filled": "yes"}
    made.save()
    monkeypatch.setattr(stack, "start_weather", lambda made: None)
    shop = stack.up().shop
    assert set(shop["sources"].split(",")) == set(SOURCES) - {"refund"}
    places = yaml.safe_load(shop["profile"])["sources"]
    assert [source for source, place in places.items() if place == "absent"] == ["refund"]


def test_end_of_demo_names_absent_sources(tmp_path: Path) -> None:
    made = State.create()
    stack._choose_shop(made, write_shop(tmp_path / "part", "kafka_stream", "product", "product_category", "customer"))
    assert absent_sources_in_words(made) == (
        "This shop has no refunds, subscriptions or weather. Marts about that are empty."
    )
    assert not stack.has_source(made, "weather_data")
    stack._choose_shop(made, write_shop(tmp_path / "whole", *(table for table in COLUMNS if table != "sales_fact")))
    assert absent_sources_in_words(made) is None


@pytest.mark.parametrize(
    ("dag", "is_known"),
    [
        ({"is_stale": False, "last_parsed_time": "2024-01-01T10:00:01Z"}, True),
        ({"is_stale": False, "last_parsed_time": "2024-01-01T09:59:59Z"}, False),
        ({"is_stale": False, "last_parsed_time": None}, False),
        ({"is_stale": True, "last_parsed_time": "2024-01-01T10:00:01Z"}, False),
    ],
)
def test_dag_read_before_a_moment_does_not_count_as_known_since_it(dag: dict, is_known: bool) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"access_token": "t"} if request.url.path == "/auth/token" else dag)

    api = AirflowApi.__new__(AirflowApi)
    api._client = httpx.Client(base_url="http://airflow", transport=httpx.MockTransport(respond))
    assert api.dag_is_known("any") is not dag["is_stale"]
    assert api.dag_is_known("any", since=datetime(2024, 1, 1, 10, tzinfo=UTC)) is is_known
