"""Start, stop and reset the whole demo stack, and fill the systems that the warehouse reads."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from ecommerce.build import dag_files
from ecommerce.build.dag_files import WAREHOUSE_DAG
from ecommerce.common.shop import VARIABLE, profile_folder
from include.demo import airflow_services, database, processes, workers
from include.demo.airflow_api import AirflowApi
from include.demo.errors import StackError
from include.demo.ports import PORTS, start_on_free_port
from include.demo.settings import apply_settings, read_settings
from include.demo.shop.cities import cities
from include.demo.shop.fill_sources import fill_shop, produce_events
from include.demo.shop.generate import generate
from include.demo.shop.profile import shop_profile, write_profile
from include.demo.shop.shop_folder import EVENTS, OPENING, WEATHER, has_numbered_customers, read_folder
from include.demo.state import ROOT, STACK, WAREHOUSE_ROLES, State

log = logging.getLogger(__name__)

SETTINGS = ROOT / "airflow_settings.yaml"
GENERATED = STACK / "generated_shop"

#: What the shop of a stack has that was filled before a shop could lack a source.
_EARLIER_SOURCES = (
    "kafka_stream", "product", "product_category", "sales_fact", "customer", "subscription_data", "weather_data",
)  # fmt: skip
_SERVICE_OF_PORT = {
    "AIRFLOW_PORT": "airflow-api-server",
    "KAFKA_PORT": "kafka",
    "WEATHER_PORT": "weather",
    "VALKEY_PORT": "valkey",
}


def up(
    folder: Path | None = None,
    *,
    last_day: date | None = None,
    executor: str | None = None,
    number_of_workers: int | None = None,
) -> State:
    """
    Start the services that are not running, and wait until all of them answer.

    :param folder: the shop that the stack is to be filled from; None: the one that it has, if any
    :param last_day: the last day of that shop, which a run by hand without days is of
    :param executor: what runs the tasks: `local` (the scheduler) or `celery` (workers); None: as the stack did last
    :param number_of_workers: Celery workers; None: as many as the stack had last, or two
    :raises ShopDataError: a file of the folder is missing, or has a wrong name or header; nothing was started
    :raises StackError: the stack was filled from another shop, a port that the user asked for is taken, the executor
        cannot be changed while runs are active, or a service does not start
    """
    state = State.load() or State.create()
    if state.shop and "sources" not in state.shop:
        state.shop |= _sources_and_profile(_EARLIER_SOURCES)
    if folder:
        _choose_shop(state, folder)
    if last_day:
        state.shop["last_day"] = str(last_day)
    change_executor(state, executor, number_of_workers)
    for name in PORTS:
        if name == "VALKEY_PORT" and not state.workers:
            continue
        running = database.is_running() if name == "POSTGRES_PORT" else processes.find(_SERVICE_OF_PORT[name])
        if not running:
            state.choose_port(name)
    state.save()
    has_read_dags = bool(state.airflow_version)
    with ThreadPoolExecutor() as pool:
        manifest = pool.submit(airflow_services.build_manifest, state.dsn(role="transformer"))
        broker = pool.submit(start_kafka, state)
        workers_broker = pool.submit(start_valkey, state) if state.workers else None
        timed("Postgres", lambda: database.start(state))
        timed("Airflow's database", lambda: airflow_services.migrate(state))
        timed("Kafka broker", broker.result)
        if workers_broker:
            timed("Valkey", workers_broker.result)
        timed("dbt manifest", manifest.result)
    if state.shop.get("is_read"):
        timed("weather API", lambda: start_weather(state))
    # A stack that is filled here has the shop that it is filled from, whatever profile the shell names.
    chosen = "" if folder else os.environ.get(VARIABLE, "").strip()
    timed("Airflow", lambda: _start_airflow(state, chosen, has_read_dags=has_read_dags))
    _apply_settings(state)
    return state


def _choose_shop(state: State, folder: Path) -> None:
    """
    Note which shop the stack is to be filled from, after its files were checked.

    :raises ShopDataError: a file is missing, or has a wrong name or header
    :raises StackError: the stack was filled from another shop
    """
    fingerprint = _fingerprint(folder)
    current = state.shop
    # As long as the warehouse has read nothing of the shop, its files may be corrected, or another folder chosen.
    if current.get("is_read"):
        if current["fingerprint"] != fingerprint:
            raise StackError(
                f"the stack holds another shop ({current['folder']}); the two cannot share one warehouse. "
                "Stop and empty it first: make reset"
            )
        return
    shop = read_folder(folder)
    state.shop = {
        "folder": str(folder),
        "fingerprint": fingerprint,
        **_sources_and_profile(shop.sources, customers_are_numbers=has_numbered_customers(folder)),
        # After an attempt that was interrupted, the topic may hold some of the messages already.
        **({"started": current["started"]} if "started" in current else {}),
    }


def _sources_and_profile(sources: Sequence[str], *, customers_are_numbers: bool = False) -> dict[str, str]:
    profile = shop_profile(sources, customers_are_numbers=customers_are_numbers)
    return {"sources": ",".join(sources), "profile": profile or ""}


def _start_airflow(state: State, chosen: str, *, has_read_dags: bool) -> None:
    """
    Start Airflow with the profile of the stack's shop, or with a chosen one; first stop it if it runs with another one.

    :param chosen: the name or folder of the profile; empty: that of the stack's shop
    """
    profile = state.shop.get("profile", "")
    name = chosen or (str(airflow_services.PROFILE) if profile else "")
    is_changed = (state.airflow_shop, state.airflow_profile) != (name, profile)
    if is_changed and airflow_services.stop():
        log.info("Airflow starts again: the shop has another profile than before")
    write_profile(airflow_services.PROFILE, profile or None)
    state.airflow_shop = name
    started_at = datetime.now(UTC)
    airflow_services.start(state)
    if not is_changed:
        return
    if has_read_dags:
        # Until the DAG files are read again, Airflow would run the DAGs of the profile before.
        for dag_id in (WAREHOUSE_DAG, "extract_sales_fact"):
            wait_for_dag(api_of(state), dag_id, since=started_at)
    state.airflow_profile = profile
    state.save()


def running() -> State:
    """
    Read the state of a stack that is up.

    :raises StackError: there is no stack, or its Airflow does not answer
    """
    state = State.load()
    if state is None or not airflow_services.is_healthy(state):
        raise StackError("the stack is not up; start it with: make up (or make demo)")
    return state


def running_with_the_chosen_shop() -> State:
    """
    Read the state of a stack that is up, and has the shop that the shell names, if it names one.

    :raises StackError: there is no stack, its Airflow does not answer, or it has another shop
    """
    state = running()
    chosen, current = os.environ.get(VARIABLE, "").strip(), state.airflow_shop or "default"
    if chosen and profile_folder(chosen) != profile_folder(current):
        raise StackError(
            f"{VARIABLE} is {chosen}, but the stack runs with the shop {current}. "
            f"To change its shop: make down, make up; to keep it: unset {VARIABLE}"
        )
    return state


def down() -> list[str]:
    """Stop all services; the names of those that were running."""
    stopped = []
    if airflow_services.stop():
        stopped.append("Airflow")
    for name in ("weather", "kafka", "valkey"):
        if processes.stop(name):
            stopped.append(name)
    if database.stop():
        stopped.append("Postgres")
    return stopped


def reset() -> None:
    """Stop all services and delete the stack's data."""
    down()
    database.remove()
    shutil.rmtree(STACK, ignore_errors=True)


def restart(service: str | None = None, *, is_forced: bool = False) -> State:
    """
    Stop Airflow's services, or one of them, and start them again, so that they run the code as it is now.

    :param service: e.g. `scheduler`; None: all of them
    :param is_forced: also while runs are active, whose tasks end
    :raises StackError: there is no stack, no such service, or a run is active
    """
    state = State.load()
    if state is None or "AIRFLOW_PORT" not in state.ports:
        raise StackError("there is no stack yet; start it with: make up (or make demo)")
    if service is not None and service not in (names := airflow_services.names(state)):
        raise StackError(f"there is no service {service}; there are {', '.join(names)}")
    if not is_forced and (active := _active_runs_in_words(state)):
        raise StackError(f"{active}. Wait until they have ended, or: make restart FORCE=1")
    if service is None:
        airflow_services.stop()
    else:
        processes.stop(f"airflow-{service}")
    return up()


def _active_runs_in_words(state: State) -> str | None:
    """Which runs would lose their tasks if Airflow were stopped; None if none would."""
    if not airflow_services.is_healthy(state) or not (active := api_of(state).active_runs()):
        return None
    runs = ", ".join(f"{run['dag_id']} {run['dag_run_id']}" for run in active[:3])
    return f"{len(active)} run(s) are active, and a restart would end their tasks: {runs}"


def change_executor(state: State, executor: str | None, number_of_workers: int | None) -> None:
    """
    Choose what runs the tasks, and stop Airflow if it runs with something else: `up` then starts it again.

    :param executor: `local` or `celery`; None: as before
    :param number_of_workers: Celery workers; None: as many as before, or two
    :raises StackError: there is no such executor, or runs are active
    """
    if not workers.choose_executor(state, executor, number_of_workers):
        return
    if "AIRFLOW_PORT" in state.ports and (active := _active_runs_in_words(state)):
        raise StackError(f"{active}. Wait until they have ended, or: make down")
    if airflow_services.stop():
        log.info("Airflow starts again: its tasks are run by %s", workers.in_words(state))
    if not state.workers:
        processes.stop("valkey")


def api_of(state: State) -> AirflowApi:
    """Log in to the stack's Airflow as its admin."""
    return AirflowApi(state.airflow_url, "admin", state.passwords["admin"])


def wait_for_dag(api: AirflowApi, dag_id: str, *, seconds: float = 120, since: datetime | None = None) -> None:
    """
    Wait until the DAG processor has read a DAG.

    :param since: a reading before this moment does not count
    :raises StackError: a DAG file cannot be imported, or the DAG was not read in time
    """
    deadline = time.monotonic() + seconds
    while not api.dag_is_known(dag_id, since=since):
        if errors := api.import_errors():
            raise StackError("Airflow cannot import a DAG file:\n" + "\n".join(errors))
        if time.monotonic() > deadline:
            raise StackError(
                f"Airflow did not read the DAG {dag_id} in {seconds:.0f} s\n" + processes.tail("airflow-dag-processor")
            )
        time.sleep(0.5)


def let_airflow_read_changed_files(state: State) -> None:
    """
    Wait until Airflow has the DAG of the files as they are now: the shop's profile, the checks, and the dbt project.

    Airflow does not notice by itself for minutes. A run before that loads the sources of the profile before, and has no
    task for a new check or model. What only a restart takes up is said.

    :raises StackError: the DAG cannot be built from the files, or was not read in time
    """
    # First of all: without a restart Airflow may not even be able to read the DAG.
    if advice := restart_in_words():
        log.warning("%s\n", advice)
    airflow_services.build_manifest(state.dsn(role="transformer"))
    workers.deploy(workers.names(state), profile=airflow_services.PROFILE)
    api = api_of(state)
    wait_for_dag(api, WAREHOUSE_DAG)
    files = dag_files.files_of_dag(WAREHOUSE_DAG, chosen=state.airflow_shop, root=ROOT)
    changed = {path: datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in files}
    newer = [path for path, changed_at in changed.items() if not api.dag_is_known(WAREHOUSE_DAG, since=changed_at)]
    if not newer:
        return
    log.info("Airflow reads what has changed: %s", dag_files.names_of(newer, root=ROOT))
    for dag_id in (WAREHOUSE_DAG, "extract_sales_fact"):
        api.read_again(dag_id)
    wait_for_dag(api, WAREHOUSE_DAG, since=max(changed[path] for path in newer))


def restart_in_words() -> str | None:
    """That code has changed since Airflow was started; None if it has not, or no service of Airflow runs."""
    services = filter(None, map(processes.find, processes.started("airflow-")))
    started = min((service.create_time() for service in services), default=None)
    return None if started is None else dag_files.restart_in_words(started, root=ROOT)


#: Fifteen months: with 90 days, the page's default range, and the same days of the year before.
DEMO_SHOP: dict[str, Any] = {"first": date(2023, 4, 1), "days": 455, "orders": 20_000}


def generated_shop() -> Path:
    """Generate the shop, unless it is there already; its folder."""
    if not (GENERATED / "complete").exists():
        shutil.rmtree(GENERATED, ignore_errors=True)
        GENERATED.mkdir(parents=True)
        timed("shop generated", lambda: generate(GENERATED, **DEMO_SHOP))
        (GENERATED / "complete").touch()
    return GENERATED


def fill(state: State, *, opening: Callable[[], None]) -> None:
    """
    Fill the shop's Postgres, the Kafka topic and the weather API from the stack's shop, unless that was done already.

    :param opening: called while the shop's database has the opening state, if the folder has one; a run at this moment
        makes the warehouse see the later changes as changes
    :raises ShopDataError: a file is malformed
    """
    if state.shop.get("is_filled"):
        return
    if state.shop.get("started"):
        empty_broker(state)
    state.shop |= {"started": "yes"}
    state.save()
    shop = read_folder(Path(state.shop["folder"]))
    dsn = state.dsn("shop")
    # All files are checked before the warehouse reads any of them: until then, a mistake can be corrected.
    counts = timed("shop filled", lambda: fill_shop(dsn, shop.path))
    if has_source(state, EVENTS):
        counts["events"] = timed("events produced", lambda: produce_events(state.bootstrap, shop.path))
    _serve_weather(state)
    if shop.opening:
        fill_shop(dsn, shop.path / OPENING, shop.opening)
        state.shop |= {"is_read": "yes"}
        state.save()
        opening()
        fill_shop(dsn, shop.path, shop.opening)
    state.shop |= {"is_filled": "yes", "is_read": "yes"}
    state.save()
    log.info("  %s", ", ".join(f"{name} {n:,}" for name, n in counts.items()))


def has_source(state: State, source: str) -> bool:
    """Whether the stack's shop has a source."""
    return source in state.shop.get("sources", "").split(",")


def timed(what: str, work: Callable[[], Any]) -> Any:
    """Do the work and log how long it took; its result."""
    started = time.monotonic()
    result = work()
    log.info("  %-22s %5.1f s", what, time.monotonic() - started)
    return result


def _apply_settings(state: State) -> None:
    settings = read_settings(SETTINGS, _values(state))
    for variable in settings["variables"]:
        if variable["variable_name"] == "weather_cities" and "cities" in state.shop:
            # The cities of the shop that the stack was filled from, not those of the file.
            variable["variable_value"] = state.shop["cities"]
    apply_settings(api_of(state), settings)


def _values(state: State) -> dict[str, str]:
    """Values for the placeholders of airflow_settings.yaml: addresses and secrets of this stack."""
    return {
        "WAREHOUSE_HOST": "127.0.0.1",
        "WAREHOUSE_PORT": str(state.ports["POSTGRES_PORT"]),
        **{f"{role.upper()}_PASSWORD": state.passwords[role] for role in WAREHOUSE_ROLES},
        "SHOP_HOST": "127.0.0.1",
        "SHOP_PORT": str(state.ports["POSTGRES_PORT"]),
        "SHOP_PASSWORD": state.passwords["shop"],
        "KAFKA_BOOTSTRAP": state.bootstrap,
        "WEATHER_URL": f"http://127.0.0.1:{state.ports['WEATHER_PORT']}",
        "AIRFLOW_HOST": "127.0.0.1",
        "AIRFLOW_PORT": str(state.ports["AIRFLOW_PORT"]),
        "AIRFLOW_PASSWORD": state.passwords["admin"],
    }


def start_kafka(state: State) -> None:
    """Start the broker if it is not running, and wait until it listens."""
    (STACK / "kafka").mkdir(parents=True, exist_ok=True)
    # The binary itself: the command of that name is a wrapper, and the broker goes on when the wrapper is stopped.
    program = Path(str(files("noida_db"))) / "noida-db"
    options: list[str | Path] = [
        "start",
        "--only",
        "kafka",
        "--host",
        "127.0.0.1",
        "--data-dir",
        STACK / "kafka",
        "--kafka-port",
    ]
    _start_server("kafka", "KAFKA_PORT", state, [program, *options])


def start_valkey(state: State) -> None:
    """Start the broker of Celery workers if it is not running, and wait until it listens."""
    _start_server("valkey", "VALKEY_PORT", state, workers.broker_command(state))


def _start_server(name: str, port: str, state: State, command: Sequence[str | Path]) -> None:
    """Start a server if it is not running, and wait until it listens; the command ends with the option for the port."""

    def start() -> None:
        if processes.find(name) is None:
            processes.start(name, [*command, str(state.ports[port])])
        processes.wait_for_port(name, state.ports[port], seconds=30)

    start_on_free_port(port, state, start, lambda: processes.stop(name))


def empty_broker(state: State) -> None:
    """Delete all topics, and restart the broker."""
    processes.stop("kafka")
    shutil.rmtree(STACK / "kafka", ignore_errors=True)
    start_kafka(state)


def start_weather(state: State) -> None:
    """Start the weather API if it is not running and the stack's shop has weather."""
    if has_source(state, WEATHER):
        options = ["--folder", state.shop["folder"], "--host", "127.0.0.1", "--port"]
        _start_server(
            "weather", "WEATHER_PORT", state, [sys.executable, "-m", "include.demo.shop.weather_api", *options]
        )


def _serve_weather(state: State) -> None:
    """Restart the weather API with the stack's shop, and set the shop's cities in Airflow."""
    processes.stop("weather")
    if has_source(state, WEATHER):
        places = cities(Path(state.shop["folder"]))
        state.shop["cities"] = json.dumps({city: list(place) for city, place in places.items()})
        start_weather(state)
        _apply_settings(state)


def _fingerprint(folder: Path) -> str:
    """Hash the names, sizes and times of the folder's files: quick also for gigabytes."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".csv", ".jsonl"))
    facts = [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()
