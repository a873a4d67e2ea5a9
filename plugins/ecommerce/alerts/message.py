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
from ecommerce.common.pages_url import pages_address
from ecommerce.common.shop import shop
from ecommerce.common.shown_text import chat_text, html_text, one_line
from ecommerce.common.windows import Window

#: Characters of a title, and of the message among the fields: services reject long ones, and no one reads them.
_TITLE_LENGTH, _FIELD_LENGTH = 200, 10_000


@dataclass(frozen=True)
class Message:
    """
    A title, the lines below it, links by their name, and the incident as fields of JSON.

    The title and the lines are as they were written: something in them may be a text of the shop.
    """

    state: str
    incident: str
    lines: tuple[str, ...]
    links: Mapping[str, str]
    fields: Mapping[str, Any]

    #: Of an e-mail connection's extra: who gets it.
    recipients = ("to",)

    @property
    def pictures(self) -> Mapping[str, bytes]:
        """None."""
        return {}

    @property
    def title(self) -> str:
        """`[fail] ecommerce_warehouse volume raw.sales_fact`, on one line: it is the subject of the e-mail."""
        return f"[{self.state}] {one_line(self.incident, _TITLE_LENGTH)}"

    @property
    def text(self) -> str:
        """The message for a chat."""
        title = f"[{self.state}] {chat_text(self.incident, _TITLE_LENGTH)}"
        links = (f"{name}: {url}" for name, url in self.links.items())
        return "\n".join((title, *map(chat_text, self.lines), *links))

    @property
    def html(self) -> str:
        """The message for an e-mail, with links."""
        links = (f'{name}: <a href="{escape(url)}">{escape(url)}</a>' for name, url in self.links.items())
        title = f"[{self.state}] {html_text(self.incident, _TITLE_LENGTH)}"
        return "<br>\n".join((title, *map(html_text, self.lines), *links))

    @property
    def payload(self) -> dict[str, Any]:
        """The JSON of a webhook: `text`, which Slack, Mattermost and similar services show, and `alert`, the fields."""
        return {"text": self.text, "alert": dict(self.fields)}


def message_of(alert: Alert, base_url: str) -> Message:
    """
    The message of an incident.

    :param base_url: of Airflow's UI; without it there are no links
    """
    run_url, page_url = links(alert.dag_id, alert.run_id, base_url)
    state = "recovered" if alert.closed_at else alert.severity
    return Message(
        state=state,
        incident=alert.incident,
        lines=tuple(_lines(alert)),
        links={name: url for name, url in (("Run", run_url), ("Status", page_url)) if url},
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
            "message": alert.message[:_FIELD_LENGTH],
            "opened_at": _text(alert.opened_at or alert.seen_at),
            "closed_at": _text(alert.closed_at),
            "times_seen": alert.times_seen,
            "run_url": run_url,
            "page_url": page_url,
        },
    )


def _lines(alert: Alert) -> Iterator[str]:
    yield alert.message
    if alert.observed is not None or alert.expected is not None:
        yield f"Observed: {_figure(alert.observed)}, expected: {_figure(alert.expected)}"
    if alert.window_start and alert.window_end:
        yield f"Window: {Window(alert.window_start, alert.window_end)} ({shop().time_zone})"
    if alert.closed_at:
        yield f"Recovered at {alert.closed_at:%Y-%m-%d %H:%M} UTC"


def links(dag_id: str, run_id: str, base_url: str) -> tuple[str | None, str | None]:
    """The addresses of a run and of the page *Data status* in Airflow's UI; None without a ``base_url``."""
    address_of = pages_address(base_url)
    if address_of is None:
        return None, None
    run = f"{base_url.rstrip('/')}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"
    return run, address_of("/status")


def _figure(value: Decimal | None) -> str:
    return "–" if value is None else f"{value:,}"


def _number(value: Decimal | None) -> int | float | None:
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def _text(moment: date | datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
