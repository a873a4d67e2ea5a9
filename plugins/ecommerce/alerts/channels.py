"""Send alerts to a webhook and by e-mail: to each of two Airflow connections that exists."""

from __future__ import annotations

import logging
import smtplib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

import requests
from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk import BaseHook
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowNotFoundException
from psycopg import Connection
from psycopg.rows import dict_row

from ecommerce.alerts.incidents import Alert, alert_of_row
from ecommerce.alerts.message import message_of
from ecommerce.common.http_answers import ask
from ecommerce.common.shown_text import one_line

if TYPE_CHECKING:
    from airflow.sdk import Connection as AirflowConnection

log = logging.getLogger(__name__)

#: The connections, of type http and smtp.
WEBHOOK, EMAIL = "alerts_webhook", "alerts_email"

#: Seconds that the webhook has to answer, and after which another task may send an alert whose sender never finished.
_TIMEOUT_SECONDS, RESERVED_SECONDS = 10, 120
#: Characters of the reason why sending has failed.
_REASON_LENGTH = 300
#: Alerts that one task sends at most; the next task sends the others.
_MAX_ALERTS = 20


class Sendable(Protocol):
    """What a channel sends: an alert, or a digest."""

    @property
    def title(self) -> str:
        """The subject of the e-mail."""

    @property
    def html(self) -> str:
        """The e-mail; a picture in it has the address `cid:<name>`."""

    @property
    def pictures(self) -> Mapping[str, bytes]:
        """The pictures of the e-mail by name: PNG files."""

    @property
    def recipients(self) -> Sequence[str]:
        """Which names of the e-mail connection's extra may have the recipients; the first that is there has them."""

    @property
    def payload(self) -> dict[str, Any]:
        """The JSON of the webhook."""


@dataclass(frozen=True)
class Channel:
    """
    A connection that receives alerts.

    :param receives_recoveries: its extra has `recoveries`
    :param receives_digest: its extra has `digest`
    """

    conn_id: str
    send: Callable[[Sendable], None]
    receives_recoveries: bool
    receives_digest: bool


def base_url() -> str:
    """The address of Airflow's UI; empty if the configuration has none."""
    return str(conf.get("api", "base_url", fallback=""))


def channels() -> list[Channel]:
    """One for each of the two connections that exists."""
    return [
        Channel(
            conn_id,
            _SENDERS[conn_id](account),
            receives_recoveries=bool(account.extra_dejson.get("recoveries")),
            receives_digest=bool(account.extra_dejson.get("digest")),
        )
        for conn_id in (WEBHOOK, EMAIL)
        if (account := _airflow_connection(conn_id)) is not None
    ]


def _airflow_connection(conn_id: str) -> AirflowConnection | None:
    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return None


def _webhook(account: AirflowConnection) -> Callable[[Sendable], None]:
    """
    A POST of JSON; `endpoint` of the connection's extra comes after its host, `headers` are sent along.

    Most services have a secret in the address. It is the connection's password, which Airflow hides where it shows or
    logs a connection, and comes at the end of the address; with a user it is the user's password.
    """
    extra = account.extra_dejson

    def send(message: Sendable) -> None:
        url = HttpHook(http_conn_id=WEBHOOK).url_from_endpoint(extra.get("endpoint"))
        if account.password and not account.login:
            url = f"{url.rstrip('/')}/{account.password.lstrip('/')}"
        with requests.Session() as session:
            ask(
                session,
                "POST",
                url,
                # The status is all of the answer that counts.
                most_bytes=0,
                seconds=_TIMEOUT_SECONDS,
                timeout=(_TIMEOUT_SECONDS, _TIMEOUT_SECONDS),
                json=message.payload,
                headers=extra.get("headers"),
                auth=(account.login, account.password or "") if account.login else None,
            )

    return send


def _email(account: AirflowConnection) -> Callable[[Sendable], None]:
    """An e-mail by Airflow's own hook, to the addresses in the connection's extra."""

    def send(message: Sendable) -> None:
        # Imported only where e-mails are sent.
        from airflow.providers.smtp.hooks.smtp import SmtpHook

        extra = account.extra_dejson
        to = next((extra[name] for name in message.recipients if extra.get(name)), None)
        if not to:
            raise ValueError(f'the extra of the connection {EMAIL!r} has no address: {{"to": "a@example.org"}}')
        with TemporaryDirectory() as folder, SmtpHook(smtp_conn_id=EMAIL) as hook:
            hook.send_email_smtp(
                to=to,
                subject=message.title,
                html_content=message.html,
                # The hook reads pictures from files, and gives each part its file's name as its id.
                files=[_written(Path(folder) / name, picture) for name, picture in message.pictures.items()],
                mime_subtype="related" if message.pictures else "mixed",
            )

    return send


def _written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


_SENDERS = {WEBHOOK: _webhook, EMAIL: _email}

#: Alerts to send. An incident that is closed by now is still sent if sending it has failed before. One that a person
#: has silenced is sent when that time is over, if it is still open.
_DUE = """
sent_at is null
and (closed_at is null or send_error is not null)
and not exists (
    select from ops.incident_state
    where incident_state.incident = alert.incident and incident_state.silent_until > clock_timestamp()
)
"""

_IS_ANY_DUE = f"""
select exists (select from ops.alert where {_DUE})
"""

#: Reserve one alert, so that no other task sends it at the same time; a reservation ends by itself after a while.
_RESERVE_NEXT = f"""
update ops.alert
set sending_since = clock_timestamp()
where
    alert_id = (
        select alert_id
        from ops.alert
        where
            {_DUE}
            and alert_id <> all(%(tried)s::bigint[])
            and (
                sending_since is null
                or sending_since < clock_timestamp() - %(reserved_seconds)s * interval '1 second'
            )
        order by opened_at, alert_id
        limit 1
        for update skip locked
    )
returning *
"""

#: A warning that has become a failure in the meantime is another message, which is still to be sent.
_RECORD_DELIVERY = """
update ops.alert
set
    sent_to = %(sent_to)s,
    sent_at = case when %(is_complete)s then clock_timestamp() end,
    send_error = %(error)s,
    sending_since = null
where alert_id = %(alert_id)s and severity = %(severity)s
"""


class Delivery:
    """
    Sends messages of one task to its channels.

    A channel that fails is not tried again for the next message, so that it costs the task its timeout only once.
    """

    def __init__(self) -> None:
        self._errors: dict[str, str] = {}

    @cached_property
    def channels(self) -> list[Channel]:
        """Looked up when the first message is sent: most tasks have none."""
        return channels()

    def send(self, channel: Channel, message: Sendable) -> bool:
        """Whether the channel has received the message."""
        if channel.conn_id in self._errors:
            return False
        try:
            channel.send(message)
        # Whatever a hook raises: a message that cannot be sent is no reason for a task to fail.
        except Exception as error:
            self._errors[channel.conn_id] = _reason(error)
            log.warning("the connection %r did not receive %r: %s", channel.conn_id, message.title, _reason(error))
            return False
        return True

    def send_alert(self, channel: Channel, alert: Alert) -> bool:
        """Whether the channel has received the alert."""
        return self.send(channel, message_of(alert, base_url()))

    @property
    def error(self) -> str | None:
        """Why channels have failed, in one line."""
        return "; ".join(f"{conn_id}: {reason}" for conn_id, reason in self._errors.items()) or None


def deliver(connection: Connection, closed: Sequence[Alert] = (), delivery: Delivery | None = None) -> None:
    """
    Send the alerts that are not sent yet, and recoveries to the connections that want them.

    An alert that a connection did not receive stays in `ops.alert` with the reason; the next task that comes here sends
    it.

    :param closed: the incidents that the caller has closed
    :param delivery: that of the task, if it sends other messages as well
    """
    recoveries = [alert for alert in closed if alert.sent_to]
    due = connection.execute(_IS_ANY_DUE.encode()).fetchone()
    if not recoveries and not (due and due[0]):
        return
    delivery = delivery or Delivery()
    _send_recoveries(delivery, recoveries)
    _send_due(connection, delivery)


def _send_recoveries(delivery: Delivery, recoveries: Sequence[Alert]) -> None:
    for alert in recoveries:
        for channel in delivery.channels:
            if channel.receives_recoveries and channel.conn_id in alert.sent_to:
                delivery.send_alert(channel, alert)


def _send_due(connection: Connection, delivery: Delivery) -> None:
    tried: list[int | None] = []
    while delivery.channels and len(tried) < _MAX_ALERTS:
        alert = _reserve_next(connection, tried)
        if alert is None:
            return
        tried.append(alert.alert_id)
        remaining = [channel for channel in delivery.channels if channel.conn_id not in alert.sent_to]
        sent = [channel.conn_id for channel in remaining if delivery.send_alert(channel, alert)]
        connection.execute(
            _RECORD_DELIVERY,
            {
                "alert_id": alert.alert_id,
                "severity": alert.severity,
                "sent_to": [*alert.sent_to, *sent],
                "is_complete": len(sent) == len(remaining),
                "error": delivery.error,
            },
        )


def _reserve_next(connection: Connection, tried: Sequence[int | None]) -> Alert | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        values = {"tried": list(tried), "reserved_seconds": RESERVED_SECONDS}
        row = cursor.execute(_RESERVE_NEXT.encode(), values).fetchone()
    return alert_of_row(row) if row else None


def send_unrecorded(alert: Alert) -> None:
    """Send an alert that cannot be recorded, because the warehouse is unavailable."""
    delivery = Delivery()
    for channel in delivery.channels:
        delivery.send_alert(channel, alert)


def _reason(error: Exception) -> str:
    """Why sending has failed, without an address: that of a webhook is a secret."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"it answered {error.response.status_code}"
    if isinstance(error, requests.RequestException | smtplib.SMTPException | OSError):
        return f"it could not be reached ({type(error).__name__})"
    return one_line(f"{type(error).__name__}: {error}", _REASON_LENGTH)
