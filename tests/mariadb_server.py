"""
A MariaDB server in a temporary folder, for the tests and the benchmark of shops in MySQL.

It takes the programs of Debian's packages mariadb-server-core and mariadb-client-core. Started by root it runs as
`nobody`, since it refuses to run as root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

USER, PASSWORD = "shop", "a'b\\c%"
#: Seconds for the server to answer.
_START = 60
#: Small and without care for a power cut: the data are made up.
_SETTINGS = (
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--skip-log-bin",
    "--skip-name-resolve",
    "--bind-address=127.0.0.1",
    # What a reader must not depend on.
    "--character-set-server=latin1",
    "--sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT",
    "--default-time-zone=-07:00",
    "--transaction-isolation=READ-COMMITTED",
)


def program(name: str) -> str | None:
    """The path of a program of MariaDB, or None if it is not installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


MISSING = [name for name in ("mariadbd", "mariadb-install-db", "mariadb") if program(name) is None]


@dataclass(frozen=True)
class MariaDB:
    """A running server; the user `shop` may do everything in every database of it."""

    port: int
    process: subprocess.Popen[bytes]

    def connect(self, database: str | None = None, **arguments: Any) -> pymysql.Connection:
        """A session of the user, with the settings of MySQL's manual."""
        defaults: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": USER,
            "password": PASSWORD,
            "database": database,
            "charset": "utf8mb4",
            "sql_mode": "STRICT_TRANS_TABLES",
            "init_command": "set time_zone = '+00:00'",
            "autocommit": True,
        }
        return pymysql.connect(**{**defaults, **arguments})

    def airflow_connection(self, database: str, **changes: Any) -> dict[str, Any]:
        """The Airflow connection, as JSON has it."""
        return {
            "conn_type": "mysql",
            "host": "127.0.0.1",
            "port": self.port,
            "login": USER,
            "password": PASSWORD,
            "schema": database,
            **changes,
        }


@contextmanager
def mariadb_server(settings: Mapping[str, str] | None = None) -> Iterator[MariaDB]:
    """
    Start a server; at the end stop it and delete its data.

    :param settings: of the server, added to those that make it small
    """
    folder = Path(tempfile.mkdtemp(prefix="ecommerce-mariadb-", dir="/var/tmp"))
    data, log = folder / "data", folder / "server.log"
    # Its account may not write to a TMPDIR of ours.
    account: dict[str, Any] = {"env": {**os.environ, "TMPDIR": str(folder)}}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        account |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    port = _free_port()
    process: subprocess.Popen[bytes] | None = None
    try:
        installed = subprocess.run(
            [
                str(program("mariadb-install-db")), "--no-defaults", f"--datadir={data}", "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ],
            cwd=folder, capture_output=True, text=True, check=False, **account,
        )  # fmt: skip
        assert installed.returncode == 0, installed.stdout + installed.stderr
        process = subprocess.Popen(
            [
                str(program("mariadbd")), "--no-defaults", f"--datadir={data}", f"--socket={folder / 'socket'}",
                f"--pid-file={folder / 'pid'}", f"--port={port}", f"--log-error={log}", *_SETTINGS,
                *(f"--{name}={value}" for name, value in (settings or {}).items()),
            ],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **account,
        )  # fmt: skip
        root = _wait_for(process, folder / "socket", log)
        with root, root.cursor() as cursor:
            cursor.execute("set sql_mode = ''")
            for statement in ("create user %s@'127.0.0.1' identified by %s", "grant all on *.* to %s@'127.0.0.1'"):
                cursor.execute(statement, (USER, PASSWORD)[: statement.count("%s")])
        yield MariaDB(port, process)
    finally:
        if process is not None:
            process.terminate()
            process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(process: subprocess.Popen[bytes], path: Path, log: Path) -> pymysql.Connection:
    deadline = time.monotonic() + _START
    while True:
        try:
            return pymysql.connect(unix_socket=str(path), user="root", autocommit=True, sql_mode="")
        except pymysql.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"MariaDB did not start:\n{log.read_text()[-3000:]}") from None
            time.sleep(0.1)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]
