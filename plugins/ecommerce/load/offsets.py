"""Stores how far each topic was read (`ops.kafka_offset`), and which offsets have no message (`ops.kafka_gap`)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from psycopg import Connection, sql

from ecommerce.common.sources import Source
from ecommerce.extract.reader_protocol import RETENTION, Gap, TopicRead

log = logging.getLogger(__name__)


def store(connection: Connection, source: Source, read: TopicRead, batch_id: int) -> list[Gap]:
    """
    Store the next offset of each partition, in the transaction that stores its messages; it never goes back.

    :return: the gaps that no earlier load had noted
    """
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            insert into ops.kafka_offset as stored (topic, "partition", next_offset, batch_id, topic_id)
            values (%(topic)s, %(partition)s, %(offset)s, %(batch)s, %(topic_id)s)
            on conflict (topic, "partition") do update set
                next_offset = greatest(stored.next_offset, excluded.next_offset),
                batch_id = case
                    when stored.next_offset < excluded.next_offset then excluded.batch_id
                    else stored.batch_id
                end,
                topic_id = coalesce(excluded.topic_id, stored.topic_id)
            where stored.next_offset < excluded.next_offset
                or stored.topic_id is distinct from excluded.topic_id
            """,
            [
                {
                    "topic": read.topic,
                    "partition": partition,
                    "offset": offset,
                    "batch": batch_id,
                    "topic_id": read.topic_id,
                }
                for partition, offset in read.next_offsets.items()
            ],
        )
        # Messages that the warehouse has are not lost, and a gap is noted once.
        gaps = [*_missing(connection, source, read.topic, read.gaps)] if read.gaps else []
        cursor.executemany(
            """
            insert into ops.kafka_gap (topic, "partition", first_offset, last_offset, cause, batch_id, noticed_at)
            values (%s, %s, %s, %s, %s, %s, now())
            """,
            [(read.topic, gap.partition, gap.first, gap.last, gap.cause, batch_id) for gap in gaps],
        )
    for gap in gaps:
        if gap.is_loss:
            log.warning(
                "%s[%s]: offsets %s to %s are not there any more and were not read before (%s); see ops.kafka_gap",
                read.topic, gap.partition, gap.first, gap.last, gap.cause,
            )  # fmt: skip
    harmless = sum(gap.last - gap.first + 1 for gap in gaps if not gap.is_loss)
    if harmless:
        log.info("%s: %s offsets belong to transactions and have no message", read.topic, f"{harmless:,}")
    return gaps


class StoredOffsets:
    """The offsets that the warehouse has stored of a source's topic: a Kafka reader asks them where to begin."""

    def __init__(self, connection: Connection, source: Source) -> None:
        self._connection = connection
        self._source = source

    def of(self, topic: str) -> dict[int, int]:
        """Partition → next offset, of every partition that was ever read."""
        return dict(
            self._connection.execute(
                'select "partition", next_offset from ops.kafka_offset where topic = %s', [topic]
            ).fetchall()
        )

    def topic_ids(self, topic: str) -> set[str]:
        """The ids under which the topic was read."""
        rows = self._connection.execute(
            "select distinct topic_id from ops.kafka_offset where topic = %s and topic_id is not null", [topic]
        ).fetchall()
        return {topic_id for (topic_id,) in rows}

    def resume_at(self, topic: str, partition: int, first: int) -> int:
        """
        The offset at which to begin, for a window whose first offset is ``first``.

        That is the stored offset, if nothing between the two is missing: the window's messages below it were read
        before, and unread ones between it and the window are caught up. Otherwise it is the first that is missing.
        """
        stored = self.of(topic).get(partition)
        if stored is None:
            return first
        if stored <= first or self._has_all(topic, partition, first, stored):
            return stored
        requested = [Gap(partition, first, stored - 1, RETENTION)]
        missing = next(_missing(self._connection, self._source, topic, requested), None)
        return missing.first if missing else stored

    def holds_any(self, topic: str, partition: int, begin: int) -> bool:
        """Whether raw has a message of the partition at ``begin`` or later."""
        held = _held_offsets(self._source, sql.Literal(partition), sql.Literal(begin), sql.SQL("null"))
        row = self._connection.execute(
            sql.SQL("select exists ({})").format(held),
            {"topic": topic},
        ).fetchone()
        return bool(row and row[0])

    def _has_all(self, topic: str, partition: int, first: int, end: int) -> bool:
        # Counting is fast. The three kinds exclude each other: raw, only in quarantine, noted as a gap.
        row = self._connection.execute(
            sql.SQL("""
                select
                    (select count(*) from ({held}) as held)
                    + (
                        select count(distinct rejected._offset)
                        from ({rejected}) as rejected
                        where rejected._partition = %(partition)s::text
                            and rejected._offset >= %(first)s and rejected._offset < %(end)s
                            and not exists ({held_too})
                    )
                    + (
                        select coalesce(sum(
                            least(last_offset, %(end)s - 1) - greatest(first_offset, %(first)s) + 1
                        ), 0)
                        from ops.kafka_gap
                        where topic = %(topic)s and "partition" = %(partition)s
                            and last_offset >= %(first)s and first_offset < %(end)s
                    )
            """).format(
                held=_held_offsets(self._source, sql.Literal(partition), sql.Literal(first), sql.Literal(end)),
                held_too=_held_offsets(
                    self._source,
                    sql.Literal(partition),
                    sql.Identifier("rejected", "_offset"),
                    sql.SQL("rejected._offset + 1"),
                ),
                rejected=_rejected_messages(self._source),
            ),
            {"topic": topic, "partition": partition, "first": first, "end": end},
        ).fetchone()
        return row is not None and row[0] == end - first


def _held_offsets(
    source: Source, partition: sql.Composable, first: sql.Composable, end: sql.Composable
) -> sql.Composable:
    """
    Query of the offsets from `first` to before `end` that raw has of a partition of %(topic)s; null: to the last.

    Of changes raw has no offsets: below the stored one all were read.
    """
    if source.is_changes:
        return sql.SQL("select null::bigint as _offset where false")
    of_table = sql.SQL("""
        select stored._offset
        from {raw} as stored
        where
            stored._topic = %(topic)s
            and stored._partition = {partition}
            and stored._offset >= {first}
            and stored._offset < coalesce({end}, 9223372036854775807)
    """)
    values = {"partition": partition, "first": first, "end": end}
    held = of_table.format(raw=sql.Identifier("raw", source.name), **values)
    if not source.is_packed:
        return held
    # By the bounds of the packed rows, only those that have such an offset are unpacked.
    bounds = sql.SQL(
        "and stored._last_offset >= {first} and stored._first_offset < coalesce({end}, 9223372036854775807)"
    )
    packed = of_table.format(raw=sql.Identifier("raw", f"{source.name}_unpacked"), **values)
    return sql.SQL("{} union all {} {}").format(held, packed, bounds.format(**values))


def _rejected_messages(source: Source) -> sql.Composed:
    """Partition (as text) and offset of the topic's messages in quarantine; null if someone has edited the payload."""
    return sql.SQL("""
        select
            payload ->> 'partition' as _partition,
            case
                when pg_input_is_valid(payload ->> 'offset', 'bigint') then (payload ->> 'offset')::bigint
            end as _offset
        from ops.quarantine
        where source = {source}
            and replayed_at is null
            and payload ->> 'topic' = %(topic)s
    """).format(source=sql.Literal(source.name))


def _missing(connection: Connection, source: Source, topic: str, requested: Sequence[Gap]) -> Iterator[Gap]:
    """The parts of ``requested``, in order, whose offsets are neither in raw nor in quarantine nor noted as gaps."""
    rows = connection.execute(
        sql.SQL("""
            select requested.partition, missing.first_offset, missing.last_offset, requested.cause
            from
                unnest(%(partitions)s::integer[], %(firsts)s::bigint[], %(lasts)s::bigint[], %(causes)s::text[])
                    with ordinality as requested(partition, first_offset, last_offset, cause, place)
            cross join lateral (
                select spans.reached + 1 as first_offset, spans.first_offset - 1 as last_offset
                from (
                    select
                        known.first_offset,
                        coalesce(
                            max(known.last_offset) over (
                                order by known.first_offset rows between unbounded preceding and 1 preceding
                            ),
                            requested.first_offset - 1
                        ) as reached
                    from (
                        select held._offset, held._offset
                        from ({held}) as held
                        union all
                        select rejected._offset, rejected._offset
                        from ({rejected}) as rejected
                        where rejected._partition = requested.partition::text
                            and rejected._offset between requested.first_offset and requested.last_offset
                        union all
                        select
                            greatest(gap.first_offset, requested.first_offset),
                            least(gap.last_offset, requested.last_offset)
                        from ops.kafka_gap as gap
                        where gap.topic = %(topic)s and gap.partition = requested.partition
                            and gap.last_offset >= requested.first_offset
                            and gap.first_offset <= requested.last_offset
                        union all
                        select requested.last_offset + 1, null
                    ) as known(first_offset, last_offset)
                ) as spans
                where spans.first_offset > spans.reached + 1
            ) as missing
            order by requested.place, missing.first_offset
        """).format(
            held=_held_offsets(
                source,
                sql.Identifier("requested", "partition"),
                sql.Identifier("requested", "first_offset"),
                sql.SQL("requested.last_offset + 1"),
            ),
            rejected=_rejected_messages(source),
        ),
        {
            "topic": topic,
            "partitions": [gap.partition for gap in requested],
            "firsts": [gap.first for gap in requested],
            "lasts": [gap.last for gap in requested],
            "causes": [gap.cause for gap in requested],
        },
    )
    return (Gap(*row) for row in rows)
