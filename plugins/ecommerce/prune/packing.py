"""
Packs old messages of the topic of events: many in one row, as arrays, which take a fraction of the space.

Nothing that a rebuild needs is lost: `raw.kafka_stream_all` has all messages, packed or not, and whoever reads messages
reads that view. A step is one transaction of up to `MESSAGES_OF_A_STEP` messages of a day.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from datetime import date, datetime

from psycopg import Connection, sql

from ecommerce.build.lease import NOT_PUBLISHED
from ecommerce.common.sources import SOURCES
from ecommerce.load.batches import one_loader
from ecommerce.prune.pruning import Pruned, note, size_of_row

#: The table that loses messages, and the one that has them afterwards.
MESSAGES, PACKED = "raw.kafka_stream", "raw.kafka_stream_packed"
_SOURCE = SOURCES["kafka_stream"]

#: A load of the topic waits for so many.
MESSAGES_OF_A_STEP = 100_000
#: More compress no better, and whoever wants one message unpacks all of its row.
MESSAGES_OF_A_ROW = 4_000

#: Blocks of which the index of loads keeps one entry (`include/sql/raw.sql`).
_BLOCKS_OF_AN_ENTRY = 32

#: Which messages of a day may be packed: not those that a run is still to build and publish.
_MAY_GO = f"_batch_id not in (select batch_id from ops.load_batch where {NOT_PUBLISHED})"


def survey_messages(connection: Connection, before: datetime) -> Pruned:
    """The messages that would be packed, and their bytes as they are now."""
    row = connection.execute(
        sql.SQL("""
            select count(*), coalesce(sum({size}), 0)
            from raw.kafka_stream as old
            where ops.shop_day("timestamp") < ops.shop_day(%(before)s) and {may_go}
        """).format(size=size_of_row(connection, MESSAGES), may_go=sql.SQL(_MAY_GO)),
        {"before": before},
    ).fetchone()
    messages, size = row or (0, 0)
    return Pruned(MESSAGES, messages, int(size), before)


def pack_messages(connection: Connection, before: datetime, run_id: str) -> Iterator[Pruned]:
    """
    Pack the messages of the shop's days before; what each step has won: bytes of the messages less those of the packed.

    Loads of the topic wait for the step that is under way, and no step begins while one loads.

    :param connection: of the owner of `raw`, in autocommit
    """
    emptied: set[int] = set()
    # Of values in place of parameters: the size of the packed rows is asked for before and after.
    statement = _statement(connection)
    day: date | None = None
    while day := _next_day(connection, day, before):
        is_done = False
        while not is_done:
            with one_loader(connection, _SOURCE), connection.transaction():
                size = _packed_size(connection, day)
                row = connection.execute(
                    statement,
                    {"day": day, "most": MESSAGES_OF_A_STEP, "of_a_row": MESSAGES_OF_A_ROW},
                ).fetchone()
                messages, old_size, blocks = row or (0, 0, [])
                won = int(old_size) - (_packed_size(connection, day) - size)
                step = Pruned(MESSAGES, messages, won, before)
                if messages:
                    note(connection, step, run_id)
            is_done = messages < MESSAGES_OF_A_STEP
            emptied.update(blocks)
            if messages:
                yield step
    if emptied:
        _forget_emptied_blocks(connection, emptied)


def _next_day(connection: Connection, after: date | None, before: datetime) -> date | None:
    """The first day after this one that has messages that are not packed."""
    row = connection.execute(
        """
        select min(ops.shop_day("timestamp"))
        from raw.kafka_stream
        where
            ops.shop_day("timestamp") > coalesce(%(after)s, '-infinity'::date)
            and ops.shop_day("timestamp") < ops.shop_day(%(before)s)
        """,
        {"after": after, "before": before},
    ).fetchone()
    return row[0] if row else None


def _packed_size(connection: Connection, day: date) -> int:
    """The bytes of the packed rows of a day, as they are stored."""
    row = connection.execute(
        sql.SQL("select coalesce(sum({}), 0) from raw.kafka_stream_packed as old where _day = %s").format(
            size_of_row(connection, PACKED)
        ),
        [day],
    ).fetchone()
    return int(row[0]) if row else 0


def _statement(connection: Connection) -> sql.Composed:
    """Move messages of a day; how many, their bytes, and blocks that they leave."""
    return sql.SQL("""
        with old as (
            delete from raw.kafka_stream as old
            where old.ctid = any(array(
                select ctid
                from raw.kafka_stream
                where ops.shop_day("timestamp") = %(day)s and {may_go}
                order by _topic, _partition, _offset
                limit %(most)s
            ))
            returning old.*, old.ctid as row_id, {size} as size
        ),
        placed as (
            select *, (row_number() over load - 1) / %(of_a_row)s as part
            from old
            window load as (partition by _topic, _partition, _batch_id, _loaded_at order by _offset)
        ),
        numbered as (
            select
                *,
                min(_offset) over part as first_offset,
                row_number() over part as place
            from placed
            window part as (partition by _topic, _partition, _batch_id, _loaded_at, part order by _offset)
        ),
        packed as (
            insert into raw.kafka_stream_packed (
                _topic, _partition, _first_offset, _last_offset, _day, _time_zone, _batch_id, _loaded_at, _skipped,
                customer_id, product_id, interaction_type, "timestamp", _published_at, _below_microsecond
            )
            select
                _topic,
                _partition,
                first_offset,
                max(_offset),
                %(day)s,
                ops.shop_time_zone(),
                _batch_id,
                _loaded_at,
                array_agg(_offset - first_offset - place + 1 order by _offset),
                array_agg(customer_id order by _offset),
                array_agg(product_id order by _offset),
                array_agg(interaction_type order by _offset),
                array_agg("timestamp" order by _offset),
                array_agg(_published_at order by _offset),
                array_agg(_below_microsecond order by _offset)
            from numbered
            group by _topic, _partition, _batch_id, _loaded_at, part, first_offset
        )
        select
            count(*),
            coalesce(sum(size), 0),
            coalesce(array_agg(distinct (row_id::text::point)[0]::bigint / {blocks} * {blocks}), '{{}}')
        from old
    """).format(
        may_go=sql.SQL(_MAY_GO),
        size=size_of_row(connection, MESSAGES),
        blocks=sql.Literal(_BLOCKS_OF_AN_ENTRY),
    )


def _forget_emptied_blocks(connection: Connection, blocks: Set[int]) -> None:
    """
    Let the index of loads describe these blocks anew, now that they are empty.

    New messages are stored there. The index would go on to say that the blocks have loads from the packed ones up to
    the newest, and a query for one load would read them all.
    """
    connection.execute("vacuum (skip_locked) raw.kafka_stream")
    connection.execute(
        """
        select brin_desummarize_range('raw.kafka_stream_loads', block)
        from unnest(%s::bigint[]) as block
        where block < pg_relation_size('raw.kafka_stream') / current_setting('block_size')::integer
        """,
        [sorted(blocks)],
    )
    connection.execute("select brin_summarize_new_values('raw.kafka_stream_loads')")
