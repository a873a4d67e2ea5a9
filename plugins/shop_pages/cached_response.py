"""What was written of rows, kept compressed until any of them is read again; and how a browser is spared it."""

from __future__ import annotations

import gzip
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import Response

from shop_pages.limits import KEPT_BYTES
from shop_pages.queries import Rows


@dataclass(frozen=True)
class Written:
    """A page or a file, compressed; the digest changes when it does."""

    compressed: bytes
    digest: str
    media_type: str

    @classmethod
    def of(cls, content: bytes, media_type: str, *, level: int = 3) -> Written:
        """Compress it; level 6 takes twice the time of 3 for a tenth less, which pays for what hardly changes."""
        return cls(gzip.compress(content, level), hashlib.sha256(content).hexdigest()[:16], media_type)


class KeptPages:
    """
    The pages and files that were asked for last.

    A page is known by its address, and holds as long as the rows that it is made of are those it was made of.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[tuple[int, ...], Written]] = OrderedDict()
        self._bytes = 0

    def find(self, key: Hashable, parts: Sequence[Rows]) -> Written | None:
        """The page as it was made of these very rows."""
        readings, written = self._kept.get(key, ((), None))
        # What is stale says so on the page, and is the same reading.
        if written is None or readings != _readings(parts) or any(part.problem for part in parts):
            return None
        self._kept.move_to_end(key)
        return written

    def keep(self, key: Hashable, parts: Sequence[Rows], written: Written) -> Written:
        """Keep a page for those who ask for it next."""
        if any(part.problem for part in parts):
            return written
        self._drop(key)
        self._kept[key] = (_readings(parts), written)
        self._bytes += len(written.compressed)
        while self._bytes > KEPT_BYTES:
            self._drop(next(iter(self._kept)))
        return written

    def of(self, key: Hashable, parts: Sequence[Rows], write: Callable[[], str], media_type: str) -> Written:
        """The page, written now if it is not kept."""
        return self.find(key, parts) or self.keep(key, parts, Written.of(write().encode(), media_type))

    def _drop(self, key: Hashable) -> None:
        _, dropped = self._kept.pop(key, ((), None))
        self._bytes -= len(dropped.compressed) if dropped else 0


def _readings(parts: Sequence[Rows]) -> tuple[int, ...]:
    return tuple(part.reading for part in parts)


def answer(request: Request, written: Written, headers: Mapping[str, str] | None = None) -> Response:
    """
    It, or that it is still what the browser has.

    A browser may keep it and asks each time: who may no longer see it, or what has changed, is told at once.
    """
    headers = {
        "Cache-Control": "private, no-cache",
        "Vary": "Accept-Encoding, Cookie",
        # Weak, since compressed or not it is the same.
        "ETag": f'W/"{written.digest}"',
        **(headers or {}),
    }
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if f'"{written.digest}"' in known:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(
            written.compressed, media_type=written.media_type, headers={**headers, "Content-Encoding": "gzip"}
        )
    return Response(gzip.decompress(written.compressed), media_type=written.media_type, headers=headers)
