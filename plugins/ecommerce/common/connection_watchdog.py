"""
A connection whose server was asked for something and has fallen silent is ended, so that no task waits for ever.

TCP's own timeouts find a machine or a network that is gone. They do not find a pooler, a proxy or a frozen server whose
kernel goes on acknowledging: there only an answer that does not come tells.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import sys
import threading
from collections.abc import Iterator

import psycopg
from psycopg.pq import TransactionStatus

log = logging.getLogger(__name__)

#: Seconds in which a server must have sent something, or taken something from us; more than any one statement needs.
VARIABLE, DEFAULT = "ECOMMERCE_ANSWER_TIMEOUT", "3600"

#: Where Linux' `struct tcp_info` has the milliseconds since data was last sent and last received.
_LAST_SENT, _LAST_RECEIVED = 44, 52


@contextlib.contextmanager
def ended_when_silent(connection: psycopg.Connection, times: float = 1.0) -> Iterator[None]:
    """
    Shut the connection's socket down when its server stays silent; whoever waits for it then gets its error.

    ``times`` the usual patience.

    Only on Linux and over TCP: elsewhere Airflow's execution timeout is what ends the wait.
    """
    if sys.platform != "linux" or connection.info.host.startswith("/"):
        yield
        return
    patience, is_over = times * float(os.environ.get(VARIABLE) or DEFAULT), threading.Event()
    # A file descriptor of our own: whatever becomes of the connection, its number is no one else's.
    line = socket.socket(fileno=os.dup(connection.fileno()))
    watch = threading.Thread(target=_watch, args=(connection, line, patience, is_over), daemon=True, name="silence")
    watch.start()
    try:
        yield
    finally:
        is_over.set()
        watch.join()


def _watch(connection: psycopg.Connection, line: socket.socket, patience: float, is_over: threading.Event) -> None:
    with line:
        while not is_over.wait(min(patience / 10, 30.0)):
            if connection.pgconn.transaction_status == TransactionStatus.ACTIVE and _silent_for(line) > patience:
                log.error(
                    "no answer from Postgres at %s:%s for %.0f s; the connection is ended (see %s)",
                    connection.info.host, connection.info.port, patience, VARIABLE,
                )  # fmt: skip
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
                return


def _silent_for(line: socket.socket) -> float:
    """Seconds since anything was sent or received."""
    information = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return min(struct.unpack_from("=I", information, offset)[0] for offset in (_LAST_SENT, _LAST_RECEIVED)) / 1000
