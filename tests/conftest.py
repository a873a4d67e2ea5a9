"""
Start real services for the tests that need them: Postgres and Kafka of the demo stack, in a temporary folder.

`make test` runs two test processes (pytest-xdist), each with its own services. All tests of one module run in the same
process and in their order, and so do all tests that need the running stack.

What a test begins with, from the least to the most; each is of its module, and gone after it:

| fixture | what it is |
| --- | --- |
| `new_database("shop")`, `new_database("warehouse")` | a database: empty, or with the tables of a run's first tasks |
| `warehouse_dsn`, `shop_dsn` | one of each, with the Airflow connections that lead to it |
| `shop_kafka` | a broker, noida-db or Apache Kafka, with the Airflow connection that leads to it |
| `connection`, `loader` of `tests/integration` | a session in that warehouse, emptied before each test |
| `dbt_on(dsn, folder)` of `tests/integration/dbt_runs.py` | dbt on a warehouse: the project is parsed once a process |
| `filled` of `tests/integration/shop_pages` | a small shop, loaded, built and published |
| `demo`, `whole_range` of `tests/running_stack.py` | Airflow with all services; the same after a run |

What several modules begin with is made once in each process and then copied, by the fixture `copies`.
"""

import gc
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

# First: it sets what Airflow and the stack read when they are imported.
from tests.environment import FOLDER, IS_WORKER, KEPT  # isort: split

import hypothesis
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from xdist.scheduler import LoadScopeScheduling

from ecommerce.common.connections import LOADER, PUBLISHER, TRANSFORMER
from include.demo import airflow_services, database, processes, stack
from include.demo.state import ROOT, STACK, WAREHOUSE_ROLES, State
from tests.apache_kafka import server
from tests.copies import Copies

# No test is measured by its time: on a busy machine a property that holds would fail.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

pytest_plugins = ["tests.running_stack"]

#: Whether the services go on after this process, for the next one.
_KEEPS_SERVICES = KEPT is not None and STACK.is_relative_to(KEPT)
#: Folders of the tests that need the running stack.
_ON_THE_STACK = ("tests/dags/", "tests/browser/")
#: A module among them that needs no service.
_WITHOUT_STACK = "tests/dags/test_integrity.py"
#: In a single process the quick tests come first, and those on the stack last. Two processes take them the other way
#: round: the long ones begin at once, and the short ones at the end keep both at work until the last second.
_ORDER = ("tests/unit/", "tests/integration/")
#: Mark → environment variables; its tests run if one of them is set.
_SWITCHES = {
    "slow": ("ECOMMERCE_CI", "ECOMMERCE_TEST_LONG"),
    "long_form": ("ECOMMERCE_TEST_LONG",),
    "helm_chart": ("AIRFLOW_HELM_CHART",),
}


class _SideBySide(LoadScopeScheduling):
    """Decides which tests run in the same process, in their order."""

    def _split_scope(self, nodeid: str) -> str:
        return "the running stack" if _is_on_the_stack(nodeid) else nodeid.split("::")[0]


def _is_on_the_stack(nodeid: str) -> bool:
    return nodeid.startswith(_ON_THE_STACK) and not nodeid.startswith(_WITHOUT_STACK)


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
        return "tests that do not run: " + ", ".join(f"{mark} (needs {_SWITCHES[mark][-1]})" for mark in marks)
    return "all tests run"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marks = _left_out_marks()
    left_out = {item: any(map(item.get_closest_marker, marks)) for item in items}
    config.hook.pytest_deselected(items=[item for item in items if left_out[item]])
    items[:] = [item for item in items if not left_out[item]]

    def place(item: pytest.Item) -> int:
        if _is_on_the_stack(item.nodeid):
            return len(_ORDER) + 1
        return next((n for n, folder in enumerate(_ORDER) if item.nodeid.startswith(folder)), len(_ORDER))

    items.sort(key=place, reverse=IS_WORKER)


def pytest_collection_finish() -> None:
    # Airflow, dbt and the tests are half a million objects that stay: garbage collection need not look at them again.
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    # Airflow takes a quarter of a core also when it has nothing to do, and the other tests do not need it.
    if _is_on_the_stack(item.nodeid) and nextitem and not _is_on_the_stack(nextitem.nodeid):
        airflow_services.stop()


# Last, also if `-x` ends the session early: fixtures need the files of this folder to stop their services.
@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    for running_stack in FOLDER.glob("gw*/stack"):
        env = {**os.environ, "PYTHONPATH": "plugins", "STACK_DIR": str(running_stack)}
        subprocess.run([sys.executable, "-m", "include.demo", "reset"], cwd=ROOT, env=env, check=False)
    shutil.rmtree(FOLDER, ignore_errors=True)


@pytest.fixture(scope="session")
def state() -> State:
    """The ports and passwords of the services of the tests."""
    return (State.load() if _KEEPS_SERVICES else None) or State.create_beside()


@pytest.fixture(scope="session")
def postgres(state: State) -> Iterator[State]:
    """The state of the stack, with a running Postgres 18 and the roles of the stack."""
    if _KEEPS_SERVICES and database.is_running():
        Copies(state).drop_all_others()
    database.start(state)
    with psycopg.connect(state.dsn("postgres"), autocommit=True) as connection:
        # The data of tests need not survive a power cut, and with fsync, dropping a database waits for the disk.
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(sql.SQL("alter system set {} = off").format(sql.Identifier(setting)))
        connection.execute("select pg_reload_conf()")
        # dbt connects once a node. A password is hashed 4,096 times for each session, which takes longer than the rest.
        connection.execute("set scram_iterations = 1")
        for role in ("postgres", *database.DATABASES, *WAREHOUSE_ROLES):
            connection.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(role), state.passwords[role]))
    yield state
    if not _KEEPS_SERVICES:
        database.stop()
        database.remove()


@pytest.fixture(scope="session")
def kafka_bootstrap(state: State) -> Iterator[str]:
    """The address of a running noida-db, which speaks Kafka's protocol."""
    stack.start_kafka(state)
    yield state.bootstrap
    processes.stop("kafka")


@pytest.fixture(scope="session")
def apache_kafka_can_run() -> None:
    """Where Apache Kafka cannot run, its tests are skipped, but never in CI."""
    if reason := server.why_not_here():
        if os.environ.get("CI") or os.environ.get("ECOMMERCE_CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def apache_kafka(apache_kafka_can_run: None) -> Iterator[server.ApacheKafka]:
    """A running Apache Kafka of one node."""
    with server.apache_kafka() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def copies(postgres: State) -> Copies:
    """What several modules begin with, made once and then copied: see :class:`tests.copies.Copies`."""
    return Copies(postgres)


@pytest.fixture(scope="module")
def new_database(postgres: State, copies: Copies) -> Iterator[Callable[[str], str]]:
    """
    Create a database owned by a role, and return its DSN; it is dropped after the module.

    A `shop` is empty, a `warehouse` has the schemas, rights and tables of a run's first tasks, and no row.
    """
    created: list[str] = []

    def create_empty(name: str, role: str) -> None:
        with copies.administrator() as connection:
            connection.execute(
                sql.SQL("create database {} owner {}").format(sql.Identifier(name), sql.Identifier(role))
            )

    def create_warehouse(name: str) -> None:
        create_empty(name, "warehouse")
        database.make_tables(postgres.dsn(name, "postgres"))

    def create(role: str) -> str:
        name = f"{role}_{len(created)}_{os.urandom(3).hex()}"
        if role == "warehouse":
            copies.fill(name, "tables of a warehouse", lambda: create_warehouse(name))
        else:
            create_empty(name, role)
        created.append(name)
        return postgres.dsn(name, role)

    yield create
    with copies.administrator() as connection:
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
def shop_kafka(request: pytest.FixtureRequest, set_connection: Callable[[str, str], None]) -> str:
    """
    The address of the broker; the Airflow connection `shop_kafka` leads to it.

    It is noida-db, the broker of the demo, unless the test says by a parameter that it is `Apache Kafka`.
    """
    if getattr(request, "param", None) == "Apache Kafka":
        bootstrap = request.getfixturevalue("apache_kafka").bootstrap
    else:
        bootstrap = request.getfixturevalue("kafka_bootstrap")
    extra = {"bootstrap.servers": bootstrap, "group.id": "tests"}
    set_connection("shop_kafka", json.dumps({"conn_type": "kafka", "extra": extra}))
    return bootstrap
