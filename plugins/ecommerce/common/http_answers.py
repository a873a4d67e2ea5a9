"""
Requests to servers that the project does not own: limited in bytes and seconds, and never sent on to another address.

The connection says where a request goes, with a password or a token in its headers. A server that answers "ask there"
would send them on, so no redirect is followed. An answer is read piece by piece: a few compressed bytes may become
gigabytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread

import requests
import urllib3

from ecommerce.common.shown_text import one_line

#: Bytes that are read at once, after decompression.
_PIECE = 65_536
#: Characters that an error has of an answer.
QUOTED = 200


class AnswerTooLong(ValueError):
    """A server sent more bytes than asked for; it is not asked again."""


class RefusedRequest(requests.HTTPError):
    """
    A server answered with another status than a success.

    :ivar status: its number
    :ivar says: the beginning of its text on one line, or where it wants to be asked
    """

    def __init__(self, response: requests.Response, content: bytes) -> None:
        self.status = response.status_code
        self.says = one_line(content.decode(errors="replace"), QUOTED)
        if "Location" in response.headers:
            self.says = f"to ask elsewhere, which is not done: {one_line(response.headers['Location'], QUOTED)}"
        super().__init__(f"it answered {self.status}: {self.says or 'without a text'}", response=response)


@dataclass
class _Exchange:
    """A request in a thread of its own, so that it ends in time whatever the server sends."""

    send: Callable[[], requests.Response]
    most_bytes: int
    until: float
    response: requests.Response | None = None
    outcome: SimpleQueue[bytes | BaseException] = field(default_factory=SimpleQueue)

    def run(self) -> None:
        try:
            self.response = self.send()
            self.outcome.put(self._read(self.response))
        except BaseException as error:
            self.outcome.put(error)
        finally:
            if self.response is not None:
                self.response.close()

    def _read(self, response: requests.Response) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            while self.most_bytes and (part := response.raw.read1(_PIECE, decode_content=True)):
                size += len(part)
                if size > self.most_bytes:
                    raise AnswerTooLong(f"the answer has more than {self.most_bytes:,} bytes")
                if time.monotonic() > self.until:
                    raise requests.Timeout("the answer took too long")
                parts.append(part)
        except urllib3.exceptions.DecodeError as error:
            raise requests.exceptions.ContentDecodingError(error) from error
        except urllib3.exceptions.HTTPError as error:
            raise requests.exceptions.ChunkedEncodingError(error) from error
        return b"".join(parts)


def ask(
    session: requests.Session,
    method: str,
    url: str,
    *,
    most_bytes: int,
    seconds: float,
    timeout: tuple[float, float] = (10, 60),
    **arguments: object,
) -> tuple[requests.Response, bytes]:
    """
    Send a request; the response and its content.

    :param most_bytes: of the content, after decompression; 0: it is not read
    :param seconds: until all of it is there
    :param timeout: seconds to connect, and to wait for the next byte
    :param arguments: as of `requests.Session.request`
    :raises RefusedRequest: any status but a success, redirects included
    :raises requests.RequestException: no connection, no answer in time, or a broken one
    :raises AnswerTooLong: it has more than ``most_bytes``
    """

    # Otherwise `requests` reads all of an answer that leads elsewhere, even if it is not to follow.
    session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]

    def send() -> requests.Response:
        return session.request(method, url, stream=True, allow_redirects=False, timeout=timeout, **arguments)  # type: ignore[arg-type]

    exchange = _Exchange(send, most_bytes, time.monotonic() + seconds)
    Thread(target=exchange.run, daemon=True, name="ask").start()
    try:
        outcome = exchange.outcome.get(timeout=seconds)
    except Empty:
        if exchange.response is not None:
            # So that the thread ends as well; at this moment it may have done so.
            with suppress(RuntimeError, ValueError, OSError):
                exchange.response.raw.shutdown()
        raise requests.Timeout(f"the whole answer was not there after {seconds:g} s") from None
    response = exchange.response
    if response is not None and not 200 <= response.status_code < 300:
        # The status is what matters, even if the content is too long or broken.
        raise RefusedRequest(response, outcome if isinstance(outcome, bytes) else b"")
    if response is None or isinstance(outcome, BaseException):
        raise outcome if isinstance(outcome, BaseException) else requests.ConnectionError("there is no answer")
    return response, outcome
