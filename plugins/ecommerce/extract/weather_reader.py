"""Reads daily weather by the Open-Meteo archive protocol, with one request for each city and window."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError
from tenacity import (
    RetryCallState,
    before_sleep_log,
    retry,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential_jitter,
)

from ecommerce.common.days import time_zone, today
from ecommerce.common.errors import SourceError
from ecommerce.common.http_answers import QUOTED, RefusedRequest, ask
from ecommerce.common.shop import SourceLocation, shop
from ecommerce.common.shown_text import one_line
from ecommerce.common.sources import Source
from ecommerce.common.windows import Window
from ecommerce.extract.reader_protocol import ResumePoints, TopicRead
from ecommerce.extract.texts import KEPT_OF_LONG, kept, storable

log = logging.getLogger(__name__)

#: The Airflow variable that lists the cities: {"Berlin": [52.52, 13.41], ...} (latitude, longitude).
CITIES = "weather_cities"
ENDPOINT = "/v1/archive"
#: Seconds to connect, and to wait for the next byte; seconds until the whole answer is there, and its bytes: those of a
#: city and a century are a quarter of it.
TIMEOUT, DEADLINE, LONGEST_ANSWER = (10, 60), 180.0, 5_000_000
#: Longest wait before another try, in seconds, whatever the API asks for.
LONGEST_WAIT = 120.0

#: Names of UTC; an answer that names no time zone is of UTC.
_UTC = {"UTC", "GMT", "Etc/UTC", None}
_FIELDS = {"temperature": "temperature_2m_mean", "precipitation": "precipitation_sum"}
#: The units that are asked for, and those that an answer must name.
_ASKED_UNITS = {"temperature_unit": "celsius", "precipitation_unit": "mm", "timeformat": "iso8601"}
_UNITS = {"time": "iso8601", "temperature_2m_mean": "°C", "precipitation_sum": "mm"}


def _worth_another_try(error: BaseException) -> bool:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code in (429, 500, 502, 503, 504)
    # For requests an incomplete body is no ConnectionError.
    return isinstance(error, (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError))


_BACKOFF = wait_exponential_jitter(initial=1, max=20)


def _wait(state: RetryCallState) -> float:
    """Seconds before the next try: longer each time, with jitter, and at least as long as the API asks for."""
    error = state.outcome.exception() if state.outcome else None
    requested = _retry_after(error.response) if isinstance(error, requests.HTTPError) else 0.0
    return min(max(_BACKOFF(state), requested), LONGEST_WAIT)


def _retry_after(response: requests.Response) -> float:
    """Seconds that the header `Retry-After` asks for, in either of its forms (RFC 9110, 10.2.3); 0 without one."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (moment - datetime.now(moment.tzinfo)).total_seconds())


class WeatherReader:
    """
    Mean temperature (°C) and precipitation (mm) of each city and day of the shop's time zone.

    Only past days are observations: values of today or later are forecasts and are left out, as are days without a
    value. The source's `lookback_days` request both again. An answer in other units, or of days of another clock, is
    refused whole.

    :raises SourceError: on reading: no cities configured, or an API without a valid answer
    """

    topics: Sequence[TopicRead] = ()

    def __init__(self, source: Source, location: SourceLocation, window: Window) -> None:
        self.source = source
        self.location = location
        self.columns = [*(column.name for column in source.columns), "_payload", "_rejection"]
        self._window = window

    def read(self, resume: ResumePoints) -> Iterator[list[str | None]]:
        """One row for each city and day that has an observation."""
        for city, (latitude, longitude) in self._cities().items():
            try:
                answer = self._ask(latitude, longitude)
            except RefusedRequest as error:
                raise SourceError(
                    f"{self.source.name}: the weather API answered {error.status} for {city} {self._window}: "
                    f"{error.says}"
                ) from error
            except AirflowNotFoundException as error:
                raise SourceError(
                    f"{self.source.name}: there is no connection {self.location.connection!r}; "
                    "add it under Admin → Connections"
                ) from error
            except (requests.RequestException, ValueError) as error:
                raise SourceError(
                    f"{self.source.name}: no usable answer from the weather API at the connection "
                    f"{self.location.connection!r} for {city} {self._window}: {one_line(error, 2 * QUOTED)}"
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
        wait=_wait,
        stop=stop_after_attempt(4),
        before_sleep=before_sleep_log(log, logging.WARNING),
        reraise=True,
    )
    def _ask(self, latitude: float, longitude: float) -> dict[str, Any]:
        hook = HttpHook(method="GET", http_conn_id=self.location.connection)
        session = hook.get_conn()
        _, content = ask(
            session,
            "GET",
            hook.url_from_endpoint(ENDPOINT),
            most_bytes=LONGEST_ANSWER,
            seconds=DEADLINE,
            timeout=TIMEOUT,
            params={
                "latitude": str(latitude),
                "longitude": str(longitude),
                "start_date": str(self._window.start),
                "end_date": str(self._window.last),
                "daily": ",".join(_FIELDS.values()),
                "timezone": shop().time_zone,
                **_ASKED_UNITS,
            },
        )
        # Numbers as the API spells them: a float would round them, and fails at thousands of digits.
        try:
            answer = json.loads(content, parse_int=str, parse_float=str, parse_constant=str)
        except RecursionError:
            raise ValueError("its JSON is nested too deeply") from None
        if not isinstance(answer, dict):
            raise ValueError(f"expected a JSON object, got {type(answer).__name__}")
        if answer.get("error"):
            raise ValueError(f"it answered an error: {one_line(answer.get('reason', 'without a reason'), QUOTED)}")
        self._fail_if_other_days(answer)
        self._fail_if_other_units(answer)
        return answer

    def _fail_if_other_days(self, answer: Mapping[str, Any]) -> None:
        zone, answered = shop().time_zone, answer.get("timezone")
        if answered != zone and not {zone, answered} <= _UTC:
            raise ValueError(f"asked for days of the time zone {zone}, it gave those of {one_line(answered)}")
        offset = answer.get("utc_offset_seconds")
        if offset is not None and str(offset) not in self._possible_offsets():
            raise ValueError(
                f"asked for days of the time zone {zone}, which is {' or '.join(sorted(self._possible_offsets()))} "
                f"seconds ahead of UTC, it gave days of a clock that is {one_line(offset)} ahead"
            )

    def _possible_offsets(self) -> set[str]:
        """The zone's offsets in the window and in the last year: an API may name today's for days of another season."""
        now = datetime.now(UTC)
        days = [*self._window.moments, *(now - timedelta(days=n) for n in range(0, 366, 30))]
        offsets = {moment.astimezone(time_zone()).utcoffset() or timedelta() for moment in days}
        return {str(int(offset.total_seconds())) for offset in offsets}

    @staticmethod
    def _fail_if_other_units(answer: Mapping[str, Any]) -> None:
        units = answer.get("daily_units")
        given = units if isinstance(units, dict) else {}
        others = [name for name, unit in _UNITS.items() if given.get(name) != unit]
        # An answer without any day has nothing in a unit.
        if others and isinstance(answer.get("daily"), dict):
            wanted = ", ".join(f"{name} in {_UNITS[name]}" for name in others)
            got = ", ".join(f"{name} in {one_line(given.get(name, 'no unit'), 20)}" for name in others)
            raise ValueError(f"asked for {wanted}, it gave {got} (daily_units)")

    def _rows(self, city: str, answer: dict[str, Any]) -> Iterator[list[str | None]]:
        forecasts = 0
        for day, temperature, precipitation in self._days(city, answer):
            # The archive answers every day of the range; one with neither value has not been observed (yet).
            if temperature is None and precipitation is None:
                continue
            is_past, is_requested = self._place(day)
            if not is_past:
                forecasts += 1
                continue
            yield self._row(
                {"date": day, "temperature": temperature, "precipitation": precipitation, "city": city},
                None if is_requested else f"date is not among the days that were asked for: {one_line(day, 80)}",
            )
        if forecasts:
            log.info("%s: %s days of %s are not over yet; their values are left out", city, forecasts, self._window)

    def _days(self, city: str, answer: dict[str, Any]) -> Iterator[tuple[Any, Any, Any]]:
        """The answer's lists side by side: day, temperature, precipitation."""
        daily = answer.get("daily")
        names = ["time", *_FIELDS.values()]
        if not isinstance(daily, dict) or any(not isinstance(daily.get(name), list) for name in names):
            raise SourceError(f"{self.source.name}: the answer for {city} has no daily {', '.join(names)}")
        lengths = {len(daily[name]) for name in names}
        if len(lengths) > 1:
            raise SourceError(f"{self.source.name}: the answer for {city} has lists of different lengths {lengths}")
        return zip(*(daily[name] for name in names), strict=True)

    def _place(self, day: Any) -> tuple[bool, bool]:
        """Whether a day is over, and whether the request named it; the loader rejects a text that is no day."""
        try:
            parsed = date.fromisoformat(day)
        except (TypeError, ValueError):
            return True, True
        return parsed < today(), self._window.start <= parsed < self._window.end

    def _row(self, values: dict[str, Any], rejection: str | None) -> list[str | None]:
        texts: dict[str, str | None] = {
            name: value if value is None or isinstance(value, str) else json.dumps(value)
            for name, value in values.items()
        }
        bad = {name: text for name, text in texts.items() if text is not None and not storable(text)}
        payload = None
        if bad:
            rejection = f"{', '.join(bad)} holds a character that Postgres cannot store"
            # As JSON spells it, which is plain ASCII.
            spelled = {name: {"json": kept(json.dumps(text), KEPT_OF_LONG)} for name, text in bad.items()}
            payload = json.dumps({name: kept(text, KEPT_OF_LONG) for name, text in texts.items()} | spelled)
            texts |= dict.fromkeys(bad)
        return [*(texts[column.name] for column in self.source.columns), payload, rejection]
