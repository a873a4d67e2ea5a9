"""
Ends a connection whose server has stopped answering, so that no task waits for ever.

TCP's own timeouts find a machine or a network that is gone. They do not find a pooler, a proxy or a frozen server whose
kernel still acknowledges packets: there the only sign is that no data comes.
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

#: Seconds without a byte in either direction after which a working server is given up; more than any statement needs.
VARIABLE, DEFAULT = "ECOMMERCE_ANSWER_TIMEOUT", "3600"

#: Byte offsets in Linux' `struct tcp_info` of the milliseconds since data was last sent and last received.
_LAST_SENT, _LAST_RECEIVED = 44, 52


@contextlib.contextmanager
def end_when_unresponsive(connection: psycopg.Connection, patience: float = 1.0) -> Iterator[None]:
    """
    Shut down the connection's socket when its server does not respond; the waiting statement then fails with an error.

    Only on Linux and over TCP: elsewhere Airflow's execution timeout ends the wait.

    :param patience: multiplies the timeout
    """
    if sys.platform != "linux" or connection.info.host.startswith("/"):
        yield
        return
    timeout, is_over = patience * float(os.environ.get(VARIABLE) or DEFAULT), threading.Event()
    # A file descriptor of our own: the connection may close its own, and the number may be reused.
    line = socket.socket(fileno=os.dup(connection.fileno()))
    watch = threading.Thread(target=_watch, args=(connection, line, timeout, is_over), daemon=True, name="watchdog")
    watch.start()
    try:
        yield
    finally:
        is_over.set()
        watch.join()


def _watch(connection: psycopg.Connection, line: socket.socket, timeout: float, is_over: threading.Event) -> None:
    with line:
        while not is_over.wait(min(timeout / 10, 30.0)):
            if connection.pgconn.transaction_status == TransactionStatus.ACTIVE and _idle_seconds(line) > timeout:
                log.error(
                    "no answer from Postgres at %s:%s for %.0f s; the connection is ended (see %s)",
                    connection.info.host, connection.info.port, timeout, VARIABLE,
                )  # fmt: skip
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
                return


def _idle_seconds(line: socket.socket) -> float:
    """Seconds since anything was sent or received."""
    information = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return min(struct.unpack_from("=I", information, offset)[0] for offset in (_LAST_SENT, _LAST_RECEIVED)) / 1000
