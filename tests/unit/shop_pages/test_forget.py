"""After an erasure the pages show no earlier result, not even while the warehouse does not answer."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from shop_pages import queries
from shop_pages.cached_response import CachedResponse, ResponseCache
from shop_pages.pool import WarehouseUnavailable
from shop_pages.queries import Rows, Warehouse


class Pool:
    """A warehouse with one customer and a number of erasures; None: it does not answer."""

    def __init__(self) -> None:
        self.erasures: int | None = None
        self.customer = "Anna"
        self.is_down = False

    @property
    def answered_at(self) -> float:
        return time.monotonic()

    async def fetch(self, query: str, parameters: Any) -> list[dict[str, Any]]:
        if "last_erasure" in query:
            return [{"publication_id": self.erasures or 0, "published_at": None, "last_erasure": self.erasures}]
        if self.is_down:
            raise WarehouseUnavailable("down")
        return [{"name": self.customer}]


def test_erasure_forgets_what_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "FRESH_SECONDS", 0.0)

    async def ask() -> None:
        pool: Any = Pool()
        responses = ResponseCache()
        warehouse = Warehouse(pool, reads_marts_only=True, on_erasure=responses.forget)
        rows = await warehouse.rows("select name from marts.customer_segments")
        page = Rows(rows.rows, datetime.now(UTC))
        responses.put("page", [page], CachedResponse.compress(b"Anna", "text/html"))
        pool.is_down = True
        kept = await warehouse.rows("select name from marts.customer_segments")
        assert (kept.rows, kept.problem is None) == ([{"name": "Anna"}], False)
        assert responses.get("page", [page]) is not None
        pool.erasures = 1
        with pytest.raises(WarehouseUnavailable):
            await warehouse.rows("select name from marts.customer_segments")
        assert responses.get("page", [page]) is None

    asyncio.run(ask())
