"""
The quarantine `ops.quarantine`: stores rejected rows, and marks them as replayed once raw has their key.

A rejected row is recognised by the digest of its payload, so that reading it again does not store it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from psycopg import Connection, sql

from ecommerce.common.days import TimeColumn
from ecommerce.common.sources import Source, WriteDisposition
from ecommerce.common.value_rules import cast, cast_if_valid, column_of
from ecommerce.common.windows import CALENDAR_WINDOW, Window
from ecommerce.load.extent import Extent, window_column
from ecommerce.load.staging import STAGE

#: Bytes of a row that a payload keeps whole. In a longer row, values of more than `SHORT` bytes are cut, with the whole
#: value's length and digest: who can write to a source must not fill the warehouse.
WHOLE, SHORT = 64_000, 1_000

#: Before the reason of a row that its source does not have any more. Stored rows begin with it: it stays as it is.
GONE = "the source does not hold this row any more as it came; it was refused for: "


#: The rejected rows of this load: reason, payload, digest, and which copy of identical rows it is.
_REJECTED = sql.Identifier("pg_temp", "rejected")


def store_rejected(connection: Connection, source: Source, batch_id: int) -> int:
    """
    Store the rejected rows with their reasons and payloads; how many are new.

    A row that was rejected before and is read again is not stored again, and gets the newest reason. Identical bad rows
    are counted, so two of them stay two. A message that was replayed in a corrected form is not stored again, as raw
    has its place in the topic.
    """
    if not _has_open_rows(connection, source, batch_id):
        return connection.execute(
            sql.SQL("""
                insert into ops.quarantine (batch_id, source, reason, payload, quarantined_at)
                select {batch}, {source}, reason, payload, now()
                from ({rows}) as rejected
            """).format(batch=batch_id, source=source.name, rows=_rejected_rows(source))
        ).rowcount
    _create_rejected(connection, source)
    return connection.execute(
        sql.SQL("""
            with stored as (
                select
                    quarantine_id,
                    digest,
                    row_number() over (partition by digest order by reason, quarantine_id) as copy
                from (
                    select quarantine_id, reason, {digest} as digest
                    from ops.quarantine
                    where source = {source} and replayed_at is null
                ) as waiting
                where digest in (select digest from {rejected})
            ),
            renewed as (
                update ops.quarantine as old
                set reason = rejected.reason
                from {rejected} as rejected
                inner join stored using (digest, copy)
                where old.quarantine_id = stored.quarantine_id and old.reason <> rejected.reason
            )
            insert into ops.quarantine (batch_id, source, reason, payload, quarantined_at)
            select {batch}, {source}, rejected.reason, rejected.payload, now()
            from {rejected} as rejected
            left join stored using (digest, copy)
            where stored.quarantine_id is null
        """).format(batch=batch_id, source=source.name, digest=_digest("payload"), rejected=_REJECTED)
    ).rowcount


def mark_replayed(connection: Connection, source: Source, extent: Extent, batch_id: int, rejected: int) -> int:
    """
    Mark the rows that an earlier load put into quarantine, and that raw has since this load, as replayed; how many.

    A row of the part of the source that this load has read is in one of three states: it is rejected again; or raw has
    its key; or the source does not have it any more, which is added to its reason.

    :param rejected: how many rows this load has rejected, which `store_rejected` has stored
    """
    if not _has_open_rows(connection, source, batch_id):
        return 0
    if source.write_disposition is WriteDisposition.APPEND:
        return _mark_replayed_messages(connection, source, batch_id)
    if source.is_changes:
        return _mark_replayed_changes(connection, source, batch_id)
    return _mark_replayed_rows(connection, source, extent, batch_id, rejected)


def _has_open_rows(connection: Connection, source: Source, batch_id: int) -> bool:
    """Whether an earlier load has rejected rows that were not replayed yet."""
    row = connection.execute(
        """
        select exists (
            select from ops.quarantine
            where source = %s and replayed_at is null and batch_id < %s
        )
        """,
        [source.name, batch_id],
    ).fetchone()
    return bool(row and row[0])


def _mark_replayed_messages(connection: Connection, source: Source, batch_id: int) -> int:
    return connection.execute(
        sql.SQL("""
            update ops.quarantine as rejected
            set replayed_at = now(), replayed_batch_id = {batch}
            from {raw} as stored
            where rejected.source = {source}
                and rejected.replayed_at is null
                and rejected.batch_id < {batch}
                and {same_place}
        """).format(
            batch=batch_id,
            raw=sql.Identifier("raw", source.name),
            source=source.name,
            # The payload has the places under their names without the underscore.
            same_place=sql.SQL(" and ").join(
                sql.SQL("stored.{} = {}").format(
                    sql.Identifier(name), _payload_value(source, "rejected", name, name.removeprefix("_"))
                )
                for name in source.key
            ),
        )
    ).rowcount


def _mark_replayed_changes(connection: Connection, source: Source, batch_id: int) -> int:
    """Mark the changes that this load has read from the quarantine and taken; a change of a topic is read once."""
    return connection.execute(
        sql.SQL("""
            update ops.quarantine as rejected
            set replayed_at = now(), replayed_batch_id = {batch}
            from {stage} as stage
            where rejected.source = {source}
                and rejected.replayed_at is null
                and rejected.batch_id < {batch}
                and stage._rejection is null
                and rejected.payload -> 'topic' = stage._payload::jsonb -> 'topic'
                and rejected.payload ->> 'partition' = stage._partition
                and rejected.payload ->> 'offset' = stage._offset
        """).format(batch=batch_id, source=source.name, stage=STAGE)
    ).rowcount


def _mark_replayed_rows(connection: Connection, source: Source, extent: Extent, batch_id: int, rejected: int) -> int:
    row = connection.execute(
        sql.SQL("""
            with rejected_again as (
                {rejected_again}
            ),
            compared as (
                select
                    rejected.quarantine_id,
                    rejected.payload,
                    row_number() over (
                        partition by rejected.digest order by rejected.reason, rejected.quarantine_id
                    ) > coalesce(rejected_again.copies, 0) as is_not_rejected_again
                from (
                    select
                        rejected.quarantine_id,
                        rejected.reason,
                        rejected.payload,
                        {digest} as digest
                    from ops.quarantine as rejected
                    inner join ops.load_batch as batch using (batch_id)
                    where rejected.source = {source}
                        and rejected.replayed_at is null
                        and rejected.batch_id < {batch}
                        and {in_extent}
                ) as rejected
                left join rejected_again
                    on rejected.digest = rejected_again.digest
            ),
            decided as (
                select quarantine_id, {is_in_raw} as is_in_raw
                from compared
                where is_not_rejected_again
            ),
            replayed as (
                update ops.quarantine as rejected
                set replayed_at = now(), replayed_batch_id = {batch}
                from decided
                where rejected.quarantine_id = decided.quarantine_id and decided.is_in_raw
                returning 1
            ),
            gone as (
                update ops.quarantine as rejected
                set reason = {gone} || rejected.reason
                from decided
                where rejected.quarantine_id = decided.quarantine_id
                    and not decided.is_in_raw
                    and not starts_with(rejected.reason, {gone})
            )
            select count(*) from replayed
        """).format(
            rejected_again=(
                sql.SQL("select digest, max(copy) as copies from {} group by digest").format(_REJECTED)
                if rejected
                else sql.SQL("select 0::bigint as digest, 0 as copies where false")
            ),
            digest=_digest("rejected", "payload"),
            in_extent=_in_extent(source, extent),
            source=source.name,
            is_in_raw=_is_in_raw(source),
            batch=batch_id,
            gone=GONE,
        )
    ).fetchone()
    return int(row[0]) if row else 0


def _create_rejected(connection: Connection, source: Source) -> None:
    """Create the table of this load's rejected rows."""
    connection.execute(
        sql.SQL("""
            create temp table {rejected} on commit drop as
            select
                reason,
                payload,
                digest,
                row_number() over (partition by digest order by reason collate "C") as copy
            from (
                select
                    reason,
                    payload,
                    {digest} as digest
                from ({rows}) as staged
            ) as digested
        """).format(rejected=_REJECTED, digest=_digest("payload"), rows=_rejected_rows(source))
    )
    # Without statistics the planner takes it for tiny, and loops over it for each row of the quarantine.
    connection.execute(sql.SQL("analyze {} (digest, copy)").format(_REJECTED))


def _rejected_rows(source: Source) -> sql.Composed:
    """The staged rows that are rejected: reason and payload."""
    size = sql.SQL(" + ").join(
        sql.SQL("coalesce(octet_length({}), 0)").format(sql.Identifier(column.name)) for column in source.columns
    )
    names = [column.name for column in source.columns]
    not_in_raw = sql.Composed([])
    if source.write_disposition is WriteDisposition.APPEND:
        place = {name: cast(source, column_of(source, name), "stage") for name in source.key}
        same_place = sql.SQL(" and ").join(
            sql.SQL("stored.{} = {}").format(sql.Identifier(name), value) for name, value in place.items()
        )
        not_in_raw = sql.SQL("and not exists (select from {} as stored where {})").format(
            sql.Identifier("raw", source.name), same_place
        )
        if source.is_packed:
            # As a join it would unpack all messages.
            not_in_raw += sql.SQL("""
                and not exists (
                    select from {unpacked} as stored
                    where {same_place} and {offset} between stored._first_offset and stored._last_offset
                    offset 0
                )
            """).format(
                unpacked=sql.Identifier("raw", f"{source.name}_unpacked"),
                same_place=same_place,
                offset=place["_offset"],
            )
    return sql.SQL("""
        select
            _rejection as reason,
            case
                when _payload is not null then _payload::jsonb
                when {size} > {limit} then {shortened}
                else {whole}
            end as payload
        from {stage} as stage
        where _rejection is not null {not_in_raw}
    """).format(
        size=size,
        limit=sql.Literal(WHOLE),
        shortened=_object({name: _shortened(sql.Identifier(name)) for name in names}),
        whole=_object({name: sql.Identifier(name) for name in names}),
        stage=STAGE,
        not_in_raw=not_in_raw,
    )


def _object(values: Mapping[str, sql.Composable]) -> sql.Composed:
    # Twice as fast as `jsonb_build_object`, which looks up the type of each value in each row; and once more if the
    # names come in the order in which `jsonb` keeps them, since it sorts them in each row.
    names = sorted(values, key=lambda name: (len(name.encode()), name.encode()))
    return sql.SQL("jsonb_object(array[{}], array[{}])").format(
        sql.SQL(", ").join(map(sql.Literal, names)), sql.SQL(", ").join(values[name] for name in names)
    )


def _shortened(value: sql.Composable) -> sql.Composed:
    return sql.SQL("""
        case
            when octet_length({value}) > {short}
                then format(
                    '%s… (cut: %s bytes, sha256 %s)',
                    left({value}, {short}),
                    octet_length({value}),
                    encode(sha256(convert_to({value}, 'UTF8')), 'hex')
                )
            else {value}
        end
    """).format(value=value, short=sql.Literal(SHORT))


def _digest(*payload: str) -> sql.Composed:
    """
    What two payloads of the same row have in common: 64 bits.

    Without nulls, so that a row is the same after the registry got a column that the source does not have.
    """
    return sql.SQL("jsonb_hash_extended(jsonb_strip_nulls({}), 0)").format(sql.Identifier(*payload))


def rejected_time(source: Source) -> TimeColumn:
    """
    The window column of a row of `ops.quarantine as rejected`, as raw would store it; null if it is no time.

    :param source: one with a window column
    """
    if source.window_column is None:
        raise ValueError(f"{source.name} has no window column")
    return replace(window_column(source, "rejected"), column=_payload_value(source, "rejected", source.window_column))


def is_rejected_in(source: Source, window: Window) -> sql.Composed:
    """
    Whether a row of `ops.quarantine as rejected` is of a window: by its time, see `rejected_time`.

    A row whose time is no time belongs to the window of its load, `ops.load_batch as batch`.
    """
    return sql.SQL("""
        coalesce({in_window}, batch.window_start >= {start} and batch.window_end <= {end})
    """).format(
        in_window=rejected_time(source).between(window.start, window.end),
        start=sql.Literal(window.start),
        end=sql.Literal(window.end),
    )


def _in_extent(source: Source, extent: Extent) -> sql.Composable:
    """
    Whether this load has read where a rejected row belongs: by its own window column, or by its batch's window.

    A row that no window has belongs to each load that has read such rows.
    """
    if source.window_column is None:
        return sql.SQL("true")
    in_extent = is_rejected_in(source, extent.window)
    if not extent.has_undated:
        return in_extent
    # A time that cannot be cast is one of a window's rows.
    time = rejected_time(source)
    return sql.SQL("""
        case
            when {text} is null or ({value} is not null and {outside}) then true
            else {in_extent}
        end
    """).format(
        text=_payload_text("rejected", source.window_column),
        value=time.column,
        outside=time.outside(CALENDAR_WINDOW.start, CALENDAR_WINDOW.end),
        in_extent=in_extent,
    )


def _payload_value(source: Source, table: str, column: str, field: str | None = None) -> sql.Composed:
    """A value of a rejected row's payload as raw would store it; null if it cannot be cast (people edit payloads)."""
    return cast_if_valid(source, column_of(source, column), _payload_text(table, field or column))


def _payload_text(table: str, field: str) -> sql.Composed:
    """A value of a rejected row's payload as it is."""
    return sql.SQL("({} ->> {})").format(sql.Identifier(table, "payload"), sql.Literal(field))


def _is_in_raw(source: Source) -> sql.Composed:
    """Whether raw has the key of a rejected row; in a version log: and its last version is not deleted."""
    same_key = sql.SQL(" and ").join(
        sql.SQL("stored.{} = {}").format(sql.Identifier(name), _payload_value(source, "compared", name))
        for name in source.key
    )
    raw = sql.Identifier("raw", source.name)
    if source.write_disposition is WriteDisposition.VERSION_LOG:
        return sql.SQL("""
            coalesce(
                (
                    select not stored._is_deleted
                    from {raw} as stored
                    where {same_key}
                    order by stored._batch_id desc, stored._valid_from desc
                    limit 1
                ),
                false
            )
        """).format(raw=raw, same_key=same_key)
    return sql.SQL("exists (select from {} as stored where {})").format(raw, same_key)
