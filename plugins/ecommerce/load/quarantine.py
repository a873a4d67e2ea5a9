"""Rows that a load refused: put aside with reason and payload, and settled once the source's own row has landed."""

from __future__ import annotations

import logging

from psycopg import Connection, sql

from ecommerce.common.sources import Source, WriteDisposition
from ecommerce.common.value_rules import SQL_TYPES, cast, column_of
from ecommerce.load.raw_writer import Extent

log = logging.getLogger(__name__)

#: Bytes of a row that a payload holds whole. Longer values than `SHORT` are cut in a longer row: `jsonb` takes 256 MB,
#: and its text, of which the index needs the digest, may be six times as long as what it was made of.
WHOLE, SHORT = 64_000_000, 1_000

#: Stands before the reason of a row that its source holds no more.
GONE = "the source does not hold this row any more as it came; it was refused for: "


def put_aside(connection: Connection, source: Source, stage: sql.Identifier, batch_id: int) -> int:
    """
    Put refused rows aside with their reason and whole payload; the number of new ones.

    A row that was refused before and is read again is the same refusal: it is kept once, counted by copies, so that
    two identical bad rows stay two, and its reason is the newest. What was replayed in a corrected form is not put
    aside again where raw holds it by its place in the topic.
    """
    return connection.execute(
        sql.SQL(
            "with refused as ("
            " select reason, payload, digest, row_number() over (partition by digest order by reason) as copy"
            " from ({refused}) as staged"
            "), held as ("
            " select quarantine_id, md5(payload::text) as digest,"
            "  row_number() over (partition by md5(payload::text) order by reason, quarantine_id) as copy"
            " from ops.quarantine where source = {source} and replayed_at is null"
            "  and md5(payload::text) in (select digest from refused)"
            "), renewed as ("
            " update ops.quarantine as old set reason = refused.reason"
            " from refused inner join held using (digest, copy)"
            " where old.quarantine_id = held.quarantine_id and old.reason <> refused.reason"
            ") insert into ops.quarantine (batch_id, source, reason, payload, quarantined_at)"
            " select {batch}, {source}, refused.reason, refused.payload, now()"
            " from refused left join held using (digest, copy) where held.quarantine_id is null"
        ).format(batch=batch_id, source=source.name, refused=_refused(source, stage))
    ).rowcount


def settle(connection: Connection, source: Source, stage: sql.Identifier, extent: Extent, batch_id: int) -> int:
    """
    Mark the rows in quarantine whose like this load has landed as replayed; their number.

    Of what was refused in a part of the source that this load has read, three things can have become: it is refused
    still; raw holds its key now; or the source does not hold it any more, which its reason says from then on.
    """
    is_open = connection.execute(
        "select exists (select from ops.quarantine where source = %s and replayed_at is null)", [source.name]
    ).fetchone()
    if not is_open or not is_open[0]:
        return 0
    replayed = sql.SQL("replayed_at = now(), replayed_batch_id = {}").format(batch_id)
    if source.write_disposition is WriteDisposition.APPEND:
        return connection.execute(
            sql.SQL(
                "update ops.quarantine as refused set {replayed} from {raw} as held"
                " where refused.source = {source} and refused.replayed_at is null and {same_place}"
            ).format(
                replayed=replayed,
                raw=sql.Identifier("raw", source.name),
                source=source.name,
                # The payload has the places under their names without the underscore.
                same_place=sql.SQL(" and ").join(
                    sql.SQL("held.{} = {}").format(
                        sql.Identifier(name), _in_payload(source, name, name.removeprefix("_"))
                    )
                    for name in source.key
                ),
            )
        ).rowcount
    row = connection.execute(
        sql.SQL(
            "with still as ("
            " select digest, count(*) as copies from ({refused}) as staged group by digest"
            "), judged as ("
            " select refused.quarantine_id, refused.payload, {in_reach} as is_in_reach,"
            "  row_number() over (partition by md5(refused.payload::text) order by refused.reason, quarantine_id)"
            "   > coalesce(still.copies, 0) as is_over"
            " from ops.quarantine as refused inner join ops.load_batch as batch using (batch_id)"
            " left join still on still.digest = md5(refused.payload::text)"
            " where refused.source = {source} and refused.replayed_at is null"
            "), decided as ("
            " select quarantine_id, {is_held} as is_held from judged where is_in_reach and is_over"
            "), landed as ("
            " update ops.quarantine as refused set {replayed} from decided"
            " where refused.quarantine_id = decided.quarantine_id and decided.is_held returning 1"
            "), gone as ("
            " update ops.quarantine as refused set reason = {gone} || refused.reason from decided"
            " where refused.quarantine_id = decided.quarantine_id and not decided.is_held"
            " and not starts_with(refused.reason, {gone})"
            ") select count(*) from landed"
        ).format(
            refused=_refused(source, stage),
            in_reach=_in_reach(source, extent),
            source=source.name,
            is_held=_is_held(source),
            replayed=replayed,
            gone=GONE,
        )
    ).fetchone()
    return int(row[0]) if row else 0


def _refused(source: Source, stage: sql.Identifier) -> sql.Composed:
    """The staged rows that are refused: reason, payload, and the payload's digest."""
    size = sql.SQL(" + ").join(
        sql.SQL("coalesce(octet_length({}), 0)").format(sql.Identifier(column.name)) for column in source.columns
    )
    fields = sql.SQL(", ").join(
        sql.SQL(
            "{name}, case when {size} > {whole} and octet_length({value}) > {short}"
            " then left({value}, {short}) || '… (cut: ' || octet_length({value}) || ' bytes)' else {value} end"
        ).format(name=sql.Literal(column.name), value=sql.Identifier(column.name), size=size, whole=WHOLE, short=SHORT)
        for column in source.columns
    )
    not_held: sql.Composable = sql.SQL("")
    if source.write_disposition is WriteDisposition.APPEND:
        not_held = sql.SQL(" and not exists (select from {} as held where {})").format(
            sql.Identifier("raw", source.name),
            sql.SQL(" and ").join(
                sql.SQL("held.{} = {}").format(sql.Identifier(name), cast(source, column_of(source, name), "stage"))
                for name in source.key
            ),
        )
    return sql.SQL(
        "select reason, payload, md5(payload::text) as digest from ("
        " select _refusal as reason, coalesce(_payload::jsonb, jsonb_build_object({fields})) as payload"
        " from {stage} as stage where _refusal is not null{not_held}) as stage"
    ).format(fields=fields, stage=stage, not_held=not_held)


def _in_reach(source: Source, extent: Extent) -> sql.Composable:
    """Whether this load has read where a refused row belongs: by its own window column, or by its batch's window."""
    if source.window_column is None:
        return sql.SQL("true")
    return sql.SQL(
        "coalesce({place} >= {start} and {place} < {end}, batch.window_start >= {start} and batch.window_end <= {end})"
    ).format(
        place=_in_payload(source, source.window_column, source.window_column),
        start=sql.Literal(extent.window.start),
        end=sql.Literal(extent.window.end),
    )


def _in_payload(source: Source, column: str, name: str) -> sql.Composed:
    """A value of a refused row's payload as raw would have it; null where it is none, as a person may have made it."""
    kind = SQL_TYPES[column_of(source, column).kind]
    return sql.SQL(
        "case when pg_input_is_valid(refused.payload ->> {name}, {kind}) then (refused.payload ->> {name})::{type} end"
    ).format(name=sql.Literal(name), kind=sql.Literal(kind), type=sql.SQL(kind))


def _is_held(source: Source) -> sql.Composed:
    """Whether raw holds the key of a refused row, in a version log as one that is not deleted."""
    same_key = sql.SQL(" and ").join(
        sql.SQL("held.{}::text = btrim(judged.payload ->> {})").format(sql.Identifier(name), name)
        for name in source.key
    )
    raw = sql.Identifier("raw", source.name)
    if source.write_disposition is WriteDisposition.VERSION_LOG:
        return sql.SQL(
            "coalesce((select not held._is_deleted from {} as held where {} order by held._batch_id desc limit 1),"
            " false)"
        ).format(raw, same_key)
    return sql.SQL("exists (select from {} as held where {})").format(raw, same_key)
