"""A TCP proxy that breaks what goes through it: cuts after so many bytes, loses COMMIT or its answer, falls silent."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Literal

Towards = Literal["server", "client"]

#: The code of a client's first message, unless it asks for encryption first.
_STARTUP = 196608
_BLOCK = 65536


class Frontend:
    """What one Postgres client sends, followed just enough to know when it says COMMIT."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._is_started = False

    def says_commit(self, data: bytes) -> bool:
        """Whether a COMMIT is complete with this piece of the stream."""
        self._buffer += data
        found = False
        while message := self._next():
            found = found or _sql_of(message).lstrip().lower().startswith(b"commit")
        return found

    def _next(self) -> bytes:
        """The next message, with its type; empty where the rest of it is still to come."""
        # A first message has no type. What asks for encryption is answered with no, and followed by a real first one.
        kind = 1 if self._is_started else 0
        if len(self._buffer) < kind + 8 - 4 * kind:
            return b""
        size = kind + int(struct.unpack_from("!I", self._buffer, kind)[0])
        if len(self._buffer) < size:
            return b""
        message = bytes(self._buffer[:size])
        del self._buffer[:size]
        if not self._is_started:
            self._is_started = struct.unpack_from("!I", message, 4)[0] == _STARTUP
        return message


def _sql_of(message: bytes) -> bytes:
    if message[:1] == b"Q":
        return message[5:]
    return message[5:].partition(b"\0")[2] if message[:1] == b"P" else b""


class Line:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.frontend = Frontend()
        self.passed: dict[Towards, int] = {"server": 0, "client": 0}
        self.is_commit_under_way = False

    def cut(self) -> None:
        """Reset both ends, so that neither takes it for a polite goodbye."""
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # Shut down first: a thread that waits in `recv` would keep the socket open.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RD)
            end.close()


class Proxy:
    """
    Between a client and ``target``. It passes everything on until it is told what to break; it breaks one line, once.

    :ivar broken: set when it did
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lines: list[Line] = []
        self._lock = threading.Lock()
        self._rule: Callable[[Line, Towards, bytes], bool] | None = None
        self._speak = threading.Event()
        self._speak.set()
        self.broken = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def cut_after(self, number: int, towards: Towards) -> None:
        """Reset the line that passes so many bytes in one direction; what is beyond them does not arrive."""

        def rule(line: Line, direction: Towards, data: bytes) -> bool:
            if direction != towards or line.passed[towards] + len(data) <= number:
                return True
            rest = data[: number - line.passed[towards]]
            (line.server if towards == "server" else line.client).sendall(rest)
            return self._break(line)

        self._arm(rule)

    def lose_commit(self) -> None:
        """Reset the line at the next COMMIT, which does not arrive."""
        self._arm(lambda line, towards, data: towards == "client" or not line.is_commit_under_way or self._break(line))

    def lose_answer_to_commit(self) -> None:
        """Let the next COMMIT through, and reset the line when the server answers; the answer does not arrive."""

        def rule(line: Line, towards: Towards, data: bytes) -> bool:
            is_answer = towards == "client" and line.is_commit_under_way and b"COMMIT\0" in data
            return not is_answer or self._break(line)

        self._arm(rule)

    def fall_silent(self) -> None:
        """From now on nothing passes and nothing is read, but every line stays open."""
        self._speak.clear()
        self.broken.set()

    def fall_silent_at_commit(self) -> None:
        """Fall silent when the next COMMIT comes by; it does not arrive."""

        def rule(line: Line, towards: Towards, data: bytes) -> bool:
            if towards == "server" and line.is_commit_under_way:
                self.fall_silent()
            return True

        self._arm(rule)

    def fall_silent_after(self, number: int, towards: Towards) -> None:
        """Fall silent once so many bytes have passed on one line in one direction."""

        def rule(line: Line, direction: Towards, data: bytes) -> bool:
            if direction == towards and line.passed[towards] + len(data) > number:
                self.fall_silent()
            return True

        self._arm(rule)

    def heal(self) -> None:
        """Pass everything on again. Lines that were open are cut: what they carried is out of step."""
        self._arm(None)
        with self._lock:
            lines, self._lines = self._lines, []
        for line in lines:
            line.cut()
        self._speak.set()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.heal()

    def _arm(self, rule: Callable[[Line, Towards, bytes], bool] | None) -> None:
        self.broken.clear()
        self._rule = rule

    def _break(self, line: Line) -> bool:
        self._rule = None
        line.cut()
        self.broken.set()
        return False

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._target, timeout=5)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                line = Line(client, server)
                with self._lock:
                    self._lines.append(line)
                threading.Thread(target=self._pump, args=(line, "server"), daemon=True).start()
                threading.Thread(target=self._pump, args=(line, "client"), daemon=True).start()

    def _pump(self, line: Line, towards: Towards) -> None:
        source, sink = (line.client, line.server) if towards == "server" else (line.server, line.client)
        with contextlib.suppress(OSError):
            while data := source.recv(_BLOCK):
                if towards == "server":
                    line.is_commit_under_way = line.frontend.says_commit(data)
                rule = self._rule
                if rule is not None and not rule(line, towards, data):
                    return
                self._speak.wait()
                line.passed[towards] += len(data)
                sink.sendall(data)
            # One side has said goodbye: pass that on, so that the other one ends too.
            sink.shutdown(socket.SHUT_WR)
