"""The first day that was loaded: earlier days may have orders, but nobody knows whether those are all."""

from __future__ import annotations

from datetime import date

from shop_pages.pool import NotBuiltYet
from shop_pages.queries import Rows, Warehouse

_COVERED_DAYS = "select first_covered_date from marts.covered_days"


async def read_covered_days(reader: Warehouse) -> Rows | None:
    """
    The row of the view; None before the first task after an upgrade has made it.

    :raises WarehouseUnavailable: the marts cannot be read
    """
    try:
        return await reader.rows(_COVERED_DAYS)
    except NotBuiltYet:
        return None


def first_covered_date(covered: Rows | None) -> date | None:
    """The first loaded day; None if it is not known: a build of before it was recorded does not know it."""
    return covered.rows[0]["first_covered_date"] if covered and covered.rows else None
