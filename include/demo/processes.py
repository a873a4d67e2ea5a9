"""Start, find and stop the background processes of the stack, across commands: their pid files tell which they are."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from include.demo.errors import StackError
from include.demo.state import PYTHON_PATH, ROOT, STACK

LOGS = STACK / "logs"
PIDS = STACK / "pids"


def start(
    name: str, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, folder: Path = ROOT
) -> None:
    """
    Start a process that goes on after this one has ended; its output goes to the stack's logs.

    :param env: its whole environment; None: that of this process, with the project's code
    :param folder: its working directory

    First ends the children of an earlier process of that name that was killed: forks of a killed scheduler keep its
    connections to the metadata database open, and with them its locks, so the next scheduler would wait for ever.
    """
    _end_orphans(name)
    LOGS.mkdir(parents=True, exist_ok=True)
    PIDS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{name}.log"
    path.touch(mode=0o600)
    # Of an earlier version it may be open to others; the API server writes passwords to it.
    path.chmod(0o600)
    with path.open("ab") as log:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env=dict(env) if env is not None else {**os.environ, "PYTHONPATH": PYTHON_PATH},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )
    # After a reboot another process may have the same pid, but not the same start time.
    (PIDS / name).write_text(f"{process.pid} {psutil.Process(process.pid).create_time()}")


def started(prefix: str) -> list[str]:
    """The names of the processes that were started and not stopped, and begin with a prefix."""
    return sorted(path.name for path in PIDS.glob(f"{prefix}*"))


def find(name: str) -> psutil.Process | None:
    """Find the running process of that name; None if there is none."""
    path = PIDS / name
    if not path.exists():
        return None
    pid, created = path.read_text().split()
    try:
        process = psutil.Process(int(pid))
        if process.create_time() == float(created) and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except psutil.NoSuchProcess:
        return None
    return None


def _end_orphans(name: str) -> None:
    path = PIDS / name
    if not path.exists():
        return
    pid, created = path.read_text().split()
    if float(created) < psutil.boot_time():
        # Pids from before a reboot belong to other processes now.
        return
    leader = int(pid)
    with contextlib.suppress(psutil.NoSuchProcess):
        if psutil.Process(leader).status() != psutil.STATUS_ZOMBIE:
            return
    # A session keeps the pid of the process that opened it, as long as one of its processes runs.
    orphans = [process for process in psutil.process_iter() if _session_of(process) == leader]
    for orphan in orphans:
        orphan.kill()
    psutil.wait_procs(orphans, timeout=5)


def _session_of(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except (ProcessLookupError, PermissionError):
        return None


def stop(name: str, *, timeout: float = 20.0) -> bool:
    """Stop a process and all its children by SIGTERM, after the timeout by SIGKILL; False if it was not running."""
    process = find(name)
    if process is not None:
        family = [process, *process.children(recursive=True)]
        process.terminate()
        _, alive = psutil.wait_procs(family, timeout=timeout)
        for running in alive:
            running.kill()
        psutil.wait_procs(alive, timeout=5)
    else:
        _end_orphans(name)
    (PIDS / name).unlink(missing_ok=True)
    return process is not None


def listens(name: str, port: int) -> bool:
    """
    Whether the process of that name, or a child of it, listens on a port.

    Not whether anything answers there: if another program has the port, it answers in the service's place.
    """
    process = find(name)
    if process is None:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        return any(_has_listener(member, port) for member in (process, *process.children(recursive=True)))
    return False


def _has_listener(process: psutil.Process, port: int) -> bool:
    try:
        sockets = process.net_connections(kind="tcp")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in sockets)


def wait_for_port(name: str, port: int, *, seconds: float) -> None:
    """
    Wait until a service listens on its port.

    :raises StackError: another program has the port, or as :func:`wait_until`
    """

    def is_ready() -> bool:
        is_open = _is_open(port)
        if listens(name, port):
            return True
        if is_open:
            raise StackError(f"{name} cannot use port {port}: another program listens on it\n{tail(name)}")
        return False

    wait_until(is_ready, name, seconds=seconds)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(ready: Callable[[], bool], name: str, *, seconds: float) -> None:
    """
    Wait until a service is ready.

    :raises StackError: it ended, or was not ready in time; with the last lines of its log
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if find(name) is None:
            raise StackError(f"{name} ended while starting; the end of its log:\n{tail(name)}")
        if time.monotonic() > deadline:
            raise StackError(f"{name} did not answer within {seconds:.0f} s; the end of its log:\n{tail(name)}")
        time.sleep(0.2)


def tail(name: str, lines: int = 15) -> str:
    """The last lines of a service's log and the path of the log."""
    path = LOGS / f"{name}.log"
    text = path.read_text(errors="replace").splitlines()[-lines:] if path.exists() else []
    return "\n".join([*(f"  {line}" for line in text), f"  ({os.path.relpath(path)})"])
