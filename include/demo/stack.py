"""The embedded stack as a whole: up, down, reset, and what its shop holds."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

from include.demo import airflow_services, database, processes
from include.demo.airflow_api import AirflowApi
from include.demo.errors import StackError
from include.demo.settings import apply_settings, read_settings
from include.demo.shop.cities import cities
from include.demo.shop.feed import fill_shop, produce_events
from include.demo.shop.generate import generate
from include.demo.state import PORTS, ROOT, STACK, WAREHOUSE_ROLES, State, choose_port

log = logging.getLogger(__name__)

SETTINGS = ROOT / "airflow_settings.yaml"
GENERATED = STACK / "shop"
WAREHOUSE_DAG = "ecommerce_warehouse"

_SERVICE_OF_PORT = {"AIRFLOW_PORT": "airflow-api-server", "KAFKA_PORT": "kafka", "WEATHER_PORT": "weather"}


def up() -> State:
    """
    Start whatever is not running; wait until all of it answers.

    :raises StackError: a port is taken, a service does not start
    """
    state = State.load() or State.create()
    for name in PORTS:
        running = database.is_running() if name == "POSTGRES_PORT" else processes.find(_SERVICE_OF_PORT[name])
        if not running:
            state.ports[name] = choose_port(name, state.ports.get(name))
    state.save()
    with ThreadPoolExecutor() as pool:
        manifest = pool.submit(airflow_services.build_manifest)
        broker = pool.submit(start_kafka, state)
        timed("Postgres", lambda: database.start(state))
        timed("Airflow's database", lambda: airflow_services.migrate(state))
        timed("Kafka broker", broker.result)
        timed("dbt manifest", manifest.result)
    timed("weather API", lambda: start_weather(state))
    timed("Airflow", lambda: airflow_services.start(state))
    _apply_settings(state)
    return state


def running() -> State:
    """
    The state of a stack that is up.

    :raises StackError: there is none, or its Airflow does not answer
    """
    state = State.load()
    if state is None or not airflow_services.is_healthy(state):
        raise StackError("the stack is not up; start it with: make up (or make demo)")
    return state


def down() -> list[str]:
    """Stop everything; the names of what was running."""
    stopped = []
    if airflow_services.stop():
        stopped.append("Airflow")
    for name in ("weather", "kafka"):
        if processes.stop(name):
            stopped.append(name)
    if database.stop():
        stopped.append("Postgres")
    return stopped


def reset() -> None:
    """Stop everything and delete all that the stack holds."""
    down()
    database.remove()
    shutil.rmtree(STACK, ignore_errors=True)


def api_of(state: State) -> AirflowApi:
    """A client of the stack's Airflow, as its admin."""
    return AirflowApi(state.airflow_url, "admin", state.passwords["admin"])


def wait_for_dag(api: AirflowApi, dag_id: str, *, seconds: float = 120) -> None:
    """
    Wait until the DAG processor has read a DAG.

    :raises StackError: a DAG file cannot be imported, or nothing came of it in time
    """
    deadline = time.monotonic() + seconds
    while not api.dag_is_known(dag_id):
        if errors := api.import_errors():
            raise StackError("Airflow cannot import a DAG file:\n" + "\n".join(errors))
        if time.monotonic() > deadline:
            raise StackError(
                f"Airflow did not read the DAG {dag_id} in {seconds:.0f} s\n" + processes.tail("airflow-dag-processor")
            )
        time.sleep(0.5)


def generated_shop() -> Path:
    """The folder of the generated shop, made if it is not there."""
    if not (GENERATED / "complete").exists():
        shutil.rmtree(GENERATED, ignore_errors=True)
        GENERATED.mkdir(parents=True)
        timed("shop generated", lambda: generate(GENERATED))
        (GENERATED / "complete").touch()
    return GENERATED


def fill(state: State, folder: Path, *, opening: Callable[[], None]) -> None:
    """
    Fill the sources with a data folder, unless they hold it already.

    ``opening`` is called between the shop's opening state and its present one, where the folder has both: it is
    the moment to read the former, so that the warehouse sees what changed.

    :raises StackError: the stack holds another shop
    :raises ShopDataError: a file is missing or malformed
    """
    fingerprint = _fingerprint(folder)
    held = state.shop
    # Until something of it was read, a folder that was refused may be mended or exchanged.
    if held.get("is_read") and held["fingerprint"] != fingerprint:
        raise StackError(
            f"the stack holds another shop ({held['folder']}); the two cannot share one warehouse. "
            "Stop and empty it first: make reset"
        )
    if held.get("is_filled"):
        return
    if held.get("started"):
        # An earlier attempt was interrupted: the topic may hold half of the messages.
        empty_broker(state)
    state.shop = {"folder": str(folder), "fingerprint": fingerprint, "started": "yes"}
    state.save()
    dsn = state.dsn("shop")
    if (folder / "opening").is_dir():
        # The present state once already, for its files to be judged before anything of the opening one is read.
        fill_shop(dsn, folder)
        tables = [path.stem for path in (folder / "opening").glob("*.csv")]
        fill_shop(dsn, folder / "opening", tables)
        _point_weather_at(state, folder)
        state.shop |= {"is_read": "yes"}
        state.save()
        opening()
    counts = timed("shop filled", lambda: fill_shop(dsn, folder))
    events = timed("events produced", lambda: produce_events(state.bootstrap, folder))
    _point_weather_at(state, folder)
    state.shop |= {"is_filled": "yes", "is_read": "yes"}
    state.save()
    log.info("  %s", ", ".join(f"{name} {n:,}" for name, n in {**counts, "events": events}.items()))


def timed(what: str, work: Callable[[], Any]) -> Any:
    """Do it, and say how long it took."""
    started = time.monotonic()
    result = work()
    log.info("  %-22s %5.1f s", what, time.monotonic() - started)
    return result


def _apply_settings(state: State) -> None:
    settings = read_settings(SETTINGS, _values(state))
    for variable in settings["variables"]:
        if variable["variable_name"] == "weather_cities" and "cities" in state.shop:
            # The cities of the shop that is held, not those of the file.
            variable["variable_value"] = state.shop["cities"]
    apply_settings(api_of(state), settings)


def _values(state: State) -> dict[str, str]:
    """What airflow_settings.yaml leaves open: addresses and secrets of this stack."""
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
    if processes.find("kafka") is None:
        (STACK / "kafka").mkdir(parents=True, exist_ok=True)
        processes.start(
            "kafka",
            [
                # The binary itself: the command of that name is a wrapper that leaves it behind when it is stopped.
                Path(str(files("noida_db"))) / "noida-db", "start", "--only", "kafka", "--host", "127.0.0.1",
                "--kafka-port", str(state.ports["KAFKA_PORT"]), "--data-dir", STACK / "kafka",
            ],
        )  # fmt: skip
    processes.wait_until(lambda: _answers(state.ports["KAFKA_PORT"]), "kafka", seconds=30)


def empty_broker(state: State) -> None:
    """Throw away every topic, and start the broker anew."""
    processes.stop("kafka")
    shutil.rmtree(STACK / "kafka", ignore_errors=True)
    start_kafka(state)


def start_weather(state: State) -> None:
    """Serve the shop's weather, once there is a shop."""
    if processes.find("weather") is None and state.shop:
        port = str(state.ports["WEATHER_PORT"])
        module = "include.demo.shop.weather_api"
        processes.start(
            "weather",
            [sys.executable, "-m", module, "--folder", state.shop["folder"], "--host", "127.0.0.1", "--port", port],
        )
        processes.wait_until(lambda: _answers(int(port)), "weather", seconds=30)


def _point_weather_at(state: State, folder: Path) -> None:
    """Serve this folder's weather, and tell Airflow of its cities."""
    state.shop["cities"] = json.dumps({city: list(place) for city, place in cities(folder).items()})
    processes.stop("weather")
    start_weather(state)
    _apply_settings(state)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _fingerprint(folder: Path) -> str:
    """Changes when a file of the folder does: names, sizes and times, which is quick on gigabytes."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".csv", ".jsonl"))
    facts = [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()
