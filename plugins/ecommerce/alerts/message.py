"""What is said of an incident: a text for a person, and the same in fields for a machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from html import escape
from typing import Any
from urllib.parse import quote

from ecommerce.alerts.incidents import Alert
from ecommerce.common.pages_url import PAGES_PREFIX
from ecommerce.common.windows import Window

#: Of a message's sentence; what services refuse is longer, and what people read is shorter.
_LENGTH = 1500


@dataclass(frozen=True)
class Message:
    """A subject line, the lines below it, and the incident in fields, as JSON has them."""

    title: str
    lines: tuple[str, ...]
    fields: Mapping[str, Any]

    @property
    def text(self) -> str:
        """All of it, a line each."""
        return "\n".join((self.title, *self.lines))

    @property
    def html(self) -> str:
        """The same for an e-mail."""
        return "<br>\n".join(map(_linked, (self.title, *self.lines)))

    @property
    def payload(self) -> dict[str, Any]:
        """
        The JSON of a webhook: `text`, as Slack, Mattermost and others like them take it, and `alert` with the fields.

        The text may name what a customer typed, so `<`, `>` and `&` are written as Slack wants them: none of it is a
        mention or a link of theirs.
        """
        return {"text": escape(self.text, quote=False), "alert": dict(self.fields)}


def message_of(alert: Alert, base_url: str) -> Message:
    """
    What is to be said of an incident.

    :param base_url: of Airflow's UI; without it there are no links
    """
    run_url, page_url = links(alert.dag_id, alert.run_id, base_url)
    window = Window(alert.window_start, alert.window_end) if alert.window_start and alert.window_end else None
    state = "recovered" if alert.closed_at else alert.severity
    message = alert.message if len(alert.message) <= _LENGTH else f"{alert.message[:_LENGTH]}…"
    lines = [message]
    if alert.observed is not None or alert.expected is not None:
        lines.append(f"Observed: {_figure(alert.observed)}, expected: {_figure(alert.expected)}")
    if window:
        lines.append(f"Window: {window} (UTC)")
    if alert.closed_at:
        lines.append(f"Seen to be well at {alert.closed_at:%Y-%m-%d %H:%M} UTC")
    lines += [f"{name}: {url}" for name, url in (("Run", run_url), ("Status", page_url)) if url]
    return Message(
        title=f"[{state}] {alert.incident}",
        lines=tuple(lines),
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


def links(dag_id: str, run_id: str, base_url: str) -> tuple[str | None, str | None]:
    """Where a run is in Airflow's UI, and the page Data status as Airflow shows it."""
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
