"""The quarantine `ops.quarantine`: stores rejected rows, and marks them as replayed once raw has their key."""

from __future__ import annotations

from psycopg import Connection, sql

from ecommerce.common.sources import Source, WriteDisposition
from ecommerce.common.value_rules import SQL_TYPES, cast, column_of
from ecommerce.load.extent import Extent
from ecommerce.load.staging import STAGE

#: Bytes of a row that a payload keeps whole. In a longer row, values of more than `SHORT` bytes are cut: `jsonb` takes
#: 256 MB, and its text, whose digest is in the index, may be six times as long as the values.
WHOLE, SHORT = 64_000_000, 1_000

#: Before the reason of a row that its source does not have any more. Stored rows begin with it: it stays as it is.
GONE = "the source does not hold this row any more as it came; it was refused for: "


def store_rejected(connection: Connection, source: Source, batch_id: int) -> int:
    """
    Store the rejected rows with their reasons and whole payloads; how many are new.

    A row that was rejected before and is read again is not stored again, and gets the newest reason. Identical bad rows
    are counted, so two of them stay two. A message that was replayed in a corrected form is not stored again, as raw
    has its place in the topic.
    """
    return connection.execute(
        sql.SQL("""
            with rejected as (
                select
                    reason,
                    payload,
                    digest,
                    row_number() over (partition by digest order by reason) as copy
                from ({rejected}) as staged
            ),
            stored as (
                select
                    quarantine_id,
                    md5(payload::text) as digest,
                    row_number() over (partition by md5(payload::text) order by reason, quarantine_id) as copy
                from ops.quarantine
                where source = {source}
                    and replayed_at is null
                    and md5(payload::text) in (select digest from rejected)
            ),
            renewed as (
                update ops.quarantine as old
                set reason = rejected.reason
                from rejected
                inner join stored using (digest, copy)
                where old.quarantine_id = stored.quarantine_id and old.reason <> rejected.reason
            )
            insert into ops.quarantine (batch_id, source, reason, payload, quarantined_at)
            select {batch}, {source}, rejected.reason, rejected.payload, now()
            from rejected
            left join stored using (digest, copy)
            where stored.quarantine_id is null
        """).format(batch=batch_id, source=source.name, rejected=_rejected(source))
    ).rowcount


def mark_replayed(connection: Connection, source: Source, extent: Extent, batch_id: int) -> int:
    """
    Mark the rows in quarantine that raw has since this load as replayed; how many.

    A row of the part of the source that this load has read is in one of three states: it is rejected again; or raw has
    its key; or the source does not have it any more, which is added to its reason.
    """
    is_open = connection.execute(
        "select exists (select from ops.quarantine where source = %s and replayed_at is null)", [source.name]
    ).fetchone()
    if not is_open or not is_open[0]:
        return 0
    if source.write_disposition is WriteDisposition.APPEND:
        return _mark_replayed_messages(connection, source, batch_id)
    return _mark_replayed_rows(connection, source, extent, batch_id)


def _mark_replayed_messages(connection: Connection, source: Source, batch_id: int) -> int:
    return connection.execute(
        sql.SQL("""
            update ops.quarantine as rejected
            set replayed_at = now(), replayed_batch_id = {batch}
            from {raw} as stored
            where rejected.source = {source}
                and rejected.replayed_at is null
                and {same_place}
        """).format(
            batch=batch_id,
            raw=sql.Identifier("raw", source.name),
            source=source.name,
            # The payload has the places under their names without the underscore.
            same_place=sql.SQL(" and ").join(
                sql.SQL("stored.{} = {}").format(
                    sql.Identifier(name), _payload_value(source, name, name.removeprefix("_"))
                )
                for name in source.key
            ),
        )
    ).rowcount


def _mark_replayed_rows(connection: Connection, source: Source, extent: Extent, batch_id: int) -> int:
    row = connection.execute(
        sql.SQL("""
            with rejected_again as (
                select digest, count(*) as copies
                from ({rejected}) as staged
                group by digest
            ),
            compared as (
                select
                    rejected.quarantine_id,
                    rejected.payload,
                    {in_extent} as is_in_extent,
                    row_number() over (
                        partition by md5(rejected.payload::text) order by rejected.reason, quarantine_id
                    ) > coalesce(rejected_again.copies, 0) as is_not_rejected_again
                from ops.quarantine as rejected
                inner join ops.load_batch as batch using (batch_id)
                left join rejected_again
                    on rejected_again.digest = md5(rejected.payload::text)
                where rejected.source = {source} and rejected.replayed_at is null
            ),
            decided as (
                select quarantine_id, {is_in_raw} as is_in_raw
                from compared
                where is_in_extent and is_not_rejected_again
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
            rejected=_rejected(source),
            in_extent=_in_extent(source, extent),
            source=source.name,
            is_in_raw=_is_in_raw(source),
            batch=batch_id,
            gone=GONE,
        )
    ).fetchone()
    return int(row[0]) if row else 0


def _rejected(source: Source) -> sql.Composed:
    """The staged rows that are rejected: reason, payload, and the payload's digest."""
    size = sql.SQL(" + ").join(
        sql.SQL("coalesce(octet_length({}), 0)").format(sql.Identifier(column.name)) for column in source.columns
    )
    fields = sql.SQL(", ").join(
        sql.SQL("""
            {name},
            case
                when {size} > {whole} and octet_length({value}) > {short}
                    then left({value}, {short}) || '… (cut: ' || octet_length({value}) || ' bytes)'
                else {value}
            end
        """).format(
            name=sql.Literal(column.name), value=sql.Identifier(column.name), size=size, whole=WHOLE, short=SHORT
        )
        for column in source.columns
    )
    not_in_raw: sql.Composable = sql.SQL("")
    if source.write_disposition is WriteDisposition.APPEND:
        not_in_raw = sql.SQL("and not exists (select from {} as stored where {})").format(
            sql.Identifier("raw", source.name),
            sql.SQL(" and ").join(
                sql.SQL("stored.{} = {}").format(sql.Identifier(name), cast(source, column_of(source, name), "stage"))
                for name in source.key
            ),
        )
    return sql.SQL("""
        select reason, payload, md5(payload::text) as digest
        from (
            select
                _rejection as reason,
                coalesce(_payload::jsonb, jsonb_build_object({fields})) as payload
            from {stage} as stage
            where _rejection is not null {not_in_raw}
        ) as stage
    """).format(fields=fields, stage=STAGE, not_in_raw=not_in_raw)


def _in_extent(source: Source, extent: Extent) -> sql.Composable:
    """Whether this load has read where a rejected row belongs: by its own window column, or by its batch's window."""
    if source.window_column is None:
        return sql.SQL("true")
    return sql.SQL("""
        coalesce(
            {place} >= {start} and {place} < {end},
            batch.window_start >= {start} and batch.window_end <= {end}
        )
    """).format(
        place=_payload_value(source, source.window_column, source.window_column),
        start=sql.Literal(extent.window.start),
        end=sql.Literal(extent.window.end),
    )


def _payload_value(source: Source, column: str, name: str) -> sql.Composed:
    """A value of a rejected row's payload as raw would store it; null if it cannot be cast (people edit payloads)."""
    kind = SQL_TYPES[column_of(source, column).kind]
    return sql.SQL("""
        case
            when pg_input_is_valid(rejected.payload ->> {name}, {kind})
                then (rejected.payload ->> {name})::{type}
        end
    """).format(name=sql.Literal(name), kind=sql.Literal(kind), type=sql.SQL(kind))


def _is_in_raw(source: Source) -> sql.Composed:
    """Whether raw has the key of a rejected row; in a version log: and its last version is not deleted."""
    same_key = sql.SQL(" and ").join(
        sql.SQL("stored.{}::text = btrim(compared.payload ->> {})").format(sql.Identifier(name), name)
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
                    order by stored._batch_id desc
                    limit 1
                ),
                false
            )
        """).format(raw=raw, same_key=same_key)
    return sql.SQL("exists (select from {} as stored where {})").format(raw, same_key)
