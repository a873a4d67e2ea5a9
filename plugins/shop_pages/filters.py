"""What a reader chooses on a page of figures: days, a category, a segment, a product, the length of periods."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from fastapi import HTTPException, Request

from shop_pages.covered_days import first_covered_date, read_covered_days
from shop_pages.figures import FigurePage
from shop_pages.pages import DAY_RANGE, EARLIER_DAYS
from shop_pages.queries import Rows, Warehouse
from shop_pages.rendering import parse_day
from shop_pages.target_rows import targets_as_json

#: Label of a range → its days up to the last one.
PRESETS = {"7 days": 7, "30 days": 30, "90 days": 90, "1 year": 365}
#: Grains of `revenue_trend` → label of the control.
GRAINS = {"week": "Weeks", "month": "Months", "quarter": "Quarters", "year": "Years"}


@dataclass(frozen=True)
class Days:
    """
    The days of the marts.

    :param first: the first day that was loaded, or that of the first order where that is later: "all" begins here
    :param last: the as-of date
    :param covered_first: the first day that was loaded; from then on a day without orders is one
    :param earliest: the day of the first order, which may be dated long before anything was loaded
    :param earlier_days: days with orders before the first loaded day
    :param earlier_revenue: their revenue
    """

    first: date
    last: date
    covered_first: date
    earliest: date
    earlier_days: int = 0
    earlier_revenue: Decimal = Decimal(0)


@dataclass(frozen=True)
class Filters:
    """
    The filters of a page of figures; both days are included.

    A query may also ask for `%(targets)s`, the shop's targets of these years as JSON.

    :param covered_first: the first loaded day
    :param covered_last: the as-of date
    """

    first: date
    last: date
    category: str | None
    covered_first: date
    covered_last: date
    grain: str = "month"
    segment: str | None = None
    product: str | None = None

    @property
    def since(self) -> date:
        """Where figures of all days begin: with the first loaded day, or earlier if the reader has chosen so."""
        return min(self.first, self.covered_first)

    def address(self, page: FigurePage) -> dict[str, str]:
        """What an address of this page, or of a table of it, has for these filters."""
        chosen: dict[str, Any] = {"first": self.first, "last": self.last}
        chosen |= {name: getattr(self, name) for name in ("category", "segment", "product") if getattr(self, name)}
        if page.takes("grain"):
            chosen["grain"] = self.grain
        return {name: str(value) for name, value in chosen.items()}

    def parameters(self, query: str) -> dict[str, Any]:
        """The parameters that a query has: a filter it does not use must not make it a different query."""
        parameters = {**vars(self), "since": self.since}
        if "%(targets)s" in query:
            parameters["targets"] = targets_as_json(self.since.year, max(self.last, self.covered_last).year)
        return {name: value for name, value in parameters.items() if f"%({name})s" in query}


async def read_days(reader: Warehouse) -> tuple[Days | None, Sequence[Rows]]:
    """
    The days of the marts, None before the first publication, and the rows that say so.

    :raises WarehouseUnavailable: the marts cannot be read
    """
    day_range, covered = await asyncio.gather(reader.rows(DAY_RANGE), read_covered_days(reader))
    parts = [day_range, *([covered] if covered else [])]
    earliest, last = day_range.rows[0]["first"], day_range.rows[0]["last"]
    if last is None:
        return None, parts
    covered_first = min(first_covered_date(covered) or earliest, last)
    if earliest >= covered_first:
        return Days(earliest, last, covered_first, earliest), parts
    earlier = await reader.rows(EARLIER_DAYS, covered_first=covered_first)
    counted = earlier.rows[0]
    days = Days(covered_first, last, covered_first, earliest, counted["days"], counted["revenue"] or Decimal(0))
    return days, [*parts, earlier]


def filters_of(page: FigurePage, days: Days, request: Request) -> Filters:
    """
    The filters of an address; without days, the page's own range up to the as-of date.

    :raises HTTPException: 400, a text that is no day, a range that ends before it starts, or no grain
    """
    chosen = request.query_params
    end = parse_day("last day", chosen.get("last", "")) or days.last
    default = days.first if page.days is None else max(days.first, end - timedelta(days=page.days - 1))
    start = parse_day("first day", chosen.get("first", "")) or min(default, end)
    if start > end:
        raise HTTPException(400, f"The first day {start} is after the last day {end}.")
    grain = chosen.get("grain") or "month"
    if grain not in GRAINS:
        raise HTTPException(400, f"There is no grain {grain!r}; choose one of {', '.join(GRAINS)}.")
    return Filters(
        start,
        end,
        chosen.get("category") or None,
        days.covered_first,
        days.last,
        grain,
        segment=chosen.get("segment") or None,
        product=chosen.get("product") or None,
    )


def presets(days: Days, filters: Filters) -> list[dict[str, Any]]:
    """The ranges that a reader can choose with one click."""
    ranges = {label: days.last - timedelta(days=length - 1) for label, length in PRESETS.items()}
    ranges["All"] = days.first
    chosen = (filters.first, filters.last)
    return [
        {"label": label, "first": first, "last": days.last, "is_current": (first, days.last) == chosen}
        for label, first in ranges.items()
    ]
