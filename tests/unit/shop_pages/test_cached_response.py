"""The cache of rendered pages: what it depends on, its limit in bytes, and a free event loop while it renders."""

import asyncio
import gzip
import os
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shop_pages import cached_response
from shop_pages.cached_response import CachedResponse, PageTooLarge, ResponseCache
from shop_pages.queries import Rows


def test_page_is_cached_while_its_rows_are_the_same() -> None:
    cache, read_at = ResponseCache(max_bytes=110), datetime.now(UTC)
    rows, newer = Rows([], read_at), Rows([], read_at)

    def render(key: str, part: Rows, text: str) -> str:
        response = asyncio.run(cache.get_or_render(key, [part], lambda: text, "text/plain"))
        return gzip.decompress(response.compressed).decode()

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


def test_long_addresses_take_their_place_in_the_cache() -> None:
    cache, rows = ResponseCache(max_bytes=100_000), Rows([], datetime.now(UTC))
    page = CachedResponse.compress(b"a page", "text/plain")
    for n in range(200):
        cache.put(("rows", f"{n}" * 4_000), [rows], page)
    kept = [n for n in range(200) if cache.get(("rows", f"{n}" * 4_000), [rows])]
    assert 0 < len(kept) < 25


def test_page_that_no_browser_should_get_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_response, "PAGE_BYTES", 1_000)
    cache, rows = ResponseCache(), Rows([], datetime.now(UTC))
    with pytest.raises(PageTooLarge, match="this page would have"):
        asyncio.run(cache.get_or_render("large", [rows], lambda: "x" * 1_001, "text/html"))
    assert cache.get("large", [rows]) is None


def test_slow_page_is_rendered_once_and_does_not_stop_the_event_loop() -> None:
    cache, rows, rendered = ResponseCache(), Rows([], datetime.now(UTC)), []

    def slow() -> str:
        rendered.append(1)
        time.sleep(0.5)
        return "slow"

    async def longest_pause() -> float:
        pages = [asyncio.create_task(cache.get_or_render("slow", [rows], slow, "text/plain")) for _ in range(5)]
        # One reader leaves.
        await asyncio.sleep(0.05)
        pages.pop(0).cancel()
        pauses, last = [], time.monotonic()
        while not all(page.done() for page in pages):
            await asyncio.sleep(0.01)
            pauses.append(time.monotonic() - last)
            last = time.monotonic()
        assert {page.result().digest for page in pages} == {CachedResponse.compress(b"slow", "text/plain").digest}
        return max(pauses)

    assert asyncio.run(longest_pause()) < 0.3
    assert rendered == [1]
