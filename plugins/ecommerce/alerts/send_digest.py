"""
Send the digest once a day, to the channels that want it: `ops.digest` remembers.

A row is a digest: one for each day of the shop's time zone on which one is sent, and one for each as-of date. So a
repeated run, a second publication on one day, or a publication that has nothing newer sends nothing.
"""

from __future__ import annotations

import logging
from typing import Any

from psycopg import Connection
from psycopg.rows import dict_row

from ecommerce.alerts.channels import RESERVED_SECONDS, Channel, Delivery, base_url
from ecommerce.alerts.digest import DAYS_OF_DIGEST, Digest, build_digest, queries_of_digest
from ecommerce.alerts.digest_message import DigestMessage
from ecommerce.common.pages_url import pages_address

log = logging.getLogger(__name__)

#: Of the last publication of a run, if neither its as-of date nor a later one has been sent, nor one on this day.
_BEGIN = """
insert into ops.digest (digest_day, as_of_date, publication_id, run_id)
select ops.shop_day(clock_timestamp()), as_of_date, publication_id, run_id
from ops.publication
where
    as_of_date is not null
    and restores is null
    and run_id not in (select erasure.run_id from ops.erasure)
    and as_of_date > coalesce((select max(digest.as_of_date) from ops.digest), '-infinity')
order by publication_id desc
limit 1
on conflict do nothing
"""

_IS_DUE = """
select exists (
    select from ops.digest where digest_day = ops.shop_day(clock_timestamp()) and sent_at is null
)
"""

#: Reserve today's digest, so that no other task sends it at the same time; a reservation ends by itself after a while.
#: One of an earlier day that nobody has received is not sent any more: there is a newer one, or there will be.
_RESERVE = """
update ops.digest
set sending_since = clock_timestamp()
where
    digest_day = ops.shop_day(clock_timestamp())
    and sent_at is null
    and (sending_since is null or sending_since < clock_timestamp() - %(reserved_seconds)s * interval '1 second')
returning digest_day, sent_to
"""

_RECORD = """
update ops.digest
set
    sent_to = %(sent_to)s,
    sent_at = case when %(is_complete)s then clock_timestamp() end,
    send_error = %(error)s,
    sending_since = case when %(is_over)s then null else sending_since end
where digest_day = %(digest_day)s
"""


def send_digest(connection: Connection, delivery: Delivery) -> None:
    """
    Send the digest of the last publication, unless one was sent today, or it was sent before.

    Without a channel that wants a digest nothing is read or written.

    :param connection: of the publisher, in autocommit
    """
    wanted = [channel for channel in delivery.channels if channel.receives_digest]
    if wanted:
        connection.execute(_BEGIN)
        _send_reserved(connection, delivery, wanted)


def send_unsent_digest(connection: Connection, delivery: Delivery) -> None:
    """Send today's digest to the channels that have not received it; cheap if there is none."""
    due = connection.execute(_IS_DUE).fetchone()
    if due and due[0]:
        _send_reserved(connection, delivery, [channel for channel in delivery.channels if channel.receives_digest])


def _send_reserved(connection: Connection, delivery: Delivery, wanted: list[Channel]) -> None:
    row = connection.execute(_RESERVE.encode(), {"reserved_seconds": RESERVED_SECONDS}).fetchone()
    if row is None:
        return
    digest_day, sent_to = row
    remaining = [channel for channel in wanted if channel.conn_id not in sent_to]

    def record(*, is_over: bool, error: str | None = None) -> None:
        values = {"digest_day": digest_day, "sent_to": sent_to, "error": error, "is_over": is_over}
        is_complete = is_over and error is None
        connection.execute(_RECORD.encode(), values | {"is_complete": is_complete})

    try:
        digest = read_digest(connection)
    except Exception as error:
        record(is_over=True, error=f"it could not be made: {type(error).__name__}")
        raise
    if digest is None:
        record(is_over=True, error="nothing is published")
        return
    message = DigestMessage(digest, pages_address(base_url()))
    for channel in remaining:
        if delivery.send(channel, message):
            # At once: if this process dies before the next channel has it, nobody gets it twice.
            sent_to = [*sent_to, channel.conn_id]
            record(is_over=False)
    record(is_over=True, error=delivery.error)
    log.info("digest of %s sent to %s", digest.as_of, ", ".join(sent_to) or "nobody")


def read_digest(connection: Connection) -> Digest | None:
    """The digest of what is published; None before the first publication."""
    with connection.cursor(row_factory=dict_row) as cursor:

        def rows_of(query: str, values: dict[str, Any]) -> list[dict[str, Any]]:
            return cursor.execute(query.encode(), values).fetchall()

        days = rows_of(DAYS_OF_DIGEST, {})
        if not days:
            return None
        as_of, covered_first = days[0]["as_of"], days[0]["covered_first"]
        rows = {name: rows_of(*query) for name, query in queries_of_digest(as_of, covered_first).items()}
    return build_digest(as_of, covered_first, rows)
