"""Who is told of an incident: whatever of two Airflow connections there is."""

from __future__ import annotations

import logging
import smtplib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests
from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk import BaseHook
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowNotFoundException
from psycopg import Connection
from psycopg.rows import dict_row

from ecommerce.alerts.incidents import Alert, alert_of
from ecommerce.alerts.message import Message, message_of

if TYPE_CHECKING:
    from airflow.sdk import Connection as Account

log = logging.getLogger(__name__)

#: The connections, of type http and smtp.
WEBHOOK, EMAIL = "alerts_webhook", "alerts_email"

#: Seconds that a receiver may take, and after which another may tell what someone began to tell and never finished.
_PATIENCE_SECONDS, _GIVEN_UP_SECONDS = 10, 120
#: Told by one task at most; the next one goes on.
_MOST = 20


@dataclass(frozen=True)
class Channel:
    """
    A connection that is told.

    :param tells_recoveries: its extra says `recoveries`
    """

    conn_id: str
    send: Callable[[Message], None]
    tells_recoveries: bool


def channels() -> list[Channel]:
    """Those whose connections there are."""
    return [
        Channel(conn_id, _SENDERS[conn_id](account), bool(account.extra_dejson.get("recoveries")))
        for conn_id in (WEBHOOK, EMAIL)
        if (account := _account(conn_id)) is not None
    ]


def _account(conn_id: str) -> Account | None:
    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return None


def _webhook(account: Account) -> Callable[[Message], None]:
    """A POST of JSON; of the extra, `endpoint` comes after the host and `headers` go along."""
    extra = account.extra_dejson

    def send(message: Message) -> None:
        answer = requests.post(
            HttpHook(http_conn_id=WEBHOOK).url_from_endpoint(extra.get("endpoint")),
            json=message.payload,
            headers=extra.get("headers"),
            auth=(account.login, account.password or "") if account.login else None,
            timeout=_PATIENCE_SECONDS,
        )
        answer.raise_for_status()

    return send


def _email(account: Account) -> Callable[[Message], None]:
    """An e-mail by Airflow's own hook, to those whom `to` of the extra names."""

    def send(message: Message) -> None:
        # Imported by those who send one.
        from airflow.providers.smtp.hooks.smtp import SmtpHook

        to = account.extra_dejson.get("to")
        if not to:
            raise ValueError(f'the extra of the connection {EMAIL!r} names nobody: {{"to": "a@example.org"}}')
        with SmtpHook(smtp_conn_id=EMAIL) as hook:
            hook.send_email_smtp(to=to, subject=message.title, html_content=message.html)

    return send


_SENDERS = {WEBHOOK: _webhook, EMAIL: _email}

#: What is still to be told. Who recovered before anyone heard of it is told of all the same, if it was tried.
_DUE = """sent_at is null and (closed_at is null or send_error is not null)"""

#: One at a time and each by one: a row that is taken is told, or is free again after a while.
_TAKE = f"""
update ops.alert set sending_since = clock_timestamp()
where alert_id = (
    select alert_id from ops.alert
    where
        {_DUE} and alert_id <> all(%(tried)s::bigint[])
        and (sending_since is null or sending_since < clock_timestamp() - %(given_up)s * interval '1 second')
    order by opened_at, alert_id
    limit 1
    for update skip locked
)
returning *
"""

#: A warning that became a failure in the meantime is another message.
_TOLD = """
update ops.alert set
    sent_to = %(sent_to)s, sent_at = case when %(is_complete)s then clock_timestamp() end, send_error = %(error)s,
    sending_since = null
where alert_id = %(alert_id)s and severity = %(severity)s
"""


def deliver(connection: Connection, closed: Sequence[Alert] = ()) -> None:
    """
    Tell what has not been told yet, and what has just been closed to those who want to hear of it.

    What a receiver does not take stays in `ops.alert` with the reason, and is told by whoever comes here next.

    :param closed: the incidents that the caller has closed
    """
    told = [alert for alert in closed if alert.sent_to]
    due = connection.execute(f"select exists (select from ops.alert where {_DUE})".encode()).fetchone()
    if not told and not (due and due[0]):
        return
    there = channels()
    # One that is away costs its patience once, and not for each incident.
    away: dict[str, str] = {}
    for alert in told:
        for channel in there:
            if channel.tells_recoveries and channel.conn_id in alert.sent_to:
                _send(channel, alert, away)
    tried: list[int] = []
    while there and len(tried) < _MOST:
        with connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(_TAKE.encode(), {"tried": tried, "given_up": _GIVEN_UP_SECONDS}).fetchone()
        if row is None:
            return
        alert = alert_of(row)
        tried.append(row["alert_id"])
        waiting = [channel for channel in there if channel.conn_id not in alert.sent_to]
        taken = [channel.conn_id for channel in waiting if _send(channel, alert, away)]
        connection.execute(
            _TOLD.encode(),
            {
                "alert_id": row["alert_id"],
                "severity": row["severity"],
                "sent_to": [*alert.sent_to, *taken],
                "is_complete": len(taken) == len(waiting),
                "error": "; ".join(f"{name}: {why}" for name, why in away.items()) or None,
            },
        )


def tell_unrecorded(alert: Alert) -> None:
    """Tell of an incident that the warehouse could not take down, because it is the warehouse that is away."""
    away: dict[str, str] = {}
    for channel in channels():
        _send(channel, alert, away)


def _send(channel: Channel, alert: Alert, away: dict[str, str]) -> bool:
    """Whether the channel has taken it; why not is in ``away``."""
    if channel.conn_id in away:
        return False
    try:
        channel.send(message_of(alert, conf.get("api", "base_url", fallback="")))
    # Whatever a hook raises: a message that cannot be sent is no reason for a task to fail.
    except Exception as error:
        away[channel.conn_id] = _reason(error)
        log.warning("the connection %r did not take %r: %s", channel.conn_id, alert.incident, _reason(error))
        return False
    return True


def _reason(error: Exception) -> str:
    """Why, in words that name no address: that of a webhook is a secret."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"it answered {error.response.status_code}"
    if isinstance(error, requests.RequestException | smtplib.SMTPException | OSError):
        return f"it could not be reached ({type(error).__name__})"
    return f"{type(error).__name__}: {error}"
