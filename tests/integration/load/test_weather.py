"""Loading weather by the archive protocol, from the demo's API and from one that misbehaves."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import uvicorn
from tenacity import wait_none

from ecommerce.common.errors import SourceError
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import Window
from ecommerce.extract import weather_reader
from ecommerce.extract.weather_reader import WeatherReader
from ecommerce.load.batches import reach_back
from include.demo.shop.weather_api import create_app
from tests.integration.support import Loader

CITIES = {"Berlin": [52.52, 13.41], "Hamburg": [53.55, 9.99]}

MEASURED = """\
date,temperature,precipitation,city
2024-01-01,1.5,0.0,Berlin
2024-01-02,-3.25,,Berlin
2024-01-03,,12.25,Berlin
2024-01-05,4,1,Berlin
2024-01-01,2,3.5,Hamburg
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The shop's weather API over HTTP; its URL."""
    folder = tmp_path_factory.mktemp("weather")
    (folder / "weather_data.csv").write_text(MEASURED)
    server = uvicorn.Server(uvicorn.Config(create_app(folder), log_level="warning"))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


class Faulty(ThreadingHTTPServer):
    """An API that answers what it is told to, and counts the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body, self.claimed_length = 200, b"", 0
        #: Status and headers of the next answers, before the one that stays.
        self.first: list[tuple[int, dict[str, str]]] = []
        #: Parameters of each request.
        self.asked: list[dict[str, str]] = []
        self.is_silent = False
        self.is_over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def requests(self) -> int:
        return len(self.asked)

    def answers(self, status: int, body: str, *, claimed_length: int | None = None) -> None:
        self.status, self.body = status, body.encode()
        self.claimed_length = len(self.body) if claimed_length is None else claimed_length


class _Handler(BaseHTTPRequestHandler):
    server: Faulty

    def do_GET(self) -> None:
        self.server.asked.append(dict(parse_qsl(urlsplit(self.path).query)))
        if self.server.is_silent:
            self.server.is_over.wait(30)
            return
        status, headers = self.server.first.pop(0) if self.server.first else (self.server.status, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(self.server.claimed_length))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: Any) -> None:
        """Nothing on the tests' terminal."""


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    with Faulty() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        yield server
        server.is_over.set()
        server.shutdown()


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cities; no patience between the tries, and little with a silent server."""
    monkeypatch.setenv("AIRFLOW_VAR_WEATHER_CITIES", json.dumps(CITIES))
    monkeypatch.setattr(WeatherReader._ask.retry, "wait", wait_none())
    monkeypatch.setattr(weather_reader, "TIMEOUT", (1, 1))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Point the connection at a URL."""
    return lambda url: monkeypatch.setenv("AIRFLOW_CONN_WEATHER_API", url)


def stored_weather(loader: Loader) -> list[tuple]:
    return loader.rows("select city, date::text, temperature, precipitation from raw.weather_data order by 1, 2")


def test_weather_has_row_for_each_city_and_observed_day(loader: Loader, api: str, use: Callable[[str], None]) -> None:
    use(api)
    result = loader.load("weather_data", "2024-01-01", "2024-01-04")
    assert stored_weather(loader) == [
        ("Berlin", "2024-01-01", Decimal("1.5"), Decimal("0.0")),
        ("Berlin", "2024-01-02", Decimal("-3.25"), None),
        ("Berlin", "2024-01-03", None, Decimal("12.25")),
        ("Hamburg", "2024-01-01", Decimal("2.0"), Decimal("3.5")),
    ]
    # 4 January has no observation, 5 January is not asked for.
    assert (result.rows_read, result.rows_loaded, result.days_marked) == (4, 4, 3)
    assert loader.pop_dirty_dates() == {("weather_data", f"2024-01-0{day}") for day in (1, 2, 3)}
    again = loader.load("weather_data", "2024-01-01", "2024-01-04")
    assert (again.rows_unchanged, again.days_marked) == (4, 0)


UNITS = {"time": "iso8601", "temperature_2m_mean": "°C", "precipitation_sum": "mm"}


def answer(**values: Any) -> str:
    daily = {"time": ["2024-01-01"], "temperature_2m_mean": [1.5], "precipitation_sum": [0.25]} | values
    return json.dumps(
        {"daily_units": UNITS, "daily": {name: value for name, value in daily.items() if value is not None}}
    )


def test_days_are_asked_for_in_the_shops_time_zone(
    loader: Loader, api: str, faulty: Faulty, use: Callable[[str], None], set_time_zone: Callable[..., None]
) -> None:
    set_time_zone("America/New_York")
    use(api)
    assert loader.load("weather_data", "2024-01-01", "2024-01-04").rows_loaded == 4
    use(faulty.url)
    faulty.answers(200, answer())
    with pytest.raises(SourceError, match="asked for days of the time zone America/New_York, it gave those of None"):
        loader.load("weather_data", "2024-01-01")
    assert faulty.asked[-1]["timezone"] == "America/New_York"


def test_corrected_weather_day_is_replaced(loader: Loader, faulty: Faulty, use: Callable[[str], None]) -> None:
    use(faulty.url)
    faulty.answers(200, answer())
    loader.load("weather_data", "2024-01-01")
    loader.pop_dirty_dates()
    faulty.answers(200, answer(temperature_2m_mean=[2.5]))
    result = loader.load("weather_data", "2024-01-01")
    assert (result.rows_loaded, result.rows_removed) == (2, 2)
    assert [temperature for _, _, temperature, _ in stored_weather(loader)] == [Decimal("2.5")] * 2
    assert loader.pop_dirty_dates() == {("weather_data", "2024-01-01")}


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        pytest.param({"temperature_2m_mean": [None], "precipitation_sum": [None]}, ("1.5", "0.25"), id="neither value"),
        pytest.param({"temperature_2m_mean": [None]}, ("1.5", "0.25"), id="no temperature"),
        pytest.param({"precipitation_sum": [None], "temperature_2m_mean": [7]}, ("7", "0.25"), id="no precipitation"),
        pytest.param({name: [] for name in ("time", "temperature_2m_mean", "precipitation_sum")},
                     ("1.5", "0.25"), id="no day"),
        pytest.param({"temperature_2m_mean": ["warm"]}, ("1.5", "0.25"), id="rejected"),
    ],
)  # fmt: skip
def test_value_that_the_api_has_no_more_stays(
    loader: Loader,
    faulty: Faulty,
    use: Callable[[str], None],
    values: dict[str, Any],
    stored: tuple[str, str],
) -> None:
    use(faulty.url)
    faulty.answers(200, answer())
    loader.load("weather_data", "2024-01-01")
    loader.pop_dirty_dates()
    faulty.answers(200, json.dumps({"daily_units": UNITS, "daily": json.loads(answer())["daily"] | values}))
    result = loader.load("weather_data", "2024-01-01")
    assert result.rows_read == result.rows_loaded + result.rows_unchanged + result.rows_quarantined
    expected = [(city, "2024-01-01", *map(Decimal, stored)) for city in ("Berlin", "Hamburg")]
    assert stored_weather(loader) == expected
    has_changed = stored != ("1.5", "0.25")
    assert loader.pop_dirty_dates() == ({("weather_data", "2024-01-01")} if has_changed else set())


def test_days_of_a_city_that_is_asked_for_no_more_stay(
    loader: Loader, faulty: Faulty, use: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(faulty.url)
    faulty.answers(200, answer())
    loader.load("weather_data", "2024-01-01")
    monkeypatch.setenv("AIRFLOW_VAR_WEATHER_CITIES", json.dumps({"Berlin": CITIES["Berlin"]}))
    assert loader.load("weather_data", "2024-01-01").rows_removed == 0
    assert {city for city, *_ in stored_weather(loader)} == {"Berlin", "Hamburg"}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"temperature_2m_mean": ["warm"]}, "temperature is not a number: warm"),
        ({"temperature_2m_mean": [float("nan")]}, "temperature is not a finite number: NaN"),
        ({"precipitation_sum": [-1]}, "precipitation is negative: -1"),
        ({"precipitation_sum": [9999]}, "precipitation is outside 0 to 2000: 9999"),
        ({"precipitation_sum": [2000.1]}, "precipitation is outside 0 to 2000: 2000.1"),
        ({"temperature_2m_mean": [-999]}, "temperature is outside -90 to 60: -999"),
        ({"temperature_2m_mean": [68]}, "temperature is outside -90 to 60: 68"),
        ({"temperature_2m_mean": [-90.1]}, "temperature is outside -90 to 60: -90.1"),
        ({"time": ["1.1.2024"]}, "date is not a date such as 2024-01-31: 1.1.2024"),
        ({"time": ["2009-12-31"]}, "date is not among the days that were asked for: 2009-12-31"),
        ({"time": [None]}, "date is missing"),
        ({"time": [20240101]}, "date is not a date such as 2024-01-31: 20240101"),
        ({"time": ["2024-01-02"]}, "date is not among the days that were asked for: 2024-01-02"),
        ({"temperature_2m_mean": [True]}, "temperature is not a number: true"),
        ({"temperature_2m_mean": [[1]]}, 'temperature is not a number: ["1"]'),
        ({"temperature_2m_mean": ["\0"]}, "temperature holds a character that Postgres cannot store"),
        ({"time": ["\ud800"]}, "date holds a character that Postgres cannot store"),
    ],
)
def test_bad_weather_day_is_quarantined(
    loader: Loader, faulty: Faulty, use: Callable[[str], None], values: dict[str, Any], reason: str
) -> None:
    use(faulty.url)
    faulty.answers(200, answer(**values))
    result = loader.load("weather_data", "2024-01-01")
    assert (result.rows_read, result.rows_loaded) == (2, 0)
    assert loader.rows("select distinct reason from ops.quarantine") == [(reason,)]


def test_hottest_and_wettest_weather_is_loaded(loader: Loader, faulty: Faulty, use: Callable[[str], None]) -> None:
    use(faulty.url)
    days = ["2024-01-01", "2024-01-02"]
    faulty.answers(200, answer(time=days, temperature_2m_mean=[-90, 60], precipitation_sum=[0, 2000]))
    assert loader.load("weather_data", *days).rows_loaded == 4


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"daily_units": UNITS | {"temperature_2m_mean": "°F"}},
            r"asked for temperature_2m_mean in °C, it gave temperature_2m_mean in °F \(daily_units\)",
        ),
        (
            {"daily_units": UNITS | {"temperature_2m_mean": "K", "precipitation_sum": "inch"}},
            "asked for temperature_2m_mean in °C, precipitation_sum in mm, "
            "it gave temperature_2m_mean in K, precipitation_sum in inch",
        ),
        ({"daily_units": UNITS | {"time": "unixtime"}}, "asked for time in iso8601, it gave time in unixtime"),
        ({"daily_units": {"time": "iso8601"}}, "it gave temperature_2m_mean in no unit, precipitation_sum in no unit"),
        ({"daily_units": None}, "asked for time in iso8601, temperature_2m_mean in °C"),
        ({"utc_offset_seconds": 3600}, "UTC, which is 0 seconds ahead of UTC, it gave days of a clock that is 3600"),
        ({"timezone": "Europe/Berlin"}, "asked for days of the time zone UTC, it gave those of Europe/Berlin"),
        ({"error": True, "reason": "Daily API request limit exceeded"}, "an error: Daily API request limit exceeded"),
        ({"error": True}, "an error: without a reason"),
    ],
)
def test_answer_in_other_units_or_days_is_refused(
    loader: Loader, faulty: Faulty, use: Callable[[str], None], changes: dict[str, Any], says: str
) -> None:
    use(faulty.url)
    faulty.answers(200, json.dumps(json.loads(answer()) | changes))
    with pytest.raises(SourceError, match=says):
        loader.load("weather_data", "2024-01-01")
    assert stored_weather(loader) == []
    asked = faulty.asked[-1]
    assert (asked["temperature_unit"], asked["precipitation_unit"], asked["timeformat"]) == ("celsius", "mm", "iso8601")


@pytest.mark.parametrize(("offset", "is_taken"), [(-18000, True), (-14400, True), (0, False), (3600, False)])
def test_offset_of_an_answer_is_one_of_the_shops_clock(
    loader: Loader, faulty: Faulty, use: Callable[[str], None], set_time_zone: Callable[..., None], offset: int,
    is_taken: bool,
) -> None:  # fmt: skip
    """In summer or in winter: an API may name that of today for a day of another season."""
    set_time_zone("America/New_York")
    use(faulty.url)
    days = {"timezone": "America/New_York", "utc_offset_seconds": offset}
    faulty.answers(200, json.dumps(json.loads(answer()) | days))
    if is_taken:
        assert loader.load("weather_data", "2024-01-01").rows_loaded == 2
    else:
        with pytest.raises(SourceError, match="which is -14400 or -18000 seconds ahead of UTC"):
            loader.load("weather_data", "2024-01-01")


@pytest.mark.parametrize(
    ("status", "body", "requests", "says"),
    [
        pytest.param(
            400,
            '{"error": true, "reason": "Daily API limit"}',
            1,
            "answered 400 for Berlin 2024-01-01: .*Daily API limit",
            id="400",
        ),
        pytest.param(500, "boom", 4, "answered 500 for Berlin 2024-01-01: boom", id="500"),
        pytest.param(429, "slow down", 4, "answered 429 for Berlin 2024-01-01: slow down", id="429"),
        pytest.param(
            200,
            '{"daily": {"time": ["2024-',
            1,
            "no usable answer from the weather API at the connection 'weather_api' for Berlin 2024-01-01",
            id="half JSON",
        ),
        pytest.param(200, "<html>", 1, "no usable answer .* for Berlin", id="HTML"),
        pytest.param(200, "[]", 1, "no usable answer .* expected a JSON object, got list", id="list"),
        pytest.param(
            200,
            "{}",
            1,
            "the answer for Berlin has no daily time, temperature_2m_mean, precipitation_sum",
            id="no daily",
        ),
        pytest.param(200, answer(precipitation_sum=None), 1, "the answer for Berlin has no daily", id="one list short"),
        pytest.param(
            200,
            answer(precipitation_sum=[1, 2]),
            1,
            "the answer for Berlin has lists of different lengths",
            id="lengths",
        ),
    ],
)
def test_wrong_api_answer_fails_load(
    loader: Loader, faulty: Faulty, use: Callable[[str], None], status: int, body: str, requests: int, says: str
) -> None:
    use(faulty.url)
    faulty.answers(status, body)
    with pytest.raises(SourceError, match=f"^weather_data: .*{says}"):
        loader.load("weather_data", "2024-01-01")
    assert faulty.requests == requests
    assert stored_weather(loader) == []
    assert loader.value("select status from ops.load_batch") == "failed"


def test_unstorable_api_answer_is_recorded_in_load_batch(
    loader: Loader, faulty: Faulty, use: Callable[[str], None]
) -> None:
    use(faulty.url)
    faulty.answers(400, "no\0thing")
    with pytest.raises(SourceError, match="no thing"):
        loader.load("weather_data", "2024-01-01")
    ((status, error),) = loader.rows("select status, error from ops.load_batch")
    assert status == "failed"
    assert error.endswith("for Berlin 2024-01-01: no thing")


def test_error_quotes_the_beginning_of_an_answer_on_one_line(
    loader: Loader, faulty: Faulty, use: Callable[[str], None]
) -> None:
    use(faulty.url)
    faulty.answers(400, "no\r\n\x1b[31m\u202e" + "y" * 1_000_000)
    with pytest.raises(SourceError) as error:
        loader.load("weather_data", "2024-01-01")
    assert str(error.value).endswith("answered 400 for Berlin 2024-01-01: no [31m " + "y" * 191 + "…")
    faulty.answers(200, json.dumps({"error": True, "reason": "no\n" + "y" * 1_000_000}))
    with pytest.raises(SourceError, match="it answered an error: no yyy") as error:
        loader.load("weather_data", "2024-01-01")
    assert len(str(error.value)) < 600
    faulty.answers(200, json.dumps(json.loads(answer()) | {"timezone": "y" * 1_000_000}))
    with pytest.raises(SourceError, match="it gave those of yyy") as error:
        loader.load("weather_data", "2024-01-01")
    assert len(str(error.value)) < 600


def test_answer_that_is_nested_too_deeply_fails_load(
    loader: Loader, faulty: Faulty, use: Callable[[str], None]
) -> None:
    use(faulty.url)
    faulty.answers(200, "[" * 1_000_000)
    with pytest.raises(SourceError, match="nested too deeply"):
        loader.load("weather_data", "2024-01-01")


def test_truncated_api_answer_fails_load(loader: Loader, faulty: Faulty, use: Callable[[str], None]) -> None:
    use(faulty.url)
    faulty.answers(200, answer()[:20], claimed_length=len(answer()))
    with pytest.raises(SourceError, match=r"no usable answer .* for Berlin 2024-01-01"):
        loader.load("weather_data", "2024-01-01")


def test_hanging_api_fails_load(loader: Loader, faulty: Faulty, use: Callable[[str], None]) -> None:
    use(faulty.url)
    faulty.is_silent = True
    with pytest.raises(SourceError, match=r"no usable answer .* for Berlin 2024-01-01: .*timed out"):
        loader.load("weather_data", "2024-01-01")
    assert faulty.requests == 4


def test_unreachable_api_fails_load(loader: Loader, use: Callable[[str], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    use(f"http://127.0.0.1:{port}")
    with pytest.raises(SourceError, match=r"no usable answer from the weather API at the connection 'weather_api'"):
        loader.load("weather_data", "2024-01-01")


def test_missing_weather_connection_is_named_in_error(loader: Loader) -> None:
    with pytest.raises(SourceError, match=r"^weather_data: there is no connection 'weather_api'; add it under Admin"):
        loader.load("weather_data", "2024-01-01")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "the Airflow variable 'weather_cities' is missing"),
        ("Berlin", "'weather_cities' is not of the form"),
        ('["Berlin"]', "'weather_cities' is not of the form"),
        ('{"Berlin": 52}', "'weather_cities' is not of the form"),
        ('{"Berlin": ["north", "east"]}', "'weather_cities' is not of the form"),
    ],
)
def test_unreadable_cities_variable_is_named_in_error(
    loader: Loader, api: str, use: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, value: str | None, says: str
) -> None:
    use(api)
    if value is None:
        monkeypatch.delenv("AIRFLOW_VAR_WEATHER_CITIES")
    else:
        monkeypatch.setenv("AIRFLOW_VAR_WEATHER_CITIES", value)
    with pytest.raises(SourceError, match=says):
        loader.load("weather_data", "2024-01-01")


def test_failed_city_rolls_back_earlier_cities(
    loader: Loader, api: str, use: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(api)
    monkeypatch.setenv("AIRFLOW_VAR_WEATHER_CITIES", json.dumps(CITIES | {"Nowhere": [0, 0]}))
    with pytest.raises(SourceError, match=r"answered 400 for Nowhere 2024-01-01: .*No data is available"):
        loader.load("weather_data", "2024-01-01")
    assert stored_weather(loader) == []


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited between tries, instead of waiting."""
    slept: list[float] = []
    monkeypatch.setattr(WeatherReader._ask.retry, "wait", weather_reader._wait)
    monkeypatch.setattr(WeatherReader._ask.retry, "sleep", slept.append)
    return slept


def in_date_form(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        (None, 1, 2),
        ("17", 17, 17),
        ("0", 1, 2),
        # A number here is a date that so many seconds are left to.
        (100, 60, 100),
        (-40, 1, 2),
        ("86400", 120, 120),
        (86400, 120, 120),
        ("soon", 1, 2),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured_up_to_limit(
    loader: Loader,
    faulty: Faulty,
    use: Callable[[str], None],
    waits: list[float],
    status: int,
    header: str | int | None,
    least: float,
    most: float,
) -> None:
    use(faulty.url)
    faulty.answers(200, answer())
    text = in_date_form(header) if isinstance(header, int) else header
    faulty.first = [(status, {"Retry-After": text} if text else {})]
    assert loader.load("weather_data", "2024-01-01").rows_loaded == 2
    assert len(waits) == 1
    assert least <= waits[0] <= most


def test_backoff_grows_with_jitter(
    loader: Loader, faulty: Faulty, use: Callable[[str], None], waits: list[float]
) -> None:
    use(faulty.url)
    faulty.answers(500, "boom")
    for _ in range(2):
        with pytest.raises(SourceError, match="answered 500"):
            loader.load("weather_data", "2024-01-01")
    for number, wait in enumerate(waits):
        assert 2 ** (number % 3) <= wait <= 2 ** (number % 3) + 1
    assert len(set(waits)) == len(waits) == 6


def test_one_request_per_city_for_any_range(loader: Loader, faulty: Faulty, use: Callable[[str], None]) -> None:
    use(faulty.url)
    days = [f"2024-01-{day:02}" for day in range(1, 31)]
    faulty.answers(200, answer(time=days, temperature_2m_mean=[1] * 30, precipitation_sum=[0] * 30))
    assert loader.load("weather_data", days[0], days[-1]).rows_loaded == 60
    assert [(asked["latitude"], asked["start_date"], asked["end_date"]) for asked in faulty.asked] == [
        ("52.52", days[0], days[-1]),
        ("53.55", days[0], days[-1]),
    ]


def test_missing_weather_day_is_loaded_later(
    loader: Loader, faulty: Faulty, use: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daily run: the archive is three days behind."""
    monkeypatch.setenv("AIRFLOW_VAR_WEATHER_CITIES", json.dumps({"Berlin": CITIES["Berlin"]}))
    use(faulty.url)

    def run(day: int, known: int) -> Window:
        """The run of a day of January, of which the API knows the first few days."""
        window = reach_back(
            loader.connection, SOURCES["weather_data"], Window.of_days(date(2024, 1, day), date(2024, 1, day))
        )
        days = list(window.days)
        values = [int(each.day) if each.day <= known else None for each in days]
        faulty.answers(200, answer(time=list(map(str, days)), temperature_2m_mean=values, precipitation_sum=values))
        loader.load("weather_data", str(window.start), str(window.last))
        return window

    run(1, known=0)
    run(2, known=0)
    assert stored_weather(loader) == []
    run(3, known=0)
    run(4, known=1)
    assert [day for _, day, *_ in stored_weather(loader)] == ["2024-01-01"]
    assert loader.pop_dirty_dates() == {("weather_data", "2024-01-01")}
    for day in range(5, 20):
        run(day, known=day - 3)
    assert [day for _, day, *_ in stored_weather(loader)] == [f"2024-01-{day:02}" for day in range(1, 17)]
    assert loader.pop_dirty_dates() == {("weather_data", f"2024-01-{day:02}") for day in range(2, 17)}
    # As far back as the source says, and in the one request.
    assert run(20, known=17) == Window.of_days(date(2024, 1, 10), date(2024, 1, 20))
    assert faulty.requests == 20
    assert loader.pop_dirty_dates() == {("weather_data", "2024-01-17")}


def test_forecast_is_not_loaded(
    loader: Loader, faulty: Faulty, use: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(faulty.url)
    monkeypatch.setattr(weather_reader, "today", lambda: date(2024, 1, 3))
    days = [f"2024-01-0{day}" for day in range(1, 6)]
    faulty.answers(200, answer(time=days, temperature_2m_mean=[1] * 5, precipitation_sum=[0] * 5))
    result = loader.load("weather_data", "2024-01-01", "2024-01-03")
    assert {day for _, day, *_ in stored_weather(loader)} == {"2024-01-01", "2024-01-02"}
    assert (result.rows_read, result.rows_quarantined) == (4, 0)
    # Observed a day later.
    monkeypatch.setattr(weather_reader, "today", lambda: date(2024, 1, 4))
    loader.load("weather_data", "2024-01-01", "2024-01-03")
    assert {day for _, day, *_ in stored_weather(loader)} == {"2024-01-01", "2024-01-02", "2024-01-03"}


def test_weather_number_keeps_api_digits(loader: Loader, faulty: Faulty, use: Callable[[str], None]) -> None:
    use(faulty.url)
    faulty.answers(200, answer().replace("1.5", "1.50000000000000000000000001"))
    loader.load("weather_data", "2024-01-01")
    assert {temperature for _, _, temperature, _ in stored_weather(loader)} == {Decimal("1.50000000000000000000000001")}
