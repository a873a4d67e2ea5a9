"""
Serve the weather of a shop folder by the protocol of the Open-Meteo archive.

``GET /v1/archive?latitude=&longitude=&start_date=&end_date=&daily=`` answers like https://open-meteo.com: all days of
the range, null where there is no value; a list for several coordinates, separated by commas; 400 and
``{"error": true, "reason": …}`` for a bad request. Unlike there, only the folder's cities have weather (coordinates
within 0.1° of a city get the city's), there are two daily variables, and a day has the same weather in each time zone.
"""

import argparse
import math
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from include.demo.shop.cities import CITY_RADIUS, Coordinates, coordinates_of
from include.demo.shop.shop_folder import WEATHER, ShopDataError, csv_file, rows

VARIABLES = {"temperature_2m_mean": ("temperature", "°C"), "precipitation_sum": ("precipitation", "mm")}
Daily = dict[date, dict[str, float | None]]


class BadRequest(ValueError):
    """A request that is answered with status 400; the message is the reason in the response."""


def create_app(folder: Path) -> FastAPI:
    """
    Create the app.

    :param folder: a shop folder; its ``weather_data.csv`` is read here, once
    :raises ShopDataError: the file is missing, malformed or holds a bad date or number
    """
    weather = read_weather(folder)
    places = coordinates_of(weather)
    app = FastAPI(title="Shop weather", docs_url=None, redoc_url=None)

    @app.exception_handler(BadRequest)
    def reject(request: Request, error: BadRequest) -> JSONResponse:
        return JSONResponse({"error": True, "reason": str(error)}, status_code=400)

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", "cities": list(places)}

    @app.get("/v1/archive")
    def archive(request: Request) -> Any:
        query = request.query_params
        zone = query.get("timezone", "GMT")
        if zone not in available_timezones():
            raise BadRequest("Invalid timezone")
        variables = [name for text in query.getlist("daily") for name in text.split(",") if name]
        for name in variables:
            if name not in VARIABLES:
                raise BadRequest(f"Cannot initialize '{name}': only {', '.join(VARIABLES)} are served here")
        days = _days(query.get("start_date"), query.get("end_date"))
        locations = [
            _location(place, zone, weather[_city_at(place, places)], days, variables)
            for place in _coordinates(query.get("latitude"), query.get("longitude"))
        ]
        for number, location in enumerate(locations[1:], start=1):
            location["location_id"] = number
        return locations if len(locations) > 1 else locations[0]

    return app


def read_weather(folder: Path) -> dict[str, Daily]:
    """
    Read the weather of a shop folder.

    :return: city → day → ``temperature`` in °C and ``precipitation`` in mm; the last row of a day counts
    :raises ShopDataError: the file is missing, malformed or holds a bad date or number
    """
    path = csv_file(folder, WEATHER)
    result: dict[str, Daily] = {}
    for line, row in rows(folder, WEATHER):
        city = (row["city"] or "").strip()
        try:
            day = date.fromisoformat(row["date"] or "")
            values = {column: _number(row.get(column)) for column, _ in VARIABLES.values()}
        except ValueError as error:
            raise ShopDataError(f"{path}, line {line}: {error}; expected a date and numbers") from error
        if not city:
            raise ShopDataError(f"{path}, line {line}, column city: empty")
        result.setdefault(city, {})[day] = values
    return result


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a finite number")
    return number


def _coordinates(latitude: str | None, longitude: str | None) -> list[Coordinates]:
    columns: list[list[float]] = []
    for name, text, limit in (("latitude", latitude, 90), ("longitude", longitude, 180)):
        if not text:
            raise BadRequest(f"Parameter '{name}' is required")
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            raise BadRequest(f"Parameter '{name}' must be numbers. Given: {text}.") from None
        for number in numbers:
            if not -limit <= number <= limit:
                raise BadRequest(f"{name.title()} must be in range of -{limit} to {limit}°. Given: {number}.")
        columns.append(numbers)
    if len(columns[0]) != len(columns[1]):
        raise BadRequest("Parameter 'latitude' and 'longitude' must have the same number of elements")
    return list(zip(*columns, strict=True))


def _days(start: str | None, end: str | None) -> list[date]:
    if not start or not end:
        raise BadRequest("Both 'start_date' and 'end_date' must be set in the url")
    try:
        first, last = date.fromisoformat(start), date.fromisoformat(end)
    except ValueError as error:
        raise BadRequest(f"Invalid date: {error}. Expected YYYY-MM-DD") from None
    if last < first:
        raise BadRequest("End-date must be larger or equals than start-date")
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _city_at(place: Coordinates, places: dict[str, Coordinates]) -> str:
    distances = {name: max(abs(place[0] - at[0]), abs(place[1] - at[1])) for name, at in places.items()}
    nearest = min(distances, key=distances.__getitem__, default=None)
    # Rounding tolerance: 52.62 - 52.52 is slightly more than 0.1 in floating point.
    if nearest is None or distances[nearest] > CITY_RADIUS + 1e-9:
        raise BadRequest("No data is available for this location")
    return nearest


def _location(place: Coordinates, zone: str, weather: Daily, days: list[date], variables: list[str]) -> dict[str, Any]:
    now = datetime.now(ZoneInfo(zone))
    location: dict[str, Any] = {
        "latitude": place[0],
        "longitude": place[1],
        "generationtime_ms": 0.0,
        "utc_offset_seconds": int((now.utcoffset() or timedelta()).total_seconds()),
        "timezone": zone,
        "timezone_abbreviation": now.tzname(),
        "elevation": 0.0,
    }
    if variables:
        columns = {name: VARIABLES[name] for name in variables}
        location["daily_units"] = {"time": "iso8601"} | {name: unit for name, (_, unit) in columns.items()}
        location["daily"] = {"time": [day.isoformat() for day in days]} | {
            name: [weather.get(day, {}).get(column) for day in days] for name, (column, _) in columns.items()
        }
    return location


def main() -> None:
    """Serve a shop folder on the host and port of the command line."""
    parser = argparse.ArgumentParser(description="Serve the weather of a shop folder.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8099)
    arguments = parser.parse_args()
    uvicorn.run(create_app(arguments.folder), host=arguments.host, port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
