"""
Rejects rows that break the contract, each with the reason in words.

Suspect rows are staged as texts, and Postgres checks them by the rules of `ecommerce.common.value_rules`.
"""

from __future__ import annotations

from psycopg import Connection, sql

from ecommerce.common.sources import Column, Source
from ecommerce.common.value_rules import reason_to_reject
from ecommerce.load.staging import ACCEPTED, STAGE


def reject_bad_values(connection: Connection, source: Source) -> int:
    """Set `_rejection` of each staged row with a bad value; how many rows are rejected now, for any reason."""
    reasons = sql.SQL(", ").join(_reason(source, column) for column in source.columns)
    connection.execute(
        sql.SQL("""
            update {stage} as stage
            set _rejection = checked.reason
            from (
                select
                    ctid as row_id,
                    nullif(concat_ws('; ', {reasons}), '') as reason
                from {stage}
                where _rejection is null
            ) as checked
            where stage.ctid = checked.row_id and checked.reason is not null
        """).format(stage=STAGE, reasons=reasons)
    )
    row = connection.execute(sql.SQL("select count(*) from {} where _rejection is not null").format(STAGE)).fetchone()
    return int(row[0]) if row else 0


def _reason(source: Source, column: Column) -> sql.Composable:
    reason = reason_to_reject(column, sql.Identifier(column.name))
    if not source.is_changes or column.name in source.key:
        return reason
    # Of a deleted row there is nothing but its key.
    return sql.SQL("case when _is_deleted::boolean then null else {} end").format(reason)


def reject_undated(connection: Connection, source: Source) -> None:
    """Reject all staged rows, since their time is in no window: each for its bad values, or for that alone."""
    reject_bad_values(connection, source)
    time = sql.Identifier(source.window_column or "")
    connection.execute(
        sql.SQL("""
            update {stage}
            set _rejection = {reason} || {time}
            where _rejection is null
        """).format(stage=STAGE, reason=f"{source.window_column} is in no window: ", time=time)
    )


def reject_repeated_keys(connection: Connection, source: Source) -> int:
    """
    Accept one row of each natural key: the greatest `latest_by`, then the greatest as text, so every load agrees.

    The others move from the accepted to the staged rows, rejected; how many.
    """
    key = sql.SQL(", ").join(map(sql.Identifier, source.key))
    latest = (
        sql.SQL("{} desc nulls last, ").format(sql.Identifier(source.latest_by)) if source.latest_by else sql.SQL("")
    )
    return reject_accepted(
        connection,
        source,
        rows=sql.SQL("""
            select ranked.ctid
            from (
                select
                    accepted.ctid,
                    row_number() over (partition by {key} order by {latest}accepted::text desc) as place
                from {accepted} as accepted
                where ({key}) in (select {key} from {accepted} group by {key} having count(*) > 1)
            ) as ranked
            where ranked.place > 1
        """).format(key=key, latest=latest, accepted=ACCEPTED),
        reason=repeated_key_reason(source),
    )


def repeated_key_reason(source: Source) -> sql.Composed:
    """SQL over a row `rejected`: why it is rejected if another row of the window has its key."""
    reason = f"{', '.join(source.key)} came more than once; another row with this key was taken"
    return sql.SQL("{} || {}").format(sql.Literal(reason), repeated_key_advice(source))


def repeated_key_advice(source: Source) -> sql.Composed:
    """SQL over a row `rejected`: what to do about its repeated key, where it may have come without a part of it."""
    advice: list[sql.Composable] = [
        sql.SQL("case when rejected.{} = {} then {} else '' end").format(
            sql.Identifier(column.name),
            sql.Literal(column.default),
            sql.Literal(
                f" (a row without {column.name} has {column.name} {column.default}, so give each row of one "
                f"{', '.join(name for name in source.key if name != column.name)} its own {column.name} at the source)"
            ),
        )
        for column in source.columns
        if column.name in source.key and column.default is not None
    ]
    return sql.SQL(" || ").join([sql.SQL("''"), *advice])


def reject_accepted(connection: Connection, source: Source, *, rows: sql.Composable, reason: sql.Composable) -> int:
    """
    Move rows from the accepted to the staged ones, rejected; how many.

    :param rows: query of their ctids
    :param reason: SQL over a row, under the alias `rejected`
    """
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in source.loaded_columns)
    texts = sql.SQL(", ").join(
        sql.SQL("{}::text").format(sql.Identifier(column.name)) for column in source.loaded_columns
    )
    return connection.execute(
        sql.SQL("""
            with rejected as (
                delete from {accepted} as accepted
                where accepted.ctid in ({rows})
                returning *
            )
            insert into {stage} ({names}, _rejection)
            select {texts}, {reason}
            from rejected
        """).format(accepted=ACCEPTED, rows=rows, stage=STAGE, names=names, texts=texts, reason=reason)
    ).rowcount
