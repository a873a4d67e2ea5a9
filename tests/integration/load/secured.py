"""A broker that speaks TLS and asks for a user: in front of one that does neither."""

from __future__ import annotations

import asyncio
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import scramp
import trustme

# Keys of Kafka's requests (kafka.apache.org/protocol, "The Messages").
_SASL_HANDSHAKE, _API_VERSIONS, _SASL_AUTHENTICATE = 17, 18, 36
_AUTHENTICATION_FAILED = 58


@dataclass
class SecuredBroker:
    """
    Who may come in: one user by one SASL mechanism, over TLS with a certificate of a private authority.

    What the client says before it is known is answered here, with the server's side of the mechanism; what it says
    then goes to the broker behind.
    """

    mechanism: str
    user: str
    password: str
    behind: str
    authority: trustme.CA = field(default_factory=trustme.CA)
    port: int = 0
    #: The mechanisms that clients have asked for, and how many of them came in.
    asked: list[str] = field(default_factory=list)
    admitted: int = 0

    @contextmanager
    def running(self, folder: Path) -> Iterator[dict[str, str]]:
        """While it runs, what a client that may come in has to set."""
        certificate = folder / "authority.pem"
        self.authority.cert_pem.write_to_path(certificate)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("127.0.0.1").configure_cert(context)
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context))
        self.port = server.sockets[0].getsockname()[1]
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield {
                "bootstrap.servers": f"127.0.0.1:{self.port}",
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": self.mechanism,
                "sasl.username": self.user,
                "sasl.password": self.password,
                "ssl.ca.location": str(certificate),
            }
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            server.close()
            loop.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        host, port = self.behind.split(":")
        broker, to_broker = await asyncio.open_connection(host, int(port))
        # The broker names itself where a client should go on; the front is the only way in.
        named, front = (host.encode() + struct.pack("!i", number) for number in (int(port), self.port))
        try:
            if not await self._admit(client, to_client, broker, to_broker):
                return
            answers = asyncio.create_task(self._answers(broker, to_client, named, front))
            while request := await _frame(client):
                _send(to_broker, request)
            answers.cancel()
        finally:
            to_broker.close()
            to_client.close()

    async def _answers(
        self, broker: asyncio.StreamReader, to_client: asyncio.StreamWriter, named: bytes, front: bytes
    ) -> None:
        while answer := await _frame(broker):
            _send(to_client, answer.replace(named, front))

    async def _admit(
        self,
        client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        broker: asyncio.StreamReader,
        to_broker: asyncio.StreamWriter,
    ) -> bool:
        """Whether the client has shown that it is the user; nothing else gets through before."""
        login = _Plain(self) if self.mechanism == "PLAIN" else _Scram(self)
        while request := await _frame(client):
            key, _, _, name = struct.unpack_from("!hhih", request)
            body = request[10 + max(0, name) :]
            if key == _SASL_AUTHENTICATE:
                try:
                    challenge = login.step(body[4:])
                except (PermissionError, scramp.ScramException):
                    _send(to_client, request[4:8] + _answer(_AUTHENTICATION_FAILED, b"Authentication failed", b""))
                    return False
                _send(to_client, request[4:8] + _answer(0, b"", challenge))
                if login.is_known:
                    self.admitted += 1
                    return True
            elif key in (_API_VERSIONS, _SASL_HANDSHAKE):
                if key == _SASL_HANDSHAKE:
                    self.asked.append(body[2:].decode())
                _send(to_broker, request)
                _send(to_client, await _frame(broker))
            else:
                return False
        return False


class _Plain:
    """The server's side of SASL/PLAIN."""

    def __init__(self, broker: SecuredBroker) -> None:
        self._expected = f"\0{broker.user}\0{broker.password}".encode()
        self.is_known = False

    def step(self, said: bytes) -> bytes:
        if said != self._expected:
            raise PermissionError
        self.is_known = True
        return b""


class _Scram:
    """The server's side of SASL/SCRAM, which proves that it knows the password too."""

    def __init__(self, broker: SecuredBroker) -> None:
        mechanism = scramp.ScramMechanism(broker.mechanism)
        self._user, self._secret = broker.user, mechanism.make_auth_info(broker.password)
        self._server = mechanism.make_server(self._secret_of)
        self._is_challenged = False
        self.is_known = False

    def step(self, said: bytes) -> bytes:
        if not self._is_challenged:
            self._is_challenged = True
            self._server.set_client_first(said.decode())
            return self._server.get_server_first().encode()
        self._server.set_client_final(said.decode())
        self.is_known = True
        return self._server.get_server_final().encode()

    def _secret_of(self, user: str) -> object:
        if user != self._user:
            raise PermissionError
        return self._secret


async def _frame(stream: asyncio.StreamReader) -> bytes:
    """The next request or answer, without its size; empty where there comes none."""
    try:
        size = struct.unpack("!i", await stream.readexactly(4))[0]
        return await stream.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def _send(stream: asyncio.StreamWriter, frame: bytes) -> None:
    stream.write(struct.pack("!i", len(frame)) + frame)


def _answer(error: int, message: bytes, said: bytes) -> bytes:
    """What follows the number of the request in an answer to `SaslAuthenticate`, version 1; the session never ends."""
    return struct.pack("!hh", error, len(message)) + message + struct.pack("!i", len(said)) + said + bytes(8)
