"""Results without which a page can still be shown."""

from __future__ import annotations

from collections.abc import Awaitable

from shop_pages.pool import WarehouseUnavailable
from shop_pages.queries import Rows


async def rows_or_problem(query: Awaitable[Rows]) -> Rows | str:
    """The rows of a query, or the reason why they cannot be read."""
    try:
        return await query
    except WarehouseUnavailable as error:
        return str(error)
