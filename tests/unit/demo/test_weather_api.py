"""The weather API answers like the Open-Meteo archive."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from include.demo.shop.shop_folder import ShopDataError
from include.demo.shop.weather_api import create_app

HEADER = "date,temperature,precipitation,city\n"
ROWS = """\
2024-01-01,1.5,0.0,Berlin
2024-01-02,-3.0,,Berlin
2024-01-04,,12.25,Berlin
2024-01-01,2.5,3.1,Hamburg
"""
BERLIN = {"latitude": "52.52", "longitude": "13.41"}
REQUEST = BERLIN | {
    "start_date": "2024-01-01",
    "end_date": "2024-01-04",
    "daily": "temperature_2m_mean,precipitation_sum",
    "timezone": "GMT",
}


def write(folder: Path, rows: str) -> Path:
    (folder / "weather_data.csv").write_text(HEADER + rows, encoding="utf-8")
    return folder


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    return TestClient(create_app(write(tmp_path, ROWS)))


def get(client: TestClient, **changes: str | None) -> Any:
    query = {name: value for name, value in (REQUEST | changes).items() if value is not None}
    return client.get("/v1/archive", params=query)


def test_column_that_the_file_lacks_has_no_values(tmp_path: Path) -> None:
    (tmp_path / "weather_data.csv").write_text("city,date,precipitation\nBerlin,2024-01-01,1.5\n")
    daily = get(TestClient(create_app(tmp_path)), end_date="2024-01-01").json()["daily"]
    assert daily == {"time": ["2024-01-01"], "temperature_2m_mean": [None], "precipitation_sum": [1.5]}


def test_archive_returns_each_day_of_the_range(client: TestClient) -> None:
    response = get(client)
    assert response.status_code == 200
    location = response.json()
    assert location.pop("generationtime_ms") >= 0
    assert location == {
        "latitude": 52.52,
        "longitude": 13.41,
        "utc_offset_seconds": 0,
        "timezone": "GMT",
        "timezone_abbreviation": "GMT",
        "elevation": 0.0,
        "daily_units": {"time": "iso8601", "temperature_2m_mean": "°C", "precipitation_sum": "mm"},
        "daily": {
            "time": ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"],
            "temperature_2m_mean": [1.5, -3.0, None, None],
            "precipitation_sum": [0.0, None, None, 12.25],
        },
    }


def test_archive_answers_for_the_days_of_the_requested_time_zone(client: TestClient) -> None:
    location = get(client, timezone="Asia/Kolkata").json()
    assert (location["timezone"], location["utc_offset_seconds"]) == ("Asia/Kolkata", 19_800)
    assert location["daily"] == get(client).json()["daily"]


def test_archive_returns_only_requested_variables(client: TestClient) -> None:
    daily = get(client, daily="precipitation_sum").json()["daily"]
    assert set(daily) == {"time", "precipitation_sum"}
    assert "daily" not in get(client, daily=None).json()


def test_archive_returns_null_for_days_without_row(client: TestClient) -> None:
    daily = get(client, start_date="2030-02-28", end_date="2030-03-01").json()["daily"]
    assert daily["time"] == ["2030-02-28", "2030-03-01"]
    assert daily["temperature_2m_mean"] == [None, None]


def test_archive_returns_a_list_for_several_places(client: TestClient) -> None:
    locations = get(client, latitude="52.52,53.55", longitude="13.41,9.99", end_date="2024-01-01").json()
    assert [location["daily"]["temperature_2m_mean"] for location in locations] == [[1.5], [2.5]]
    assert [location.get("location_id") for location in locations] == [None, 1]


@pytest.mark.parametrize(("latitude", "longitude"), [("52.62", "13.31"), ("52.42", "13.51"), ("52.5", "13.4")])
def test_archive_returns_weather_of_a_city_nearby(client: TestClient, latitude: str, longitude: str) -> None:
    assert get(client, latitude=latitude, longitude=longitude).json()["daily"]["temperature_2m_mean"][0] == 1.5


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"latitude": None}, "Parameter 'latitude' is required"),
        ({"longitude": "east"}, "Parameter 'longitude' must be numbers"),
        ({"latitude": "91"}, "Latitude must be in range of -90 to 90°. Given: 91.0."),
        ({"latitude": "nan"}, "Latitude must be in range"),
        ({"latitude": "52.52,53.55"}, "must have the same number of elements"),
        ({"latitude": "52.63"}, "No data is available for this location"),
        ({"start_date": None}, "Both 'start_date' and 'end_date' must be set"),
        ({"end_date": "2024-02-30"}, "Invalid date"),
        ({"end_date": "tomorrow"}, "Invalid date"),
        ({"end_date": "2023-12-31"}, "End-date must be larger or equals than start-date"),
        ({"daily": "temperature_2m_mean,moon_phase"}, "'moon_phase'"),
        ({"timezone": "Europe/Nowhere"}, "Invalid timezone"),
    ],
)
def test_bad_request_is_answered_with_its_reason(
    client: TestClient, changes: dict[str, str | None], reason: str
) -> None:
    response = get(client, **changes)
    assert response.status_code == 400
    assert response.json()["error"] is True
    assert reason in response.json()["reason"]


def test_health_lists_cities(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok", "cities": ["Berlin", "Hamburg"]}


def test_last_row_of_a_day_counts(tmp_path: Path) -> None:
    client = TestClient(create_app(write(tmp_path, ROWS + "2024-01-01,9.9,9.9,Berlin\n")))
    assert get(client).json()["daily"]["temperature_2m_mean"][0] == 9.9


@pytest.mark.parametrize(
    "row", ["2024-01-32,1,1,Berlin", "2024-01-01,warm,1,Berlin", "2024-01-01,nan,1,Berlin", ",1,1,X"]
)
def test_bad_value_is_an_error_at_start(tmp_path: Path, row: str) -> None:
    with pytest.raises(ShopDataError, match=r"weather_data\.csv, line 6: .*expected a date and numbers"):
        create_app(write(tmp_path, f"{ROWS}{row}\n"))


def test_row_without_city_is_an_error_at_start(tmp_path: Path) -> None:
    with pytest.raises(ShopDataError, match=r"weather_data\.csv, line 6, column city: empty"):
        create_app(write(tmp_path, f"{ROWS}2024-01-01,1,1, \n"))
