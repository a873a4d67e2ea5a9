"""
Choose the ports of the stack's services, so that two stacks that start at the same moment never share one.

A port that is free now may be taken before the service opens it. Two measures against that:

- A port is reserved for one service of one stack by a locked file, from the choice until the process that chose it
  ends. Stacks of the same user on the same machine share the folder of these files.
- Other programs do not know the reservations. If one of them takes the port first, the service starts again on another.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import logging
import os
import random
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from include.demo.errors import StackError
from include.demo.private_folder import private_folder

if TYPE_CHECKING:
    from include.demo.state import State

log = logging.getLogger(__name__)

#: Service → the port it prefers. Set the environment variable to insist on another.
PORTS = {"AIRFLOW_PORT": 8080, "POSTGRES_PORT": 5433, "KAFKA_PORT": 9092, "WEATHER_PORT": 8090, "VALKEY_PORT": 6379}

#: Other ports are drawn from here: above the well-known ones, and below those that the system gives to outgoing
#: connections (from 32,768 on Linux), so that no connection has the port when the service binds it.
OTHER_PORTS = range(10_000, 32_000)
#: How many ports are tried before giving up, and how often one service is started.
_DRAWS = 1_000
_STARTS = 3

#: One file per reserved port. All stacks of this user share the folder, wherever their TMPDIR is.
RESERVATIONS = Path(f"/var/tmp/ecommerce-warehouse-ports-{os.getuid()}")  # noqa: S108

#: Port → the locked file and the owner of the reservation, for the reservations of this process.
_reserved: dict[int, tuple[int, str]] = {}


def choose_port(name: str, preferred: Sequence[int], *, stack: Path) -> int:
    """
    Choose and reserve the port of a service that is about to start.

    :param name: the environment variable by which the user may ask for a port, a key of ``PORTS``
    :param preferred: without that, the first free one of these ports; if none is free, any free port
    :param stack: the stack's folder, for which the port stays reserved until this process ends
    :raises StackError: the user asked for a port that is taken, or for something that is no port
    """
    if wanted := os.environ.get(name):
        if not wanted.isdigit() or not 0 < int(wanted) < 65536:
            raise StackError(f"{name}={wanted} is not a port number")
        if not reserve(int(wanted), name, stack):
            raise StackError(f"port {wanted} ({name}) is taken by another program; choose another: make up {name}=...")
        return int(wanted)
    return next((port for port in preferred if reserve(port, name, stack)), None) or draw_free_port(name, stack)


def draw_free_port(name: str, stack: Path) -> int:
    """
    Draw and reserve a free port of ``OTHER_PORTS`` for a service.

    :raises StackError: none of many is free
    """
    for _ in range(_DRAWS):
        port = random.choice(OTHER_PORTS)  # noqa: S311 -- no secret
        if reserve(port, name, stack):
            return port
    raise StackError(f"no port between {OTHER_PORTS.start:,} and {OTHER_PORTS.stop:,} is free")


def reserve(port: int, name: str, stack: Path) -> bool:
    """Reserve a port for a service of a stack; False if it is taken or reserved for another service."""
    owner = f"{stack} {name}"
    if port in _reserved:
        return _reserved[port][1] == owner and is_free(port)
    if (file := _lock(port, owner)) is None:
        # Two commands of the same stack may use its reservation: tests start the command line as a process of its own.
        return _owner(port) == owner and is_free(port)
    if not is_free(port):
        _unlock(port, file)
        return False
    _reserved[port] = (file, owner)
    return True


def is_free(port: int) -> bool:
    """Whether no program listens on a port of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def start_on_free_port(name: str, state: State, start: Callable[[], object], stop: Callable[[], object]) -> None:
    """
    Start a service; if another program takes its port first, start the service again on another port.

    :param name: the service's port, a key of ``state.ports``; a new one is entered there and saved
    :param start: starts the service on the port that the state has now, and waits until it is ready
    :param stop: stops what is left of the service after a start that failed
    :raises StackError: the service does not start for another reason, or the user asked for this port
    """
    for _ in range(_STARTS - 1):
        port = state.ports[name]
        try:
            start()
            return
        except StackError:
            if is_free(port) or os.environ.get(name):
                raise
        stop()
        state.move_port(name)
        log.info("another program took port %d (%s) first: trying %d", port, name, state.ports[name])
    start()


def release_all() -> None:
    """Give up every reservation of this process."""
    for port, (file, _) in list(_reserved.items()):
        del _reserved[port]
        _unlock(port, file)


atexit.register(release_all)


def _lock(port: int, owner: str) -> int | None:
    """The descriptor of the port's locked file, or None if another process has locked it."""
    path = private_folder(RESERVATIONS) / str(port)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        # Its owner may have deleted the file between the two steps; a lock on a deleted file keeps nobody away.
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(file).st_ino:
                break
        os.close(file)
    os.ftruncate(file, 0)
    os.write(file, os.fsencode(owner))
    return file


def _unlock(port: int, file: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        (RESERVATIONS / str(port)).unlink()
    os.close(file)


def _owner(port: int) -> str | None:
    try:
        return os.fsdecode((RESERVATIONS / str(port)).read_bytes())
    except FileNotFoundError:
        return None
