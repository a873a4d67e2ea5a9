"""
Write a small shop of more than two years, for the figures that need as long: seasons, and the effect of the weather.

About 1,500 order lines in 26 complete months and the days around them. Each category is an edge case of the seasonal
index, and each city one of the weather. The amounts grow, follow the month and the rain, and are drawn from the seed.
"""

import csv
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

from tests.oracle.edge_case_shop import COLUMNS

#: The window to load. It begins and ends within a month.
FIRST, LAST = date(2021, 12, 20), date(2024, 3, 10)

DAY = timedelta(days=1)
#: No order on these days, nor on any Sunday: the weekday has the factor 0, and the days in the middle the baseline 0.
CLOSED = (date(2022, 8, 1), date(2022, 9, 7))

TEA, NAMELESS, LATER, GONE, DECEMBER, ELEVEN, UNKNOWN = (f"P{number}" for number in range(1, 8))
CATEGORIES = {TEA: "Tea", LATER: "Later", GONE: "Gone", DECEMBER: "December", ELEVEN: "Eleven months"}

Value = str | Decimal | date | None


def write_season_shop(folder: Path, *, seed: int = 1) -> tuple[date, date]:
    """
    Write the eight CSV files; those that do not matter here have no rows.

    :param folder: created if it does not exist; files of the same names are replaced
    :return: first and last day of the window to load, both inclusive; the last is the as-of date
    """
    chance = random.Random(seed)
    weather = list(_weather(chance))
    rows: dict[str, Iterable[Sequence[Value]]] = {
        "product": ((product, f"Product {product}", None) for product in (*CATEGORIES, NAMELESS)),
        "product_category": (
            (product, f"C{product}", name, None, None, None, *("1.00", "9.99", None, None, None, "false"), None, FIRST)
            for product, name in CATEGORIES.items()
        ),
        "weather_data": weather,
        "sales_fact": _orders(chance, {day for day, city, _, mm in weather if city == "Berlin" and mm and mm > 2}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns in COLUMNS.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns.split(","))
            writer.writerows(rows.get(name, ()))
    return FIRST, LAST


def _weather(chance: random.Random) -> Iterator[tuple[date, str, Decimal | None, Decimal | None]]:
    """Berlin with gaps; Kiel without temperatures, and without rain; Ulm with 29 days; Aden as warm on each day."""
    for number, day in enumerate(_days(FIRST, LAST)):
        season = 10 - abs(day.month - 7) * 3
        temperature = Decimal(season * 10 + chance.randrange(-60, 60)) / 10
        rain = Decimal(max(0, chance.randrange(-60, 80))) / 10
        if number % 100 != 50:
            yield day, "Berlin", None if number % 37 == 5 else temperature, None if number % 41 == 7 else rain
        yield day, "Kiel", None, Decimal(0)
        yield day, "Aden", Decimal("31.1"), rain / 2
        if day > LAST - 29 * DAY:
            yield day, "Ulm", temperature + 2, rain


def _orders(chance: random.Random, wet_days: set[date]) -> Iterator[Sequence[Value]]:
    """
    Three lines a day, and single ones: the first order lies before the covered days, another in the future; neither a
    free nor a cancelled line counts, though they would be the first of a category.
    """
    numbers = iter(range(1, 10_000))

    def line(product: str, day: date, amount: Decimal, status: str = "paid") -> Sequence[Value]:
        recorded = datetime.combine(min(max(day, FIRST), LAST), time(12))
        return (
            f"O{next(numbers):05d}", None, product, None, day, amount, "1", "card", "0", "0", None, status,
            f"{recorded}",
        )  # fmt: skip

    yield line(TEA, date(2021, 11, 3), Decimal("40.00"))
    yield line(TEA, LAST + 3 * DAY, Decimal("900.00"))
    yield line(LATER, date(2022, 1, 10), Decimal("0.00"))
    yield line(ELEVEN, date(2022, 1, 11), Decimal("50.00"), "cancelled")
    for number, day in enumerate(_days(FIRST, LAST)):
        if day.isoweekday() == 7 or CLOSED[0] <= day <= CLOSED[1]:
            continue
        usual = Decimal(100 + number // 8) * (Decimal("1.5") if day.month == 12 else 1)
        if day in wet_days:
            usual *= Decimal("1.2")
        for product in (TEA, NAMELESS, LATER, GONE, DECEMBER, ELEVEN, UNKNOWN):
            if _is_sold(product, day):
                noise = Decimal(chance.randrange(80, 121)) / 100
                yield line(product, day, (usual * noise).quantize(Decimal("0.01")))


def _is_sold(product: str, day: date) -> bool:
    """The product without a category row and the one that no file has are of the same, unknown category."""
    sold = {
        # From within a month on; 21 of the complete months are its.
        LATER: day >= date(2022, 6, 10) and day.day % 2 == 0,
        # Nothing in the last 365 days, and no later year for most months.
        GONE: day <= date(2023, 1, 20) and day.day % 3 == 0,
        # Months without a sale between its first one and the last.
        DECEMBER: day.month == 12,
        ELEVEN: day >= date(2023, 4, 5) and day.day % 5 == 0,
        NAMELESS: day.day % 4 == 1,
        UNKNOWN: day.day % 4 == 3,
    }
    return sold.get(product, True)


def _days(first: date, last: date) -> list[date]:
    return [first + number * DAY for number in range((last - first).days + 1)]
