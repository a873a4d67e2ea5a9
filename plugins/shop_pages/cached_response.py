"""Rendered pages and files, compressed once and kept while the rows they show are the same."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from cachetools import LRUCache
from fastapi import Request
from fastapi.responses import Response
from starlette.datastructures import Headers
from starlette.staticfiles import NotModifiedResponse

from shop_pages.limits import CACHED_BYTES, PAGE_BYTES, RENDERERS
from shop_pages.queries import Rows

T = TypeVar("T")

#: A page may take long to render, and all of Airflow waits for the event loop. So few threads that they leave it time.
_renderers = ThreadPoolExecutor(RENDERERS, "shop pages")


class PageTooLarge(Exception):
    """A page has more bytes than a browser should be given."""


async def off_the_loop(work: Callable[[], T]) -> T:
    """Do work that may take long in a thread of the pages' own."""
    return await asyncio.get_running_loop().run_in_executor(_renderers, work)


def encode_page(text: str) -> bytes:
    """
    The bytes of a page.

    :raises PageTooLarge: they are more than `PAGE_BYTES`
    """
    content = text.encode()
    if len(content) > PAGE_BYTES:
        raise PageTooLarge(f"this page would have {len(content) / 1e6:,.0f} MB, more than {PAGE_BYTES / 1e6:,.0f} MB")
    return content


@dataclass(frozen=True)
class CachedResponse:
    """A compressed page or file; the digest is that of its content."""

    compressed: bytes
    digest: str
    media_type: str

    @classmethod
    def compress(cls, content: bytes, media_type: str, *, level: int = 3) -> CachedResponse:
        """Level 6 takes twice the time of 3 for a tenth less: it pays for files that hardly change."""
        return cls(gzip.compress(content, level), hashlib.sha256(content).hexdigest()[:16], media_type)


#: Versions of the rows that a page shows.
_Versions = tuple[int, ...]


class ResponseCache:
    """
    The pages and files that were requested last, by what they depend on: an address, and the versions of their rows.

    A page that shows an earlier result with a problem is neither taken from here nor kept.
    """

    def __init__(self, max_bytes: int = CACHED_BYTES) -> None:
        self._cache: LRUCache[Hashable, tuple[_Versions, CachedResponse, int]] = LRUCache(
            max_bytes, getsizeof=lambda entry: entry[2]
        )
        self._rendering: dict[Hashable, asyncio.Future[CachedResponse]] = {}

    def forget(self) -> None:
        """Forget all pages and files."""
        self._cache.clear()

    def get(self, key: Hashable, parts: Sequence[Rows]) -> CachedResponse | None:
        """The cached page, if it shows exactly these rows."""
        versions, response, _ = self._cache.get(key) or ((), None, 0)
        if versions != _versions(parts) or any(part.problem for part in parts):
            return None
        return response

    def put(self, key: Hashable, parts: Sequence[Rows], response: CachedResponse) -> CachedResponse:
        """Keep a page for the next readers; returns it."""
        is_current = not any(part.problem for part in parts)
        # The key has texts of an address.
        size = len(response.compressed) + len(repr(key))
        if is_current and size <= self._cache.maxsize:
            self._cache[key] = (_versions(parts), response, size)
        return response

    async def get_or_render(
        self, key: Hashable, parts: Sequence[Rows], render: Callable[[], str], media_type: str
    ) -> CachedResponse:
        """
        The cached page, or a new one; those who ask for the same page at the same time get one.

        :raises PageTooLarge: it has more than `PAGE_BYTES`
        """
        if (cached := self.get(key, parts)) is not None:
            return cached
        same = (key, _versions(parts), *(part.problem for part in parts))
        rendering = self._rendering.get(same)
        if rendering is None:
            work = off_the_loop(lambda: CachedResponse.compress(encode_page(render()), media_type))
            rendering = self._rendering[same] = asyncio.ensure_future(work)
            rendering.add_done_callback(lambda done: self._forget(same, done))
        # One who leaves does not take the page from the others.
        return self.put(key, parts, await asyncio.shield(rendering))

    def _forget(self, same: Hashable, rendering: asyncio.Future[CachedResponse]) -> None:
        self._rendering.pop(same, None)
        if not rendering.cancelled():
            # Asyncio reports an exception that nobody has looked at, even if all readers have left.
            rendering.exception()


def _versions(parts: Sequence[Rows]) -> _Versions:
    return tuple(part.version for part in parts)


def respond(request: Request, cached: CachedResponse, headers: Mapping[str, str] | None = None) -> Response:
    """
    The page or file, or 304 if the browser already has it.

    Browsers keep it and ask each time, so that lost rights and new rows take effect at once.
    """
    headers = {
        "Cache-Control": "private, no-cache",
        "Vary": "Accept-Encoding, Cookie",
        # Weak: compressed and uncompressed content have the same tag.
        "ETag": f'W/"{cached.digest}"',
        **(headers or {}),
    }
    browser_tags = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if f'"{cached.digest}"' in browser_tags:
        return NotModifiedResponse(Headers(headers))
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(cached.compressed, media_type=cached.media_type, headers=headers)
    return Response(gzip.decompress(cached.compressed), media_type=cached.media_type, headers=headers)
