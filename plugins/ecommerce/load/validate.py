"""
Which rows are refused, and the reason in words.

Every value that is not known to pass is staged as text and judged by Postgres, by the rules of
`ecommerce.common.value_rules`.
"""

from __future__ import annotations

from psycopg import Connection, sql

from ecommerce.common.sources import Column, Source
from ecommerce.common.value_rules import TEXT_TESTS


def refuse_bad_values(connection: Connection, source: Source, stage: sql.Identifier) -> None:
    """Write into `_refusal` what is wrong with each staged row; rows that pass are not touched."""
    reasons = sql.SQL(", ").join(_reason(column) for column in source.columns)
    connection.execute(
        sql.SQL(
            "update {stage} as staged set _refusal = judged.reason from ("
            " select ctid as row_id, nullif(concat_ws('; ', {reasons}), '') as reason"
            " from {stage} where _refusal is null"
            ") as judged where staged.ctid = judged.row_id and judged.reason is not null"
        ).format(stage=stage, reasons=reasons)
    )


def refuse_repeated_keys(connection: Connection, source: Source, good: sql.Identifier, stage: sql.Identifier) -> int:
    """
    Keep one row a natural key: the greatest `latest_by`, then the greatest as text, so every read agrees.

    The others go from the accepted rows to the staged ones, refused; their number.
    """
    key = sql.SQL(", ").join(map(sql.Identifier, source.key))
    latest = (
        sql.SQL("{} desc nulls last, ").format(sql.Identifier(source.latest_by)) if source.latest_by else sql.SQL("")
    )
    return refuse_accepted(
        connection,
        source,
        good,
        stage,
        losers=sql.SQL(
            "select ranked.ctid from ("
            " select good.ctid, row_number() over (partition by {key} order by {latest}good::text desc) as place"
            " from {good} as good where ({key}) in (select {key} from {good} group by {key} having count(*) > 1)"
            ") as ranked where ranked.place > 1"
        ).format(key=key, latest=latest, good=good),
        reason=sql.Literal(repeated_reason(source)),
    )


def repeated_reason(source: Source) -> str:
    """Why a row is refused whose key another row of the window has."""
    return f"{', '.join(source.key)} came more than once; another row with this key was taken"


def refuse_accepted(
    connection: Connection,
    source: Source,
    good: sql.Identifier,
    stage: sql.Identifier,
    *,
    losers: sql.Composable,
    reason: sql.Composable,
) -> int:
    """Move rows from the accepted to the staged ones, refused for a reason that may name columns; their number."""
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in source.loaded_columns)
    texts = sql.SQL(", ").join(
        sql.SQL("{}::text").format(sql.Identifier(column.name)) for column in source.loaded_columns
    )
    return connection.execute(
        sql.SQL(
            "with lost as (delete from {good} as good where good.ctid in ({losers}) returning *)"
            " insert into {stage} ({names}, _refusal) select {texts}, {reason} from lost"
        ).format(good=good, losers=losers, stage=stage, names=names, texts=texts, reason=reason)
    ).rowcount


def _reason(column: Column) -> sql.Composed:
    value = sql.Identifier(column.name)
    blank = sql.SQL("btrim({}) = ''").format(value)
    missing = sql.Literal(f"{column.name} is missing" if column.required else None)
    whens = [sql.SQL("when {} is null then {}").format(value, missing)]
    if column.required:
        whens.append(sql.SQL("when {} then {}").format(blank, missing))
    for test, reason in TEXT_TESTS[column.kind]:
        whens.append(
            sql.SQL("when not ({}) then {} || left({}, 80)").format(
                sql.SQL(test).format(value=value), sql.Literal(f"{column.name} {reason}: "), value
            )
        )
    return sql.SQL("case {} end").format(sql.SQL(" ").join(whens))
