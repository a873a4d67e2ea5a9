"""
Which staged rows are refused, and the reason in words.

Every value is staged as text and judged by Postgres itself (`pg_input_is_valid`), set by set: the same rules
for a table, a topic and an API, and what passes is certain to cast.
"""

from __future__ import annotations

from psycopg import Connection, sql

from ecommerce.sources import CALENDAR, Column, Kind, Source

#: SQL type a kind is stored as. Numbers keep the source's digits; staging rounds money.
SQL_TYPES: dict[Kind, str] = {
    Kind.TEXT: "text",
    Kind.INTEGER: "integer",
    Kind.LONG: "bigint",
    Kind.COUNT: "integer",
    Kind.NUMBER: "numeric",
    Kind.MONEY: "numeric",
    Kind.FRACTION: "numeric",
    Kind.AMOUNT: "numeric",
    Kind.BOOLEAN: "boolean",
    Kind.DATE: "date",
    Kind.CALENDAR_DATE: "date",
    Kind.TIMESTAMP: "timestamp",
    Kind.INSTANT: "timestamptz",
}

# Postgres reads more than the contract allows ('now', 'infinity', 'NaN'), hence the patterns beside its own test.
_DAY = r"\d\d\d\d-\d\d-\d\d"
_TIME = r"\d\d:\d\d(:\d\d(\.\d+)?)?"
_ISO_DATE = f"^{_DAY}$"
_ISO_TIMESTAMP = f"^{_DAY}[T ]{_TIME}$"
_ISO_INSTANT = rf"^{_DAY}([T ]{_TIME}\s?(Z|[+-]\d\d(:?\d\d)?)?)?$"
_FINITE = "{value}::numeric not in ('NaN', 'Infinity', '-Infinity')"
_IN_CALENDAR = f"{{day}} between date '{CALENDAR[0]}' and date '{CALENDAR[1]}'"

_MONEY_FORM = ("pg_input_is_valid({value}, 'numeric(18,2)')", "is not an amount of money (at most 16 digits)")
_NUMBER_FORM = ("pg_input_is_valid({value}, 'numeric')", "is not a number")
_INTEGER_FORM = ("pg_input_is_valid({value}, 'integer')", "is not a whole number")
_DATE_FORM = (
    f"{{value}} ~ '{_ISO_DATE}' and pg_input_is_valid({{value}}, 'date')",
    "is not a date such as 2024-01-31",
)
_IS_FINITE = (_FINITE, "is not a finite number")
_NOT_NEGATIVE = ("{value}::numeric >= 0", "is negative")
_KNOWN_DAY = f"is outside the calendar {CALENDAR[0]} to {CALENDAR[1]}"

#: Per kind, the tests a value must pass, in order; the first that it fails is the reason.
_TESTS: dict[Kind, tuple[tuple[str, str], ...]] = {
    Kind.TEXT: (),
    Kind.INTEGER: (_INTEGER_FORM,),
    Kind.LONG: (("pg_input_is_valid({value}, 'bigint')", "is not a whole number"),),
    Kind.COUNT: (_INTEGER_FORM, _NOT_NEGATIVE),
    Kind.NUMBER: (_NUMBER_FORM, _IS_FINITE),
    Kind.MONEY: (_MONEY_FORM, _IS_FINITE, _NOT_NEGATIVE),
    Kind.FRACTION: (_NUMBER_FORM, _IS_FINITE, ("{value}::numeric between 0 and 1", "is outside 0 to 1")),
    Kind.AMOUNT: (_NUMBER_FORM, _IS_FINITE, _NOT_NEGATIVE),
    Kind.BOOLEAN: (("pg_input_is_valid({value}, 'boolean')", "is neither true nor false"),),
    Kind.DATE: (_DATE_FORM,),
    Kind.CALENDAR_DATE: (_DATE_FORM, (_IN_CALENDAR.format(day="{value}::date"), _KNOWN_DAY)),
    Kind.TIMESTAMP: (
        (
            f"{{value}} ~ '{_ISO_TIMESTAMP}' and pg_input_is_valid({{value}}, 'timestamp')",
            "is not a timestamp such as 2024-01-31 23:59:59",
        ),
    ),
    Kind.INSTANT: (
        (
            f"{{value}} ~ '{_ISO_INSTANT}' and pg_input_is_valid({{value}}, 'timestamptz')",
            "is not an ISO 8601 time such as 2024-01-31T23:59:59Z",
        ),
        (_IN_CALENDAR.format(day="({value}::timestamptz at time zone 'UTC')::date"), _KNOWN_DAY),
    ),
}


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


def refuse_repeated_keys(connection: Connection, source: Source, stage: sql.Identifier) -> None:
    """Keep one row a natural key: the greatest `latest_by`, then the greatest as text, so every read agrees."""
    key = sql.SQL(", ").join(cast(source, column_of(source, name)) for name in source.key)
    latest = (
        sql.SQL("{}::{} desc nulls last, ").format(
            sql.Identifier(source.latest_by), sql.SQL(SQL_TYPES[column_of(source, source.latest_by).kind])
        )
        if source.latest_by
        else sql.SQL("")
    )
    connection.execute(
        sql.SQL(
            "with repeated as ("
            " select {key} from {stage} where _refusal is null group by {key} having count(*) > 1"
            "), ranked as ("
            " select ctid as row_id, row_number() over (partition by {key} order by {latest}staged::text desc) as place"
            " from {stage} as staged where _refusal is null and ({key}) in (select {key} from repeated)"
            ") update {stage} as staged set _refusal = {reason} from ranked"
            " where staged.ctid = ranked.row_id and ranked.place > 1"
        ).format(
            key=key,
            stage=stage,
            latest=latest,
            reason=f"{', '.join(source.key)} came more than once; another row with this key was taken",
        )
    )


def column_of(source: Source, name: str) -> Column:
    """The source's column of that name."""
    return next(column for column in source.loaded_columns if column.name == name)


def cast(source: Source, column: Column, *table: str) -> sql.Composed:
    """A staged text as the value that raw stores; a key without the blanks around it, or one key would be two."""
    value = sql.Identifier(*table, column.name)
    if column.kind is Kind.TEXT:
        return sql.SQL("btrim({})" if column.name in source.key else "{}").format(value)
    return sql.SQL("{}::{}").format(value, sql.SQL(SQL_TYPES[column.kind]))


def _reason(column: Column) -> sql.Composed:
    value = sql.Identifier(column.name)
    blank = sql.SQL("btrim({}) = ''").format(value)
    missing = sql.Literal(f"{column.name} is missing" if column.required else None)
    whens = [sql.SQL("when {} is null then {}").format(value, missing)]
    if column.required:
        whens.append(sql.SQL("when {} then {}").format(blank, missing))
    for test, reason in _TESTS[column.kind]:
        whens.append(
            sql.SQL("when not ({}) then {} || left({}, 80)").format(
                sql.SQL(test).format(value=value), sql.Literal(f"{column.name} {reason}: "), value
            )
        )
    return sql.SQL("case {} end").format(sql.SQL(" ").join(whens))
