"""How far each Kafka topic was read, and which of its offsets hold nothing that can be read."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from psycopg import Connection

from ecommerce.extract.reader_protocol import RETENTION, Gap, TopicRead

log = logging.getLogger(__name__)

#: A refused message's offset; null where someone has changed the payload to what is none.
_OFFSET = "case when pg_input_is_valid(payload ->> 'offset', 'bigint') then (payload ->> 'offset')::bigint end"


def store(connection: Connection, read: TopicRead, batch_id: int) -> list[Gap]:
    """
    The next offset of each partition, in the transaction that stores its messages; it never goes back.

    :return: the gaps that no load had noticed yet
    """
    with connection.cursor() as cursor:
        cursor.executemany(
            'insert into ops.kafka_offset as held (topic, "partition", next_offset, batch_id, topic_id)'
            " values (%(topic)s, %(partition)s, %(offset)s, %(batch)s, %(topic_id)s)"
            ' on conflict (topic, "partition") do update set'
            " next_offset = greatest(held.next_offset, excluded.next_offset),"
            " batch_id ="
            "  case when held.next_offset < excluded.next_offset then excluded.batch_id else held.batch_id end,"
            " topic_id = coalesce(excluded.topic_id, held.topic_id)"
            " where held.next_offset < excluded.next_offset or held.topic_id is distinct from excluded.topic_id",
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
        # What the warehouse holds has been read in time, and what was noticed once is not noticed again.
        noticed = [*_unknown(connection, read.topic, read.gaps)] if read.gaps else []
        cursor.executemany(
            'insert into ops.kafka_gap (topic, "partition", first_offset, last_offset, cause, batch_id, noticed_at)'
            " values (%s, %s, %s, %s, %s, %s, now())",
            [(read.topic, gap.partition, gap.first, gap.last, gap.cause, batch_id) for gap in noticed],
        )
    for gap in noticed:
        if gap.is_loss:
            log.warning(
                "%s[%s]: offsets %s to %s are not there any more and were not read before (%s); see ops.kafka_gap",
                read.topic, gap.partition, gap.first, gap.last, gap.cause,
            )  # fmt: skip
    harmless = sum(gap.last - gap.first + 1 for gap in noticed if not gap.is_loss)
    if harmless:
        log.info("%s: %s offsets belong to transactions and hold no message", read.topic, f"{harmless:,}")
    return noticed


class Positions:
    """Where a topic's partitions stand in the warehouse: what a Kafka reader asks before it reads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of(self, topic: str) -> dict[int, int]:
        """Partition → next offset, of every partition that was ever read."""
        return dict(
            self._connection.execute(
                'select "partition", next_offset from ops.kafka_offset where topic = %s', [topic]
            ).fetchall()
        )

    def topic_ids(self, topic: str) -> set[str]:
        """The ids under which the topic was read."""
        found = self._connection.execute(
            "select distinct topic_id from ops.kafka_offset where topic = %s and topic_id is not null", [topic]
        ).fetchall()
        return {topic_id for (topic_id,) in found}

    def resume_at(self, topic: str, partition: int, first: int) -> int:
        """
        The offset at which to begin, for a window whose first offset is ``first``.

        At the stored position, when nothing between is missing: later messages were read already, and earlier
        ones that no window asked for are caught up, so that no gap stays behind. Otherwise at the first that is
        missing.
        """
        stored = self.of(topic).get(partition)
        if stored is None:
            return first
        if stored <= first or self._holds_all(topic, partition, first, stored):
            return stored
        missing = next(_unknown(self._connection, topic, [Gap(partition, first, stored - 1, RETENTION)]), None)
        return missing.first if missing else stored

    def holds_any(self, topic: str, partition: int, begin: int) -> bool:
        """Whether raw holds a message of the partition from ``begin`` on."""
        row = self._connection.execute(
            "select exists (select from raw.kafka_stream where _topic = %s and _partition = %s and _offset >= %s)",
            [topic, partition, begin],
        ).fetchone()
        return bool(row and row[0])

    def _holds_all(self, topic: str, partition: int, first: int, end: int) -> bool:
        # Counting is quick, and the three kinds exclude each other; only when something is missing it must be found.
        row = self._connection.execute(
            "select (select count(*) from raw.kafka_stream"
            "  where _topic = %(topic)s and _partition = %(partition)s and _offset >= %(first)s and _offset < %(end)s)"
            " + (select count(distinct refused._offset) from ("
            f"   select {_OFFSET} as _offset from ops.quarantine"
            "   where source = 'kafka_stream' and replayed_at is null"
            "   and payload ->> 'topic' = %(topic)s and payload ->> 'partition' = %(partition)s::text"
            "  ) as refused where _offset >= %(first)s and _offset < %(end)s and not exists ("
            "   select from raw.kafka_stream as held where held._topic = %(topic)s"
            "   and held._partition = %(partition)s and held._offset = refused._offset))"
            " + (select coalesce(sum(least(last_offset, %(end)s - 1) - greatest(first_offset, %(first)s) + 1), 0)"
            '  from ops.kafka_gap where topic = %(topic)s and "partition" = %(partition)s'
            "  and last_offset >= %(first)s and first_offset < %(end)s)",
            {"topic": topic, "partition": partition, "first": first, "end": end},
        ).fetchone()
        return row is not None and row[0] == end - first


def _unknown(connection: Connection, topic: str, asked: Sequence[Gap]) -> Iterator[Gap]:
    """The pieces of ``asked``, in order, that are neither in raw nor in quarantine nor noted as gaps."""
    found = connection.execute(
        "select asked.partition, missing.first_offset, missing.last_offset, asked.cause"
        " from unnest(%(partitions)s::integer[], %(firsts)s::bigint[], %(lasts)s::bigint[], %(causes)s::text[])"
        "  with ordinality as asked(partition, first_offset, last_offset, cause, place)"
        " cross join lateral ("
        "  select spans.reached + 1 as first_offset, spans.first_offset - 1 as last_offset from ("
        "   select known.first_offset, coalesce(max(known.last_offset) over ("
        "     order by known.first_offset rows between unbounded preceding and 1 preceding"
        "    ), asked.first_offset - 1) as reached"
        "   from ("
        "    select _offset, _offset from raw.kafka_stream where _topic = %(topic)s"
        "     and _partition = asked.partition and _offset between asked.first_offset and asked.last_offset"
        "    union all"
        "    select refused._offset, refused._offset from ("
        f"     select {_OFFSET} as _offset from ops.quarantine"
        "     where source = 'kafka_stream' and replayed_at is null"
        "     and payload ->> 'topic' = %(topic)s and payload ->> 'partition' = asked.partition::text"
        "    ) as refused where _offset between asked.first_offset and asked.last_offset"
        "    union all"
        "    select greatest(gap.first_offset, asked.first_offset), least(gap.last_offset, asked.last_offset)"
        "     from ops.kafka_gap as gap where gap.topic = %(topic)s and gap.partition = asked.partition"
        "     and gap.last_offset >= asked.first_offset and gap.first_offset <= asked.last_offset"
        "    union all"
        "    select asked.last_offset + 1, null"
        "   ) as known(first_offset, last_offset)"
        "  ) as spans where spans.first_offset > spans.reached + 1"
        " ) as missing order by asked.place, missing.first_offset",
        {
            "topic": topic,
            "partitions": [gap.partition for gap in asked],
            "firsts": [gap.first for gap in asked],
            "lasts": [gap.last for gap in asked],
            "causes": [gap.cause for gap in asked],
        },
    )
    return (Gap(*row) for row in found)
