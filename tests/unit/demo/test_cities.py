"""Coordinates of the shop's cities: far enough apart, and always the same."""

from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.demo.shop.cities import KNOWN_PLACES, MIN_DISTANCE, cities, coordinates_of, is_apart
from include.demo.shop.shop_folder import ShopDataError


def test_cities_are_read_from_the_weather_file(tmp_path: Path) -> None:
    (tmp_path / "weather_data.csv").write_text(
        "city,date,temperature,precipitation\nHamburg,2024-01-01,1,0\n Berlin,2024-01-01,1,0\n,,,\n"
    )
    assert cities(tmp_path) == {"Berlin": (52.52, 13.41), "Hamburg": (53.55, 9.99)}


def test_cities_of_folder_without_weather_file_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ShopDataError, match=r"weather_data\.csv is missing"):
        cities(tmp_path)


def test_known_cities_lie_apart() -> None:
    assert all(is_apart(one, [other]) for one, other in combinations(KNOWN_PLACES.values(), 2))


def test_two_spellings_of_a_city_have_two_places() -> None:
    places = coordinates_of(["Berlin", "berlin"])
    assert places["Berlin"] == KNOWN_PLACES["berlin"] != places["berlin"]


@given(st.lists(st.text(max_size=12), max_size=40))
def test_coordinates_are_valid_apart_and_stable(names: list[str]) -> None:
    places = coordinates_of(names)
    assert set(places) == {name.strip() for name in names} - {""}
    assert places == coordinates_of(reversed(names))
    assert all(-90 <= latitude <= 90 and -180 <= longitude <= 180 for latitude, longitude in places.values())
    for one, other in combinations(places.values(), 2):
        assert max(abs(one[0] - other[0]), abs(one[1] - other[1])) >= MIN_DISTANCE
