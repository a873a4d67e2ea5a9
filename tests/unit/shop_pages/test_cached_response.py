"""The cache of rendered pages: what it depends on, and its limit in bytes."""

import gzip
import os
from dataclasses import replace
from datetime import UTC, datetime

from shop_pages.cached_response import CachedResponse, ResponseCache
from shop_pages.queries import Rows


def test_page_is_cached_while_its_rows_are_the_same() -> None:
    cache, read_at = ResponseCache(max_bytes=100), datetime.now(UTC)
    rows, newer = Rows([], read_at), Rows([], read_at)

    def render(key: str, part: Rows, text: str) -> str:
        return gzip.decompress(cache.get_or_render(key, [part], lambda: text, "text/plain").compressed).decode()

    assert render("a", rows, "one") == "one"
    assert render("a", rows, "two") == "one"
    assert render("a", newer, "two") == "two"
    # An earlier result is marked on the page: it is neither taken from the cache nor kept.
    assert render("a", replace(newer, problem="unavailable"), "stale") == "stale"
    assert render("a", newer, "three") == "two"
    # The least recently used pages are dropped.
    for key in "bcde":
        render(key, rows, key)
    assert render("e", rows, "again") == "e"
    assert render("a", newer, "three") == "three"


def test_page_larger_than_cache_is_rendered_and_not_cached() -> None:
    cache, rows = ResponseCache(max_bytes=100), Rows([], datetime.now(UTC))
    large = CachedResponse.compress(os.urandom(200), "text/plain")
    assert cache.put("large", [rows], large) is large
    assert cache.get("large", [rows]) is None
