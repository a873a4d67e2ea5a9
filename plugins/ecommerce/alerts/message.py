"""The message of an incident: a text for a person, and the same as fields for a machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from html import escape
from typing import Any
from urllib.parse import quote

from ecommerce.alerts.incidents import Alert
from ecommerce.common.pages_url import PAGES_PREFIX
from ecommerce.common.shop import shop
from ecommerce.common.windows import Window

#: Characters of an incident's sentence: services reject longer messages, and no one reads them.
_MAX_LENGTH = 1500


@dataclass(frozen=True)
class Message:
    """A title, the lines below it, and the incident as fields of JSON."""

    title: str
    lines: tuple[str, ...]
    fields: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The title and the lines."""
        return "\n".join((self.title, *self.lines))

    @property
    def html(self) -> str:
        """The text for an e-mail, with links."""
        return "<br>\n".join(map(_linked, (self.title, *self.lines)))

    @property
    def payload(self) -> dict[str, Any]:
        """
        The JSON of a webhook: `text`, which Slack, Mattermost and similar services show, and `alert` with the fields.

        The text may have something that a customer typed, so `<`, `>` and `&` are escaped as Slack requires: nothing in
        it becomes a mention or a link.
        """
        return {"text": escape(self.text, quote=False), "alert": dict(self.fields)}


def message_of(alert: Alert, base_url: str) -> Message:
    """
    The message of an incident.

    :param base_url: of Airflow's UI; without it there are no links
    """
    run_url, page_url = links(alert.dag_id, alert.run_id, base_url)
    state = "recovered" if alert.closed_at else alert.severity
    return Message(
        title=f"[{state}] {alert.incident}",
        lines=(*_lines(alert), *(f"{name}: {url}" for name, url in (("Run", run_url), ("Status", page_url)) if url)),
        fields={
            "incident": alert.incident,
            "state": "closed" if alert.closed_at else "open",
            "severity": alert.severity,
            "dag_id": alert.dag_id,
            "task_id": alert.task_id,
            "run_id": alert.run_id,
            "check": alert.check_name,
            "subject": alert.subject,
            "observed": _number(alert.observed),
            "expected": _number(alert.expected),
            "window_start": _text(alert.window_start),
            "window_end": _text(alert.window_end),
            "message": alert.message,
            "opened_at": _text(alert.opened_at or alert.seen_at),
            "closed_at": _text(alert.closed_at),
            "times_seen": alert.times_seen,
            "run_url": run_url,
            "page_url": page_url,
        },
    )


def _lines(alert: Alert) -> Iterator[str]:
    is_long = len(alert.message) > _MAX_LENGTH
    yield f"{alert.message[:_MAX_LENGTH]}…" if is_long else alert.message
    if alert.observed is not None or alert.expected is not None:
        yield f"Observed: {_figure(alert.observed)}, expected: {_figure(alert.expected)}"
    if alert.window_start and alert.window_end:
        yield f"Window: {Window(alert.window_start, alert.window_end)} ({shop().time_zone})"
    if alert.closed_at:
        yield f"Recovered at {alert.closed_at:%Y-%m-%d %H:%M} UTC"


def links(dag_id: str, run_id: str, base_url: str) -> tuple[str | None, str | None]:
    """The addresses of a run and of the page *Data status* in Airflow's UI; None without a ``base_url``."""
    if not base_url:
        return None, None
    base = base_url.rstrip("/")
    return (
        f"{base}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}",
        f"{base}/plugin/shop{PAGES_PREFIX}/status",
    )


def _linked(line: str) -> str:
    name, _, url = line.partition(": ")
    if name in ("Run", "Status") and url.startswith(("http://", "https://")):
        return f'{name}: <a href="{escape(url)}">{escape(url)}</a>'
    return escape(line)


def _figure(value: Decimal | None) -> str:
    return "–" if value is None else f"{value:,}"


def _number(value: Decimal | None) -> int | float | None:
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def _text(moment: date | datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
