"""
The shop's targets: the revenue that a month is to have, in all or in one category.

They are in the file `targets.csv` in the folder of the shop's profile, with the columns month, category and revenue. A
shop without the file has none. See `docs/your_shop.md`.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

from ecommerce.common.errors import ShopError
from ecommerce.common.shop import changed_at, shop, shown_path
from ecommerce.common.sources import CALENDAR

FILE = "targets.csv"
COLUMNS = ["month", "category", "revenue"]
#: The category of a target of all categories; in the file it may also be empty.
ALL_CATEGORIES = "All categories"
#: Mistakes of a file that its error names.
NAMED_MISTAKES = 5

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])(-01)?")
_AMOUNT = re.compile(r"\d{1,16}(\.\d{1,2})?")


@dataclass(frozen=True)
class Target:
    """
    The revenue that a month is to have.

    :param month: its first day
    :param category: the name of a category, or `ALL_CATEGORIES`
    """

    month: date
    category: str
    revenue: Decimal


def targets() -> Sequence[Target]:
    """
    The targets of the shop, with one of all categories for each month; read again when the file has changed.

    A month without a row of all categories has the sum of its categories.

    :raises ShopError: the file has a mistake; the message names file and line
    """
    path = shop().folder / FILE
    changed = changed_at(path)
    return () if changed is None else _read(path, changed)


@lru_cache(maxsize=8)
def _read(path: Path, _changed: int) -> Sequence[Target]:
    found: dict[tuple[date, str], Target] = {}
    mistakes = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            mistakes += [f"line 1: {text}" for text in _mistake_of_columns(next(reader, []))]
            for row in reader:
                mistakes += [f"line {reader.line_num}: {text}" for text in _take(row, found)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ShopError(f"{shown_path(path)} is no CSV file in UTF-8: {error}") from error
    if mistakes:
        more = len(mistakes) - NAMED_MISTAKES
        named = "; ".join(mistakes[:NAMED_MISTAKES]) + (f"; and {more} more" if more > 0 else "")
        raise ShopError(f"{shown_path(path)}, {named}")
    return tuple(_with_totals(list(found.values())))


def _mistake_of_columns(row: list[str]) -> Iterator[str]:
    columns = [cell.strip() for cell in row]
    if columns != COLUMNS:
        yield f"the columns are {', '.join(columns) or 'missing'}; write {','.join(COLUMNS)}"


def _take(row: list[str], found: dict[tuple[date, str], Target]) -> Iterator[str]:
    """Add the target of a row to those found; returns what is wrong with the row."""
    cells = [cell.strip() for cell in row]
    if not any(cells):
        return
    if len(cells) != len(COLUMNS):
        yield f"it has {len(cells)} columns instead of {len(COLUMNS)}"
        return
    month, category, revenue = cells
    parts = _MONTH.fullmatch(month)
    if parts is None or not CALENDAR[0] <= f"{parts[1]}-{parts[2]}-01" <= CALENDAR[1]:
        yield f"month is {month!r}; write a month such as 2024-01"
    if not _AMOUNT.fullmatch(revenue):
        yield f"revenue is {revenue!r}; write an amount such as 12000.00, without a currency or thousands separators"
    if parts is None or not _AMOUNT.fullmatch(revenue):
        return
    target = Target(date(int(parts[1]), int(parts[2]), 1), category or ALL_CATEGORIES, Decimal(revenue))
    if found.setdefault((target.month, target.category), target) is not target:
        yield f"{target.category} has a target for {target.month:%Y-%m} already"


def _with_totals(found: list[Target]) -> Iterator[Target]:
    sums: dict[date, Decimal] = defaultdict(Decimal)
    for target in found:
        sums[target.month] += target.revenue
        yield target
    have_total = {target.month for target in found if target.category == ALL_CATEGORIES}
    for month, revenue in sums.items():
        if month not in have_total:
            yield Target(month, ALL_CATEGORIES, revenue)
