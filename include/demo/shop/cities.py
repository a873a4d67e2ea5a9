"""Give each city of the shop's weather file coordinates, by which the Open-Meteo protocol asks for weather."""

import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path

from include.demo.shop.shop_folder import WEATHER, rows

Coordinates = tuple[float, float]  # latitude, longitude in degrees, WGS 84

KNOWN_PLACES: dict[str, Coordinates] = {
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
CITY_RADIUS = 0.1  # degrees: a request for coordinates this close to a city gets the city's weather
MIN_DISTANCE = 5 * CITY_RADIUS


def cities(folder: Path) -> dict[str, Coordinates]:
    """
    Read the cities of a shop folder's ``weather_data.csv``.

    :return: city → coordinates: the real ones of some well-known cities, computed ones (always the same) of all others
    :raises ShopDataError: the file is missing or malformed
    """
    return coordinates_of(row["city"] or "" for _, row in rows(folder, WEATHER))


def coordinates_of(names: Iterable[str]) -> dict[str, Coordinates]:
    """Give each name that is not blank coordinates, no two of them closer than ``MIN_DISTANCE``."""
    result: dict[str, Coordinates] = {}
    for name in sorted({name.strip() for name in names} - {""}):
        known = KNOWN_PLACES.get(name.casefold())
        result[name] = known if known and is_apart(known, result.values()) else _computed_place(name, result.values())
    return result


def is_apart(place: Coordinates, others: Collection[Coordinates]) -> bool:
    """Whether a place is at least ``MIN_DISTANCE`` from all others."""
    return all(max(abs(place[0] - other[0]), abs(place[1] - other[1])) >= MIN_DISTANCE for other in others)


def _computed_place(name: str, others: Collection[Coordinates]) -> Coordinates:
    """Hash a name to a place between 60° south and 70° north, apart from the others and from all known places."""
    attempt = 0
    while True:
        digest = hashlib.sha256(f"{name}/{attempt}".encode()).digest()
        latitude = int.from_bytes(digest[:4]) % 13_000 - 6_000  # hundredths of a degree
        longitude = int.from_bytes(digest[4:8]) % 36_000 - 18_000
        place = (latitude / 100, longitude / 100)
        if is_apart(place, [*others, *KNOWN_PLACES.values()]):
            return place
        attempt += 1
