"""A weather API under the test's control: it measures what it is told, and does wrong what it is told."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

Fault = Literal["429", "500", "half a body", "hangs", "trickles", "wrong JSON", "no JSON", "resets"]

CITIES = {"Bonn": [50.74, 7.1], "Oslo": [59.91, 10.75]}


class WeatherApi(ThreadingHTTPServer):
    """
    ``GET /v1/archive`` as Open-Meteo answers it.

    :ivar measured: (city, day) → temperature, precipitation
    :ivar faults: what the next requests get instead of the answer, in order
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.measured: dict[tuple[str, str], tuple[str | None, str | None]] = {}
        self.faults: deque[Fault] = deque()
        self.requests = 0
        self.is_over = threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.is_over.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: WeatherApi

    def do_GET(self) -> None:
        self.server.requests += 1
        fault = self.server.faults.popleft() if self.server.faults else None
        body = json.dumps(self._answer()).encode()
        match fault:
            case "429":
                self._send(429, b'{"error": true, "reason": "Too many requests"}', {"Retry-After": "0"})
            case "500":
                self._send(500, b"<html>oops</html>")
            case "half a body":
                self._send(200, body[: len(body) // 2], {"Content-Length": str(len(body))})
            case "hangs":
                self.server.is_over.wait(30)
            case "trickles":
                self._send(200, b"", {"Content-Length": str(len(body))})
                with contextlib.suppress(OSError):
                    while not self.server.is_over.wait(0.2):
                        self.wfile.write(b" ")
            case "wrong JSON":
                self._send(200, b'{"daily": {"time": ["2024-03-01"]}}')
            case "no JSON":
                self._send(200, b"<html>captive portal</html>")
            case "resets":
                self.connection.close()
            case _:
                self._send(200, body)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _answer(self) -> Any:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        first, last = date.fromisoformat(query["start_date"]), date.fromisoformat(query["end_date"])
        days = [str(first + timedelta(days=n)) for n in range((last - first).days + 1)]
        places = zip(query["latitude"].split(","), query["longitude"].split(","), strict=True)
        answers = [self._of_city(float(latitude), float(longitude), days) for latitude, longitude in places]
        return answers if len(answers) > 1 else answers[0]

    def _of_city(self, latitude: float, longitude: float, days: list[str]) -> dict[str, Any]:
        (city,) = (city for city, place in CITIES.items() if place == [latitude, longitude])
        values = [self.server.measured.get((city, day), (None, None)) for day in days]
        return {
            "latitude": latitude,
            "longitude": longitude,
            "daily_units": {"time": "iso8601", "temperature_2m_mean": "°C", "precipitation_sum": "mm"},
            "daily": {
                "time": days,
                "temperature_2m_mean": [None if t is None else float(t) for t, _ in values],
                "precipitation_sum": [None if p is None else float(p) for _, p in values],
            },
        }

    def log_message(self, *_: Any) -> None:
        """Nothing on the tests' terminal."""
