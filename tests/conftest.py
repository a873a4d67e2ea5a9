"""
Real services for every test that needs them: the demo stack's own Postgres and broker, in a folder of the tests'.

`make test` runs two processes side by side (pytest-xdist), each with services of its own. The tests of one module stay
together and in their order, and so do all that need the one running stack.
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

# Before anything imports Airflow or the stack: both read these once. The folder of a process that runs side by side
# with another lies in that of the process that started both, which looks after what a killed one has left running.
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

import psycopg  # noqa: E402
import pytest  # noqa: E402
from psycopg import sql  # noqa: E402
from psycopg.conninfo import conninfo_to_dict  # noqa: E402
from xdist.scheduler import LoadScopeScheduling  # noqa: E402

from ecommerce.common.connections import LOADER, PUBLISHER, TRANSFORMER  # noqa: E402
from include.demo import airflow_services, database, processes, stack  # noqa: E402
from include.demo.state import ROOT, State  # noqa: E402

pytest_plugins = ["tests.running_stack"]

#: Where the tests are that need the running stack. They take longest, so they begin first where two processes run side
#: by side; where one runs alone, what is quick comes first.
_ON_THE_STACK = ("tests/dags/", "tests/browser/")
_ORDER = ("tests/unit/", "tests/integration/")


class _SideBySide(LoadScopeScheduling):
    """Which tests go together to one process, in their order."""

    def _split_scope(self, nodeid: str) -> str:
        return "the running stack" if nodeid.startswith(_ON_THE_STACK) else nodeid.split("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    config.option.loadscopereorder = False
    return _SideBySide(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: Any) -> None:
    # Once, before there are two that would write it.
    airflow_services.build_manifest()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not os.environ.get("ECOMMERCE_TEST_LONG"):
        left_out = [item for item in items if item.get_closest_marker("long_form")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]

    def place(item: pytest.Item) -> int:
        if item.nodeid.startswith(_ON_THE_STACK):
            return -1 if _is_worker else len(_ORDER) + 1
        return next((n for n, folder in enumerate(_ORDER) if item.nodeid.startswith(folder)), len(_ORDER))

    items.sort(key=place)


# Last, also where `-x` ends the session early: the fixtures find what they have to stop by files of this folder.
@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    for left_running in _FOLDER.glob("gw*/stack"):
        env = {**os.environ, "PYTHONPATH": "plugins", "STACK_DIR": str(left_running)}
        subprocess.run([sys.executable, "-m", "include.demo", "reset"], cwd=ROOT, env=env, check=False)
    shutil.rmtree(_FOLDER, ignore_errors=True)


@pytest.fixture(scope="session")
def state() -> State:
    """Ports and passwords of the tests' services."""
    return State.create_beside()


@pytest.fixture(scope="session")
def postgres(state: State) -> Iterator[State]:
    """A running Postgres 18 with the stack's roles."""
    database.start(state)
    with psycopg.connect(state.dsn("postgres"), autocommit=True) as connection:
        # What the tests write need not survive a power cut, and dropping a database waits for the disk otherwise.
        connection.execute("alter system set fsync = off")
        connection.execute("select pg_reload_conf()")
    yield state
    database.stop()
    database.remove()


@pytest.fixture(scope="session")
def kafka_bootstrap(state: State) -> Iterator[str]:
    """A running broker."""
    stack.start_kafka(state)
    yield state.bootstrap
    processes.stop("kafka")


@pytest.fixture(scope="module")
def new_database(postgres: State) -> Iterator[Callable[[str], str]]:
    """Make an empty database owned by a role (`warehouse`, `shop`); its DSN. Dropped after the module."""
    made: list[str] = []

    def make(role: str) -> str:
        name = f"{role}_{len(made)}_{os.urandom(3).hex()}"
        with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
            connection.execute(
                sql.SQL("create database {} owner {}").format(sql.Identifier(name), sql.Identifier(role))
            )
        made.append(name)
        if role == "warehouse":
            database.make_tables(postgres.dsn(name, "postgres"))
        return postgres.dsn(name, role)

    yield make
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        for name in made:
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
    A fresh warehouse with its tables, behind the Airflow connections of its roles.

    And behind `warehouse`, by which a test sees and changes all of it: the DSN.
    """
    dsn = new_database("warehouse")
    name = conninfo_to_dict(dsn)["dbname"]
    for conn_id in (LOADER, TRANSFORMER, PUBLISHER):
        set_connection(conn_id, postgres.dsn(str(name), conn_id.removeprefix("warehouse_")))
    set_connection("warehouse", dsn)
    return dsn


@pytest.fixture(scope="module")
def shop_dsn(new_database: Callable[[str], str], set_connection: Callable[[str, str], None]) -> str:
    """A fresh, empty shop database, behind the Airflow connection `shop_postgres`."""
    dsn = new_database("shop")
    set_connection("shop_postgres", dsn)
    return dsn


@pytest.fixture(scope="module")
def shop_kafka(kafka_bootstrap: str, set_connection: Callable[[str, str], None]) -> str:
    """The broker, behind the Airflow connection `shop_kafka`."""
    extra = {"bootstrap.servers": kafka_bootstrap, "group.id": "tests"}
    set_connection("shop_kafka", json.dumps({"conn_type": "kafka", "extra": extra}))
    return kafka_bootstrap
