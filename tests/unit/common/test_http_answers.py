"""Requests to servers of others: no redirect, no more bytes than asked for, and an end in time."""

import gzip
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from ecommerce.common.http_answers import AnswerTooLong, RefusedRequest, ask

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """A server that answers as the test wants, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Answer = lambda handler: send(handler, 200, b"hello")
        self.asked: list[tuple[str, str | None]] = []
        self.is_over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        self.server.answer(self)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing on the tests' terminal."""


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    try:
        handler.wfile.write(body)
    except OSError:
        # The client has left, as it should.
        return


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    """The server of a connection, and another one."""
    with Server() as own, Server() as other:
        for server in (own, other):
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield own, other
        for server in (own, other):
            server.is_over.set()
            server.shutdown()


def ask_as_we_do(url: str, *, method: str = "GET", most_bytes: int = 100_000, seconds: float = 5.0) -> bytes:
    with requests.Session() as session:
        session.headers["Authorization"] = "Bearer secret"
        return ask(session, method, url, most_bytes=most_bytes, seconds=seconds)[1]


def test_success_has_its_content(servers: tuple[Server, Server]) -> None:
    assert ask_as_we_do(servers[0].url) == b"hello"
    servers[0].answer = lambda handler: send(handler, 200, gzip.compress(b"hello"), Content_Encoding="gzip")
    assert ask_as_we_do(servers[0].url) == b"hello"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_redirect_is_not_followed(servers: tuple[Server, Server], status: int, method: str) -> None:
    own, other = servers
    for target in (f"{other.url}/elsewhere", f"{own.url}/elsewhere", "/elsewhere"):
        own.answer = lambda handler, target=target: send(handler, status, Location=target)  # type: ignore[misc]
        with pytest.raises(RefusedRequest, match=rf"answered {status}: to ask elsewhere, .*/elsewhere"):
            ask_as_we_do(own.url, method=method)
    assert other.asked == []
    assert {path for path, _ in own.asked} == {"/"}


BOMB = gzip.compress(b" " * 100_000_000, 1)


@pytest.mark.parametrize("status", [200, 302, 500])
def test_compressed_answer_takes_no_more_memory_than_asked_for(servers: tuple[Server, Server], status: int) -> None:
    servers[0].answer = lambda handler: send(
        handler, status, BOMB, Content_Encoding="gzip", **({"Location": "/x"} if status == 302 else {})
    )
    tracemalloc.start()
    try:
        with pytest.raises((AnswerTooLong, RefusedRequest)):
            ask_as_we_do(servers[0].url)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


def test_endless_answer_ends_with_the_limit(servers: tuple[Server, Server]) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 10_000)
        except OSError:
            return

    servers[0].answer = endless
    with pytest.raises(AnswerTooLong, match="more than 100,000 bytes"):
        ask_as_we_do(servers[0].url)


@pytest.mark.parametrize("part", ["head", "body", "nothing"])
def test_answer_that_trickles_ends_in_time(servers: tuple[Server, Server], part: str) -> None:
    def trickling(handler: BaseHTTPRequestHandler) -> None:
        try:
            if part == "body":
                handler.send_response(200)
                handler.send_header("Content-Length", "100000")
                handler.end_headers()
            while not handler.server.is_over.wait(0.1):  # type: ignore[attr-defined]
                if part == "head":
                    handler.wfile.write(b"H")
                elif part == "body":
                    handler.wfile.write(b"x")
        except OSError:
            return

    servers[0].answer = trickling
    started = time.monotonic()
    with pytest.raises(requests.Timeout):
        ask_as_we_do(servers[0].url, seconds=1.0)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("is_compressed", [False, True])
def test_answer_that_ends_too_early_is_an_error(servers: tuple[Server, Server], is_compressed: bool) -> None:
    body = gzip.compress(b"hello, world")[:10] if is_compressed else b"hello"
    encoding = {"Content_Encoding": "gzip"} if is_compressed else {}
    servers[0].answer = lambda handler: send(handler, 200, body, **{"Content-Length": "100", **encoding})
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        ask_as_we_do(servers[0].url)


def test_error_has_the_beginning_of_the_text_on_one_line(servers: tuple[Server, Server]) -> None:
    servers[0].answer = lambda handler: send(handler, 400, b"no\r\n\x1b[31m\0\xff" + b"y" * 90_000)
    with pytest.raises(RefusedRequest) as error:
        ask_as_we_do(servers[0].url)
    assert error.value.says.startswith("no [31m ")
    assert len(error.value.says) == 200
    assert error.value.says.isprintable()
