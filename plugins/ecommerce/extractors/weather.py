"""Read daily weather by the Open-Meteo archive protocol: one request a city and window."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import requests
from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError
from tenacity import before_sleep_log, retry, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from ecommerce.errors import SourceError
from ecommerce.loading.positions import Positions, TopicRead
from ecommerce.sources import Source
from ecommerce.windows import Window

log = logging.getLogger(__name__)

#: The Airflow variable that lists the cities: {"Berlin": [52.52, 13.41], ...} (latitude, longitude).
CITIES = "weather_cities"
ENDPOINT = "/v1/archive"
#: Seconds to connect, and to wait for the next byte.
TIMEOUT = (10, 60)

_FIELDS = {"temperature": "temperature_2m_mean", "precipitation": "precipitation_sum"}


def _worth_another_try(error: BaseException) -> bool:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code in (429, 500, 502, 503, 504)
    # A body that breaks off is no ConnectionError to requests.
    return isinstance(error, (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError))


class WeatherReader:
    """
    Mean temperature (°C) and precipitation (mm) a city and UTC day.

    :raises SourceError: on reading: no cities configured, an API that cannot be reached, refuses, or answers nonsense
    """

    topics: Sequence[TopicRead] = ()

    def __init__(self, source: Source, window: Window) -> None:
        self.source = source
        self.columns = [column.name for column in source.columns]
        self._window = window

    def read(self, resume: Positions) -> Iterator[list[str | None]]:
        """One row a city and day that has an observation."""
        for city, (latitude, longitude) in self._cities().items():
            try:
                answer = self._ask(latitude, longitude)
            except requests.HTTPError as error:
                raise SourceError(
                    f"{self.source.name}: the weather API answered {error.response.status_code} for {city} "
                    f"{self._window}: {error.response.text[:300]}"
                ) from error
            except AirflowNotFoundException as error:
                raise SourceError(
                    f"{self.source.name}: there is no connection {self.source.connection!r}; "
                    "add it under Admin → Connections"
                ) from error
            except (requests.RequestException, ValueError) as error:
                raise SourceError(
                    f"{self.source.name}: no usable answer from the weather API at the connection "
                    f"{self.source.connection!r} for {city} {self._window}: {error}"
                ) from error
            yield from self._rows(city, answer)

    @staticmethod
    def _cities() -> dict[str, tuple[float, float]]:
        try:
            # Not by `deserialize_json`: Airflow takes a variable that is no JSON for one that is missing.
            cities = json.loads(Variable.get(CITIES))
            return {city: (float(latitude), float(longitude)) for city, (latitude, longitude) in cities.items()}
        except (AirflowRuntimeError, KeyError) as error:
            raise SourceError(
                f"weather_data: the Airflow variable {CITIES!r} is missing; it lists the cities"
            ) from error
        except (TypeError, ValueError, AttributeError) as error:
            raise SourceError(
                f"weather_data: the Airflow variable {CITIES!r} is not of the form "
                f'{{"Berlin": [52.52, 13.41]}} (latitude, longitude): {error}'
            ) from error

    @retry(
        retry=retry_if_exception(_worth_another_try),
        wait=wait_exponential_jitter(initial=1, max=20),
        stop=stop_after_attempt(4),
        before_sleep=before_sleep_log(log, logging.WARNING),
        reraise=True,
    )
    def _ask(self, latitude: float, longitude: float) -> dict[str, Any]:
        hook = HttpHook(method="GET", http_conn_id=self.source.connection)
        session = hook.get_conn()
        response = session.get(
            hook.url_from_endpoint(ENDPOINT),
            params={
                "latitude": str(latitude),
                "longitude": str(longitude),
                "start_date": str(self._window.start),
                "end_date": str(self._window.last),
                "daily": ",".join(_FIELDS.values()),
                "timezone": "GMT",
            },
            timeout=TIMEOUT,
        )
        response.raise_for_status()
        answer = response.json()
        if not isinstance(answer, dict):
            raise ValueError(f"expected a JSON object, got {type(answer).__name__}")
        return answer

    def _rows(self, city: str, answer: dict[str, Any]) -> Iterator[list[str | None]]:
        daily = answer.get("daily")
        names = ["time", *_FIELDS.values()]
        if not isinstance(daily, dict) or any(not isinstance(daily.get(name), list) for name in names):
            raise SourceError(f"{self.source.name}: the answer for {city} has no daily {', '.join(names)}")
        lengths = {len(daily[name]) for name in names}
        if len(lengths) > 1:
            raise SourceError(f"{self.source.name}: the answer for {city} has lists of different lengths {lengths}")
        for day, temperature, precipitation in zip(*(daily[name] for name in names), strict=True):
            # The archive answers every day of the range; one with neither value has not been observed (yet).
            if temperature is None and precipitation is None:
                continue
            row = {"date": day, "temperature": temperature, "precipitation": precipitation, "city": city}
            yield [None if row[name] is None else str(row[name]) for name in self.columns]
