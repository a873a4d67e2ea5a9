"""Rendered pages and files, compressed once and kept while the rows they show are the same."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from cachetools import LRUCache
from fastapi import Request
from fastapi.responses import Response
from starlette.datastructures import Headers
from starlette.staticfiles import NotModifiedResponse

from shop_pages.limits import CACHED_BYTES
from shop_pages.queries import Rows


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
        self._cache: LRUCache[Hashable, tuple[_Versions, CachedResponse]] = LRUCache(
            max_bytes, getsizeof=lambda entry: len(entry[1].compressed)
        )

    def get(self, key: Hashable, parts: Sequence[Rows]) -> CachedResponse | None:
        """The cached page, if it shows exactly these rows."""
        versions, response = self._cache.get(key) or ((), None)
        if versions != _versions(parts) or any(part.problem for part in parts):
            return None
        return response

    def put(self, key: Hashable, parts: Sequence[Rows], response: CachedResponse) -> CachedResponse:
        """Keep a page for the next readers; returns it."""
        is_current = not any(part.problem for part in parts)
        if is_current and len(response.compressed) <= self._cache.maxsize:
            self._cache[key] = (_versions(parts), response)
        return response

    def get_or_render(
        self, key: Hashable, parts: Sequence[Rows], render: Callable[[], str], media_type: str
    ) -> CachedResponse:
        """The cached page, or a new one."""
        cached = self.get(key, parts)
        return cached or self.put(key, parts, CachedResponse.compress(render().encode(), media_type))


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
