"""Where the shop's weather is: the Open-Meteo protocol asks by coordinates, the shop's file by city."""

import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path

from include.demo.shop.form import rows

Coordinates = tuple[float, float]  # latitude, longitude in degrees, WGS 84

KNOWN: dict[str, Coordinates] = {
    "amsterdam": (52.37, 4.89),
    "berlin": (52.52, 13.41),
    "chicago": (41.85, -87.65),
    "cincinnati": (39.13, -84.50),
    "cologne": (50.94, 6.96),
    "columbus": (39.96, -83.00),
    "frankfurt": (50.12, 8.68),
    "hamburg": (53.55, 9.99),
    "london": (51.51, -0.13),
    "los angeles": (34.05, -118.24),
    "madrid": (40.42, -3.70),
    "munich": (48.14, 11.58),
    "new york": (40.71, -74.01),
    "paris": (48.85, 2.35),
    "rome": (41.89, 12.51),
    "san francisco": (37.77, -122.42),
    "seattle": (47.61, -122.33),
    "stockholm": (59.33, 18.07),
    "vienna": (48.21, 16.37),
    "warsaw": (52.23, 21.01),
    "zurich": (47.37, 8.55),
}
NEAR = 0.1  # degrees: a request this close to a city means that city
APART = 5 * NEAR


def cities(folder: Path) -> dict[str, Coordinates]:
    """
    The cities of a shop folder's ``weather_data.csv`` and their coordinates, by name.

    :return: the real coordinates of some well-known cities, made-up ones (the same each time) for the others
    :raises ShopDataError: the file is missing or malformed
    """
    return located(row["city"] or "" for _, row in rows(folder, "weather_data"))


def located(names: Iterable[str]) -> dict[str, Coordinates]:
    """Coordinates of each name that is not blank, none within ``APART`` of another."""
    result: dict[str, Coordinates] = {}
    for name in sorted({name.strip() for name in names} - {""}):
        known = KNOWN.get(name.casefold())
        result[name] = known if known and is_free(known, result.values()) else _made_up(name, result.values())
    return result


def is_free(place: Coordinates, taken: Collection[Coordinates]) -> bool:
    """Whether no taken place is within ``APART``."""
    return all(max(abs(place[0] - other[0]), abs(place[1] - other[1])) >= APART for other in taken)


def _made_up(name: str, taken: Collection[Coordinates]) -> Coordinates:
    """A place between 60° south and 70° north; never near one taken or known."""
    attempt = 0
    while True:
        digest = hashlib.sha256(f"{name}/{attempt}".encode()).digest()
        latitude = int.from_bytes(digest[:4]) % 13_000 - 6_000  # hundredths of a degree
        longitude = int.from_bytes(digest[4:8]) % 36_000 - 18_000
        place = (latitude / 100, longitude / 100)
        if is_free(place, [*taken, *KNOWN.values()]):
            return place
        attempt += 1
