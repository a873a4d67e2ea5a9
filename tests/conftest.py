"""
Start real services for the tests that need them: Postgres and Kafka of the demo stack, in a temporary folder.

`make test` runs two test processes (pytest-xdist), each with its own services. All tests of one module run in the same
process and in their order, and so do all tests that need the running stack.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before anything imports Airflow or the stack: both read these variables once. The folder of a worker process lies in
# the folder of the process that started it, which stops the services of workers that were killed.
if _is_worker := "PYTEST_XDIST_WORKER" in os.environ:
    _FOLDER = Path(os.environ["ECOMMERCE_TESTS_FOLDER"]) / os.environ["PYTEST_XDIST_WORKER"]
else:
    _FOLDER = Path(tempfile.mkdtemp(prefix="ecommerce-tests-"))
    os.environ["ECOMMERCE_TESTS_FOLDER"] = str(_FOLDER)
os.environ.update(
    {
        "STACK_DIR": str(_FOLDER / "stack"),
        "AIRFLOW_HOME": str(_FOLDER / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parents[1] / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(Path(__file__).parents[1] / "plugins"),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
    }
)
for name in ("AIRFLOW_PORT", "POSTGRES_PORT", "KAFKA_PORT", "WEATHER_PORT"):
    os.environ.pop(name, None)

import hypothesis  # noqa: E402
import psycopg  # noqa: E402
import pytest  # noqa: E402
from psycopg import sql  # noqa: E402
from psycopg.conninfo import conninfo_to_dict  # noqa: E402
from xdist.scheduler import LoadScopeScheduling  # noqa: E402

from ecommerce.common.connections import LOADER, PUBLISHER, TRANSFORMER  # noqa: E402
from include.demo import airflow_services, database, processes, stack  # noqa: E402
from include.demo.state import ROOT, State  # noqa: E402

# No test is measured by its time: on a busy machine a property that holds would fail.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

pytest_plugins = ["tests.running_stack"]

#: Folders of the tests that need the running stack. They take longest, so with two processes they start first; in a
#: single process the quick tests come first.
_ON_THE_STACK = ("tests/dags/", "tests/browser/")
_ORDER = ("tests/unit/", "tests/integration/")
#: Mark → environment variables; its tests run if one of them is set.
_SWITCHES = {"slow": ("ECOMMERCE_CI", "ECOMMERCE_TEST_LONG"), "long_form": ("ECOMMERCE_TEST_LONG",)}


class _SideBySide(LoadScopeScheduling):
    """Decides which tests run in the same process, in their order."""

    def _split_scope(self, nodeid: str) -> str:
        return "the running stack" if nodeid.startswith(_ON_THE_STACK) else nodeid.split("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    config.option.loadscopereorder = False
    return _SideBySide(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: Any) -> None:
    # Once, before two processes would write it.
    airflow_services.build_manifest()


def _left_out_marks() -> list[str]:
    """The marks whose tests do not run."""
    return [mark for mark, switches in _SWITCHES.items() if not any(map(os.environ.get, switches))]


def pytest_report_header() -> str:
    if marks := _left_out_marks():
        return f"tests marked {' or '.join(marks)} do not run: ECOMMERCE_TEST_LONG=1 runs them, too"
    return "all tests run, those marked slow or long_form too"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marks = _left_out_marks()
    left_out = {item: any(map(item.get_closest_marker, marks)) for item in items}
    config.hook.pytest_deselected(items=[item for item in items if left_out[item]])
    items[:] = [item for item in items if not left_out[item]]

    def place(item: pytest.Item) -> int:
        if item.nodeid.startswith(_ON_THE_STACK):
            return -1 if _is_worker else len(_ORDER) + 1
        return next((n for n, folder in enumerate(_ORDER) if item.nodeid.startswith(folder)), len(_ORDER))

    items.sort(key=place)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    # Airflow takes a quarter of a core also when it has nothing to do, and the other tests do not need it.
    if item.nodeid.startswith(_ON_THE_STACK) and nextitem and not nextitem.nodeid.startswith(_ON_THE_STACK):
        airflow_services.stop()


# Last, also if `-x` ends the session early: fixtures need the files of this folder to stop their services.
@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    for running_stack in _FOLDER.glob("gw*/stack"):
        env = {**os.environ, "PYTHONPATH": "plugins", "STACK_DIR": str(running_stack)}
        subprocess.run([sys.executable, "-m", "include.demo", "reset"], cwd=ROOT, env=env, check=False)
    shutil.rmtree(_FOLDER, ignore_errors=True)


@pytest.fixture(scope="session")
def state() -> State:
    """The ports and passwords of the services of the tests."""
    return State.create_beside()


@pytest.fixture(scope="session")
def postgres(state: State) -> Iterator[State]:
    """The state of the stack, with a running Postgres 18 and the roles of the stack."""
    database.start(state)
    with psycopg.connect(state.dsn("postgres"), autocommit=True) as connection:
        # The data of tests need not survive a power cut, and with fsync, dropping a database waits for the disk.
        connection.execute("alter system set fsync = off")
        connection.execute("select pg_reload_conf()")
    yield state
    database.stop()
    database.remove()


@pytest.fixture(scope="session")
def kafka_bootstrap(state: State) -> Iterator[str]:
    """The address of a running Kafka broker."""
    stack.start_kafka(state)
    yield state.bootstrap
    processes.stop("kafka")


@pytest.fixture(scope="module")
def new_database(postgres: State) -> Iterator[Callable[[str], str]]:
    """Create an empty database owned by a role (`warehouse`, `shop`); its DSN. Dropped after the module."""
    created: list[str] = []

    def create(role: str) -> str:
        name = f"{role}_{len(created)}_{os.urandom(3).hex()}"
        with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
            connection.execute(
                sql.SQL("create database {} owner {}").format(sql.Identifier(name), sql.Identifier(role))
            )
        created.append(name)
        if role == "warehouse":
            database.make_tables(postgres.dsn(name, "postgres"))
        return postgres.dsn(name, role)

    yield create
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        for name in created:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def set_connection() -> Iterator[Callable[[str, str], None]]:
    """Define an Airflow connection by its URI or JSON, for this module."""
    with pytest.MonkeyPatch.context() as patch:
        yield lambda conn_id, value: patch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", value)


@pytest.fixture(scope="module")
def warehouse_dsn(
    postgres: State, new_database: Callable[[str], str], set_connection: Callable[[str, str], None]
) -> str:
    """
    The DSN of a new warehouse with its tables.

    The Airflow connections of the warehouse's roles lead to it, and the connection `warehouse`, which may read and
    change all of it.
    """
    dsn = new_database("warehouse")
    name = conninfo_to_dict(dsn)["dbname"]
    for conn_id in (LOADER, TRANSFORMER, PUBLISHER):
        set_connection(conn_id, postgres.dsn(str(name), conn_id.removeprefix("warehouse_")))
    set_connection("warehouse", dsn)
    return dsn


@pytest.fixture(scope="module")
def shop_dsn(new_database: Callable[[str], str], set_connection: Callable[[str, str], None]) -> str:
    """The DSN of a new, empty shop database; the Airflow connection `shop_postgres` leads to it."""
    dsn = new_database("shop")
    set_connection("shop_postgres", dsn)
    return dsn


@pytest.fixture(scope="module")
def shop_kafka(kafka_bootstrap: str, set_connection: Callable[[str, str], None]) -> str:
    """The address of the broker; the Airflow connection `shop_kafka` leads to it."""
    extra = {"bootstrap.servers": kafka_bootstrap, "group.id": "tests"}
    set_connection("shop_kafka", json.dumps({"conn_type": "kafka", "extra": extra}))
    return kafka_bootstrap
