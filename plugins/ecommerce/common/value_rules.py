"""
The rules for a column's values as SQL: one form for texts, one for values that already have their type.

Postgres itself checks the values (`pg_input_is_valid`), many rows in one statement: the rules are the same for a table,
a topic and an API, and a value that passes can be cast. In a source that is a Postgres table the values have types:
there `passes` checks the typed value, which costs a tenth.
"""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql

from ecommerce.common.blanks import cleaned, is_not_blank, is_trimmed_at_source, trimmed_at_source
from ecommerce.common.days import TimeColumn
from ecommerce.common.shop import shop
from ecommerce.common.shown_text import without_e_mails_in_sql
from ecommerce.common.sources import CALENDAR, Column, Kind, Source

#: `pg_input_is_valid`, which the reasons to reject a text are found by, came with Postgres 16.
REASONS_VERSION = 160000

#: Kind → the SQL type of raw. Numbers keep the source's digits; staging rounds money.
SQL_TYPES: dict[Kind, str] = {
    Kind.TEXT: "text",
    Kind.INTEGER: "integer",
    Kind.LONG: "bigint",
    Kind.COUNT: "integer",
    Kind.NUMBER: "numeric",
    Kind.MONEY: "numeric",
    Kind.POSITIVE_MONEY: "numeric",
    Kind.FRACTION: "numeric",
    Kind.AMOUNT: "numeric",
    Kind.BOOLEAN: "boolean",
    Kind.DATE: "date",
    Kind.TIMESTAMP: "timestamp",
    Kind.INSTANT: "timestamptz",
}

# Postgres accepts more than the contract allows ('now', 'infinity', 'NaN'), hence the patterns beside its own test.
_DAY = r"\d\d\d\d-\d\d-\d\d"
# Postgres takes second 60 for the first of the next minute, which may be of the next day.
_TIME = r"\d\d:\d\d(:[0-5]\d(\.\d+)?)?"
_ISO_DATE = f"^{_DAY}$"
_ISO_TIMESTAMP = f"^{_DAY}[T ]{_TIME}$"
_ISO_INSTANT = rf"^{_DAY}([T ]{_TIME}\s?(Z|[+-]\d\d(:?\d\d)?)?)?$"
_FINITE = "{value}::numeric not in ('NaN', 'Infinity', '-Infinity')"
_IN_CALENDAR = f"{{day}} between date '{CALENDAR[0]}' and date '{CALENDAR[1]}'"

_MONEY_FORM = ("pg_input_is_valid({value}, 'numeric(18,2)')", "is not an amount of money (at most 16 digits)")
_NUMBER_FORM = ("pg_input_is_valid({value}, 'numeric')", "is not a number")
# Any of digits alone, also one that no type holds, so that its reason says that it is too large.
_WHOLE_FORM = (r"{value} ~ '^\s*[+-]?\d+\s*$'", "is not a whole number")
_INTEGER_FORM = (
    _WHOLE_FORM,
    ("pg_input_is_valid({value}, 'integer')", "is outside -2,147,483,648 to 2,147,483,647"),
)
_DATE_FORM = (
    f"{{value}} ~ '{_ISO_DATE}' and pg_input_is_valid({{value}}, 'date')",
    "is not a date such as 2024-01-31",
)
_IS_FINITE = (_FINITE, "is not a finite number")
# As many digits as money has; without a bound a sum of such numbers could overflow and fail a build.
_BOUNDED = ("abs({value}::numeric) < 1e16", "has more than 16 digits before the point")
_NOT_NEGATIVE = ("{value}::numeric >= 0", "is negative")
_KNOWN_DAY = f"is outside the calendar {CALENDAR[0]} to {CALENDAR[1]}"

#: Kind → the tests that a text must pass, in order, each with the reason to reject it; the first that fails counts.
TEXT_TESTS: dict[Kind, tuple[tuple[str, str], ...]] = {
    # Texts become keys of indexes, in raw and in the marts, and an index entry has a maximum length.
    Kind.TEXT: (("octet_length({value}) <= 1000", "is longer than 1,000 bytes"),),
    Kind.INTEGER: _INTEGER_FORM,
    Kind.LONG: (_WHOLE_FORM, ("pg_input_is_valid({value}, 'bigint')", "has more than 64 bits")),
    Kind.COUNT: (*_INTEGER_FORM, _NOT_NEGATIVE),
    Kind.NUMBER: (_NUMBER_FORM, _IS_FINITE, _BOUNDED),
    Kind.MONEY: (_MONEY_FORM, _IS_FINITE, _NOT_NEGATIVE),
    Kind.POSITIVE_MONEY: (_MONEY_FORM, _IS_FINITE, ("{value}::numeric >= 0.005", "is less than a cent")),
    Kind.FRACTION: (_NUMBER_FORM, _IS_FINITE, ("{value}::numeric between 0 and 1", "is outside 0 to 1")),
    Kind.AMOUNT: (_NUMBER_FORM, _IS_FINITE, _BOUNDED, _NOT_NEGATIVE),
    Kind.BOOLEAN: (("pg_input_is_valid({value}, 'boolean')", "is neither true nor false"),),
    Kind.DATE: (_DATE_FORM, (_IN_CALENDAR.format(day="{value}::date"), _KNOWN_DAY)),
    Kind.TIMESTAMP: (
        (
            f"{{value}} ~ '{_ISO_TIMESTAMP}' and pg_input_is_valid({{value}}, 'timestamp')",
            "is not a timestamp such as 2024-01-31 23:59:59",
        ),
        (_IN_CALENDAR.format(day="{value}::timestamp::date"), _KNOWN_DAY),
    ),
    Kind.INSTANT: (
        (
            f"{{value}} ~ '{_ISO_INSTANT}' and pg_input_is_valid({{value}}, 'timestamptz')",
            "is not an ISO 8601 time such as 2024-01-31T23:59:59Z",
        ),
        (_IN_CALENDAR.format(day="({value}::timestamptz at time zone {zone})::date"), _KNOWN_DAY),
    ),
}


_INTEGERS = ("int2", "int4", "int8")
_NUMBERS = ("numeric", *_INTEGERS, "float4", "float8")

#: Kind → the types that a source's column may have (`pg_type.typname`; an enum counts as text). With another type the
#: load fails, and a person has to look, see `load/schema_drift.py`.
SOURCE_TYPES: dict[Kind, tuple[str, ...]] = {
    Kind.TEXT: ("text", "varchar", "bpchar", "name", "uuid", "citext"),
    Kind.INTEGER: _INTEGERS,
    Kind.LONG: _INTEGERS,
    Kind.COUNT: _INTEGERS,
    Kind.NUMBER: _NUMBERS,
    Kind.MONEY: _NUMBERS,
    Kind.POSITIVE_MONEY: _NUMBERS,
    Kind.FRACTION: _NUMBERS,
    Kind.AMOUNT: _NUMBERS,
    Kind.BOOLEAN: ("bool",),
    # A time where a day is expected is the shop's day of that time.
    Kind.DATE: ("date", "timestamp", "timestamptz"),
    # A day where a time is expected is the shop's midnight of that day.
    Kind.TIMESTAMP: ("timestamp", "timestamptz", "date"),
    Kind.INSTANT: ("timestamptz",),
}

_INT4 = "{value} between -2147483648 and 2147483647"

#: Kind → the same tests for a value that has its type: all true exactly if no test of `TEXT_TESTS` fails. NaN is
#: greater than any number, and infinity than any date.
_TYPED_TESTS: dict[Kind, tuple[str, ...]] = {
    Kind.TEXT: ("octet_length({value}::text) <= 1000",),
    Kind.INTEGER: (_INT4,),
    Kind.LONG: (),
    Kind.COUNT: (_INT4, "{value} >= 0"),
    Kind.NUMBER: ("{value} < 1e16", "{value} > -1e16"),
    # What `numeric(18,2)` holds, rounded.
    Kind.MONEY: ("{value} >= 0", "{value} < 9999999999999999.995"),
    Kind.POSITIVE_MONEY: ("{value} >= 0.005", "{value} < 9999999999999999.995"),
    Kind.FRACTION: ("{value} >= 0", "{value} <= 1"),
    Kind.AMOUNT: ("{value} >= 0", "{value} < 1e16"),
    Kind.BOOLEAN: (),
    Kind.DATE: (_IN_CALENDAR.format(day="{value}"),),
    Kind.TIMESTAMP: (_IN_CALENDAR.format(day="{value}::date"),),
    Kind.INSTANT: (_IN_CALENDAR.format(day="({value} at time zone {zone})::date"),),
}


def is_converted(column: Column, type_name: str) -> bool:
    """Whether raw stores a value in another form than the source: a time in UTC or as its day, a day as a time."""
    if column.kind is Kind.DATE:
        return type_name != "date"
    return column.kind is Kind.TIMESTAMP and (type_name != "timestamp" or shop().source_time_zone != "UTC")


def passes(source: Source, types: Mapping[str, str], encoding: str = "UTF8") -> sql.Composed:
    """
    The condition on a row of the source's own table that is true exactly if all its values pass the rules.

    A source that does not know its texts' characters (`blanks_in`) passes only keys and required texts that begin and
    end with visible ASCII.

    :param types: column → type at the source (`pg_type.typname`), each one of `SOURCE_TYPES`; a column that may be
        missing at the source need not be there
    :param encoding: of the source's database
    """
    conditions: list[sql.Composable] = [condition for _, condition in _conditions(source, types, encoding)]
    return sql.SQL(" and ").join(conditions or [sql.SQL("true")])


def reason_to_reject(column: Column, text: sql.Composable) -> sql.Composed:
    """SQL: why a column's value is rejected, from its text; null if it passes. No reason quotes a personal value."""
    quoted: sql.Composable = sql.SQL("")
    if not column.is_personal:
        quoted = sql.SQL(" || ': ' || {}").format(without_e_mails_in_sql(sql.SQL("left({}, 80)").format(text)))
    blank = sql.SQL("not {}").format(is_not_blank(text))
    missing = sql.Literal(f"{column.name} is missing" if column.required else None)
    whens = [sql.SQL("when {} is null then {}").format(text, missing)]
    if column.required:
        whens.append(sql.SQL("when {} then {}").format(blank, missing))
    tested = _cut_to_microseconds(text) if column.kind in (Kind.TIMESTAMP, Kind.INSTANT) else text
    for test, reason in (*TEXT_TESTS[column.kind], *_bounds(column)):
        whens.append(
            sql.SQL("when not ({}) then {}{}").format(
                _test(test, tested), sql.Literal(f"{column.name} {reason}"), quoted
            )
        )
    return sql.SQL("case {} end").format(sql.SQL(" ").join(whens))


def reasons_to_reject(source: Source, types: Mapping[str, str]) -> sql.Composed:
    """
    The reasons to reject a row of the source's own table that does not pass.

    Only the values that do not pass are tested as texts. Needs Postgres 16, see `REASONS_VERSION`, and UTF-8.

    :param types: as in `passes`
    """
    reasons: list[sql.Composable] = [
        sql.SQL("case when ({}) is not true then {} end").format(
            condition, reason_to_reject(column, sql.SQL("({}::text)").format(_converted(column, types[column.name])))
        )
        for column, condition in _conditions(source, types, "UTF8")
    ]
    return sql.SQL("nullif(concat_ws('; ', {}), '')").format(sql.SQL(", ").join(reasons or [sql.SQL("null")]))


def rule_in_sql(reason: str) -> str:
    """
    SQL: the rule in a reason to reject a row, without the value that broke it.

    :param reason: an SQL expression
    """
    return f"regexp_replace({reason}, ': [^;]*', '', 'g')"


def typed(source: Source, column: Column, type_name: str | None, encoding: str = "UTF8") -> sql.Composed:
    """
    A column of the source's own table as the value that raw stores, for a row that passes.

    :param type_name: None: the source does not have the column
    :param encoding: of the source's database
    """
    if type_name is None:
        return sql.SQL("{}::{}").format(sql.Literal(column.default), sql.SQL(SQL_TYPES[column.kind]))
    value: sql.Composable = sql.Identifier(column.name)
    if type_name in ("float4", "float8"):
        # By its text, like a staged one: the cast of a float to numeric drops digits.
        value = sql.SQL("{}::text").format(value)
    if is_converted(column, type_name):
        value = _converted(column, type_name)
    value = _with_default(column, sql.SQL("{}::{}").format(value, sql.SQL(SQL_TYPES[column.kind])))
    return trimmed_at_source(value, encoding) if _is_trimmed(source, column) else value


def column_of(source: Source, name: str) -> Column:
    """The source's column of that name."""
    return next(column for column in source.loaded_columns if column.name == name)


def cast(source: Source, column: Column, *table: str) -> sql.Composed:
    """A staged text as the value that raw stores; a key is trimmed, so that the same key has one spelling."""
    value: sql.Composable = sql.Identifier(*table, column.name)
    if column.kind is Kind.TEXT:
        return _with_default(column, cleaned(value) if _is_trimmed(source, column) else sql.SQL("{}").format(value))
    if column.kind in (Kind.TIMESTAMP, Kind.INSTANT):
        value = _cut_to_microseconds(value)
    return _with_default(column, sql.SQL("{}::{}").format(value, sql.SQL(SQL_TYPES[column.kind])))


def cast_if_valid(source: Source, column: Column, text: sql.Composable) -> sql.Composed:
    """
    A text as the value that raw stores, for a comparison with raw; null if it cannot be cast.

    :param text: SQL of the text, which comes from anywhere: a rejected row, or a payload that a person has edited
    """
    if column.default is not None:
        text = sql.SQL("coalesce({}, {})").format(text, sql.Literal(column.default))
    if column.kind is Kind.TEXT:
        return cleaned(text) if _is_trimmed(source, column) else sql.SQL("{}").format(text)
    if column.kind in (Kind.TIMESTAMP, Kind.INSTANT):
        text = _cut_to_microseconds(text)
    kind = SQL_TYPES[column.kind]
    return sql.SQL("case when pg_input_is_valid({0}, {1}) then ({0})::{2} end").format(
        text, sql.Literal(kind), sql.SQL(kind)
    )


def joined(source: Source, name: str, *table: str) -> sql.Composed:
    """A column of a raw table as it is compared with the same column of another: only keys are stored trimmed."""
    column = column_of(source, name)
    is_blank_possible = column.kind is Kind.TEXT and not _is_trimmed(source, column)
    value = sql.Identifier(*table, name)
    return cleaned(value) if is_blank_possible else sql.SQL("{}").format(value)


def _cut_to_microseconds(text: sql.Composable) -> sql.Composed:
    """The text of a time without the digits after the microsecond: Postgres would round them, even into another day."""
    return sql.SQL(r"regexp_replace({}, '(\.\d{{6}})\d+', '\1')").format(text)


def _converted(column: Column, type_name: str) -> sql.Composable:
    """A source's value in the form in which raw stores it."""
    value = sql.Identifier(column.name)
    if not is_converted(column, type_name):
        return value
    time = TimeColumn(value, type_name, shop().source_time_zone)
    return time.day if column.kind is Kind.DATE else time.utc


def _test(test: str, value: sql.Composable) -> sql.Composed:
    return sql.SQL(test).format(value=value, zone=sql.Literal(shop().time_zone))


def _with_default(column: Column, value: sql.Composed) -> sql.Composed:
    if column.default is None:
        return value
    return sql.SQL("coalesce({}, {}::{})").format(value, sql.Literal(column.default), sql.SQL(SQL_TYPES[column.kind]))


def _is_trimmed(source: Source, column: Column) -> bool:
    return column.kind is Kind.TEXT and column.name in source.key


def _bounds(column: Column) -> tuple[tuple[str, str], ...]:
    """The test of a column's bounds, for a typed value and, with its reason, for a text."""
    if column.bounds is None:
        return ()
    least, greatest = column.bounds
    return ((f"{{value}}::numeric between {least} and {greatest}", f"is outside {least} to {greatest}"),)


def _conditions(source: Source, types: Mapping[str, str], encoding: str) -> list[tuple[Column, sql.Composed]]:
    """The columns of the source's own table that have a condition to pass."""
    return [
        (column, condition)
        for column in source.columns
        # The window's own condition already bounds the column that decides the window.
        if column.name != source.window_column
        and column.name in types
        and (condition := _passes(source, column, types[column.name], encoding))
    ]


def _passes(source: Source, column: Column, type_name: str, encoding: str) -> sql.Composed | None:
    """A column's condition, or None if its type already ensures the rules. A comparison with null does not pass."""
    value = _converted(column, type_name)
    tests: list[sql.Composable] = [
        _test(test, value)
        for test in (*_TYPED_TESTS[column.kind], *(test for test, _ in _bounds(column)))
        if not (test == _INT4 and type_name in ("int2", "int4"))
    ]
    if column.kind is Kind.TEXT:
        tests = _text_conditions(column, sql.SQL("{}::text").format(value), encoding, is_key=column.name in source.key)
    if not tests:
        return sql.SQL("{} is not null").format(value) if column.required else None
    condition = sql.SQL(" and ").join(tests)
    return condition if column.required else sql.SQL("({} is null or ({}))").format(value, condition)


def _text_conditions(column: Column, text: sql.Composable, encoding: str, *, is_key: bool) -> list[sql.Composable]:
    """Not too long in UTF-8, in which raw stores it; not blank; and trimmed as the warehouse would trim it."""
    if encoding in ("UTF8", "SQL_ASCII"):
        size = sql.SQL("octet_length({}) <= 1000").format(text)
    else:
        # No character of another encoding has more than three bytes in UTF-8 for each of its own.
        size = sql.SQL("(octet_length({0}) <= 333 or octet_length(convert_to({0}, 'UTF8')) <= 1000)").format(text)
    conditions: list[sql.Composable] = [size]
    if column.required:
        conditions.insert(0, is_not_blank(text, encoding))
    if column.required or is_key:
        conditions.append(is_trimmed_at_source(text, encoding))
    return conditions
