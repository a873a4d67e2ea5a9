"""
A column of MySQL as SQL: its type, its value as raw's text, and the condition that the value is valid.

The texts are those that Postgres itself gives for the value in raw: so they can be loaded, and a hash of them equals
the one that the warehouse computes. The conditions are the rules of `common/value_rules.py`; where MySQL cannot tell
for sure, the value does not pass, and Postgres validates its text.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from pymysql.constants import FIELD_TYPE

from ecommerce.common.sources import CALENDAR, Column, Kind
from ecommerce.extract.mysql_connection import literal, name
from ecommerce.extract.mysql_times import MySQLTime
from ecommerce.extract.reader_protocol import ColumnType

_INTEGERS = {
    FIELD_TYPE.TINY: "tinyint",
    FIELD_TYPE.SHORT: "smallint",
    FIELD_TYPE.INT24: "mediumint",
    FIELD_TYPE.LONG: "int",
    FIELD_TYPE.LONGLONG: "bigint",
}
_DECIMALS = {FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL}
_TIMES = {FIELD_TYPE.DATETIME: "datetime", FIELD_TYPE.TIMESTAMP: "timestamp"}
_DATES = {FIELD_TYPE.DATE: "date", FIELD_TYPE.NEWDATE: "date"}
#: Type → its name for texts, and for bytes. An enum or a set is described as `char`.
_TEXTS = {
    FIELD_TYPE.VARCHAR: ("varchar", "varbinary"),
    FIELD_TYPE.VAR_STRING: ("varchar", "varbinary"),
    FIELD_TYPE.STRING: ("char", "binary"),
    FIELD_TYPE.ENUM: ("enum", "enum"),
    FIELD_TYPE.SET: ("set", "set"),
    FIELD_TYPE.TINY_BLOB: ("tinytext", "tinyblob"),
    FIELD_TYPE.BLOB: ("text", "blob"),
    FIELD_TYPE.MEDIUM_BLOB: ("mediumtext", "mediumblob"),
    FIELD_TYPE.LONG_BLOB: ("longtext", "longblob"),
    FIELD_TYPE.JSON: ("json", "json"),
}
#: Types that no column of the registry takes.
_OTHERS = {FIELD_TYPE.TIME: "time", FIELD_TYPE.YEAR: "year", FIELD_TYPE.GEOMETRY: "geometry"}

#: Character sets whose bytes are those of UTF-8.
_UTF8 = {"utf8mb4", "utf8mb3", "utf8", "ascii"}

#: Characters beyond ASCII that some rule takes for a blank or for nothing: Unicode's white space, zero-width
#: characters, the byte order mark. A text that begins or ends with one is not passed by MySQL.
_INVISIBLE = (
    "\u0085\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b\u180c\u180d\u180e\u180f"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u200c\u200d\u200e\u200f"
    "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u202f\u205f\u2060\u2061\u2062\u2063\u2064\u2065\u2066\u2067\u2068"
    "\u2069\u206a\u206b\u206c\u206d\u206e\u206f\u2800\u3000\u3164\ufeff\uffa0\ufff9\ufffa\ufffb"
)
_INVISIBLE_CODES = ", ".join(str(int.from_bytes(character.encode())) for character in _INVISIBLE)

_INT4 = "{value} between -2147483648 and 2147483647"
_BOUNDED = "{value} < 10000000000000000"
_MONEY = "{value} < 9999999999999999.995"

#: Kind → what its values must be, beside the rules of texts, dates and times.
_TESTS: dict[Kind, tuple[str, ...]] = {
    Kind.TEXT: (),
    Kind.INTEGER: (_INT4,),
    Kind.LONG: ("{value} <= 9223372036854775807",),
    Kind.COUNT: (_INT4, "{value} >= 0"),
    Kind.NUMBER: (_BOUNDED, "{value} > -10000000000000000"),
    Kind.MONEY: ("{value} >= 0", _MONEY),
    Kind.POSITIVE_MONEY: ("{value} >= 0.005", _MONEY),
    Kind.FRACTION: ("{value} >= 0", "{value} <= 1"),
    Kind.AMOUNT: ("{value} >= 0", _BOUNDED),
    Kind.BOOLEAN: ("{value} in (0, 1)",),
    Kind.DATE: (f"{{value}} between '{CALENDAR[0]}' and '{CALENDAR[1]}'",),
    Kind.TIMESTAMP: (f"{{value}} between '{CALENDAR[0]}' and '{CALENDAR[1]} 23:59:59.999999'",),
    Kind.INSTANT: (f"{{value}} between '{CALENDAR[0]}' and '{CALENDAR[1]} 23:59:59.999999'",),
}

#: A day that the calendar has: not 2024-00-00, nor 2024-02-31, which MySQL can be told to store.
_EXISTS = "dayofmonth({value}) between 1 and dayofmonth(last_day({value}))"


@dataclass(frozen=True)
class FoundColumn:
    """
    A column of the shop's table or template.

    :param name: as the source spells it
    :param type_code: MySQL's number of the type
    :param length: characters that its longest value takes
    :param scale: digits after the point
    :param character_set: of a text; None: it is none. The one of bytes is `binary`
    :param is_bare: a text that needs no conversion: its bytes are those of UTF-8, and no other such text of the row has
        another collation, with which it could not stand in one expression
    :param time: its values as times; None: they are neither times nor dates
    """

    name: str
    type_code: int
    length: int
    scale: int
    character_set: str | None = None
    is_bare: bool = False
    time: MySQLTime | None = None

    @property
    def is_null(self) -> bool:
        """Whether it is a bare `null` of a template, which has no type."""
        return self.type_code == FIELD_TYPE.NULL or (
            self.type_code in _TEXTS and self.length == 0 and self.character_set == "binary"
        )

    @property
    def is_text(self) -> bool:
        """Whether its values are texts or bytes."""
        return self.type_code in _TEXTS

    @property
    def is_utf8(self) -> bool:
        """Whether it is a text whose bytes are those of UTF-8."""
        return self.character_set in _UTF8 and self.type_code != FIELD_TYPE.JSON

    @property
    def is_time(self) -> bool:
        """Whether its values are times, with or without a zone."""
        return self.type_code in _TIMES

    @property
    def is_date(self) -> bool:
        """Whether its values are days."""
        return self.type_code in _DATES

    @property
    def is_bytes(self) -> bool:
        """Whether its values have no character set."""
        return self.is_text and self.character_set == "binary" and self.type_code != FIELD_TYPE.JSON

    def type_for(self, kind: Kind | None) -> ColumnType:
        """
        The type in Postgres' words, as the registry knows types.

        :param kind: of the registry's column of that name; None: the registry does not have it
        """
        spelling = self._spelling
        if self.type_code in _INTEGERS:
            if kind is Kind.BOOLEAN and self.length == 1:
                return ColumnType("bool", spelling)
            # An unsigned `int` needs eight bytes in Postgres.
            return ColumnType("int8" if self.type_code in (FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG) else "int4", spelling)
        if self.type_code in _TIMES:
            return ColumnType("timestamptz" if kind is Kind.INSTANT else "timestamp", spelling)
        if self.type_code == FIELD_TYPE.BIT:
            return ColumnType("bool" if kind is Kind.BOOLEAN and self.length == 1 else "bit", spelling)
        if self.is_text:
            return ColumnType("text", spelling)
        return ColumnType(_POSTGRES_NAMES.get(self.type_code, spelling), spelling)

    @property
    def _spelling(self) -> str:
        if self.is_text:
            return _TEXTS[self.type_code][self.is_bytes]
        if self.type_code == FIELD_TYPE.BIT:
            return f"bit({self.length})"
        if self.type_code == FIELD_TYPE.TINY and self.length == 1:
            return "tinyint(1)"
        return _SPELLINGS.get(self.type_code, f"type {self.type_code}")


_POSTGRES_NAMES = {
    **dict.fromkeys(_DECIMALS, "numeric"),
    FIELD_TYPE.FLOAT: "float4",
    FIELD_TYPE.DOUBLE: "float8",
    **_DATES,
}
_SPELLINGS = {
    **_INTEGERS,
    **_TIMES,
    **_OTHERS,
    **dict.fromkeys(_DECIMALS, "decimal"),
    FIELD_TYPE.FLOAT: "float",
    FIELD_TYPE.DOUBLE: "double",
    **_DATES,
}


def csv_value(column: Column, found: FoundColumn | None) -> str:
    """
    The value as a field of CSV: a text in quotes, null without, everything else as Postgres writes it.

    Different values have different fields, also those that do not pass: a hash of the fields tells them apart.
    """
    if found is None or found.is_null:
        return literal(_field(column))
    if column.kind is Kind.TEXT:
        field = _csv_text(found)
    elif column.kind is Kind.BOOLEAN:
        number = _number(found)
        field = f"case {number} when 1 then 'true' when 0 then 'false' else cast({number} as char) end"
    else:
        field = _as_postgres(column, found)
    return f"coalesce({field}, {literal(_field(column))})"


def suspect_value(column: Column, found: FoundColumn) -> str:
    """The value for `suspect_text`: texts as bytes, a `float` with all its digits, anything else as it is shown."""
    if found.is_text:
        return name(found.name) if found.is_bytes else _text(found)
    if found.type_code == FIELD_TYPE.FLOAT:
        return f"{name(found.name)} + 0e0"
    return _number(found) if column.kind is Kind.BOOLEAN else _as_postgres(column, found)


def suspect_text(column: Column, found: FoundColumn, value: bytes) -> str:
    """
    The text of a value that `suspect_value` has read.

    :raises UnicodeDecodeError: its bytes are not UTF-8
    """
    text = value.decode()
    return shortest_float(text) if found.type_code == FIELD_TYPE.FLOAT and column.kind is not Kind.TEXT else text


def shortest_float(text: str) -> str:
    """The shortest text of a number of four bytes, from its text as a number of eight: 0.1 for 0.10000000149011612."""
    packed = struct.pack("f", float(text))
    return next(
        short for digits in range(1, 10) if struct.pack("f", float(short := f"{float(text):.{digits}g}")) == packed
    )


def passes(column: Column, found: FoundColumn, *, is_in_window: bool) -> str:
    """
    The condition that is true only of a value that passes all rules of its kind, and whose `csv_value` raw can store.

    :param is_in_window: the window's own condition already bounds the value
    """
    value = _number(found)
    tests = [] if is_in_window else [test.format(value=value) for test in _TESTS[column.kind]]
    if column.bounds:
        tests.append("{} between {} and {}".format(value, *column.bounds))
    if column.kind is Kind.TEXT:
        tests += _text_tests(column, found)
    elif found.is_date or found.type_code == FIELD_TYPE.DATETIME:
        tests.append(_EXISTS.format(value=value))
    elif found.type_code == FIELD_TYPE.FLOAT:
        # Others are read with all digits, as suspect rows.
        tests.append(_is_shown_exactly(found))
    condition = " and ".join(tests) or f"{value} is not null"
    return condition if column.required else f"({value} is null or ({condition}))"


def all_pass(columns: Sequence[tuple[Column, FoundColumn]], window_column: str | None) -> str:
    """The condition on a row that all its values pass; its texts are first looked through together."""
    bare = [(column, found) for column, found in columns if column.kind is Kind.TEXT and found.is_bare]
    conditions = [
        passes(column, found, is_in_window=column.name == window_column)
        for column, found in columns
        if (column, found) not in bare
    ]
    if bare:
        lengths = " and ".join(
            f"coalesce(length({name(found.name)}), {0 if column.required else 1}) between 1 and 1000"
            for column, found in bare
        )
        together = f"concat_ws('', {', '.join(name(found.name) for _, found in bare)})"
        each = " and ".join(passes(column, found, is_in_window=False) for column, found in bare)
        conditions.append(f"(({lengths} and {_is_plain(together)}) or ({each}))")
    return " and ".join(conditions)


def exists(found: FoundColumn) -> str:
    """The condition that a date or time is of a day that the calendar has."""
    return f"coalesce({_EXISTS.format(value=name(found.name))}, false)"


def _field(column: Column) -> str:
    """What null means, as a field of CSV."""
    if column.default is None:
        return ""
    return f'"{column.default}"' if column.kind is Kind.TEXT else column.default


def _csv_text(found: FoundColumn) -> str:
    quoted = f"""concat('"', replace({_text(found)}, '"', '""'), '"')"""
    if not found.is_bytes:
        return quoted
    # Bytes that are no text are shown as digits, since their conversion would be null or another text.
    return f"case when {_is_utf8(found)} then {quoted} else hex({name(found.name)}) end"


def _text(found: FoundColumn) -> str:
    return name(found.name) if found.is_bare else f"convert({name(found.name)} using utf8mb4)"


def _is_utf8(found: FoundColumn) -> str:
    return f"coalesce(cast({_text(found)} as binary) = {name(found.name)}, false)"


def _number(found: FoundColumn) -> str:
    """A bit is bytes unless it is computed with."""
    return f"({name(found.name)} + 0)" if found.type_code == FIELD_TYPE.BIT else name(found.name)


def _is_shown_exactly(found: FoundColumn) -> str:
    """MySQL shows six digits of a `float`, and not every value has so few."""
    return f"cast(cast({name(found.name)} as char) as float) = {name(found.name)}"


def _as_postgres(column: Column, found: FoundColumn) -> str:
    value = name(found.name)
    if found.type_code == FIELD_TYPE.FLOAT:
        return f"case when {_is_shown_exactly(found)} then cast({value} as char) else cast({value} + 0e0 as char) end"
    if found.is_date and column.kind is Kind.TIMESTAMP and found.time:
        # A day that the calendar does not have has no midnight, and is shown as it is.
        return f"coalesce(cast({found.time.utc} as char), cast({value} as char))"
    if not found.is_time:
        return value
    if column.kind is Kind.DATE:
        return f"cast({found.time.day} as char)" if found.time else value
    value = found.time.utc if found.time else value
    if found.scale:
        # Without zeros at the end, and without a point if nothing else follows it.
        value = (
            f"case when microsecond({value}) = 0 then cast({value} as datetime) "
            f"else trim(trailing '0' from cast({value} as char)) end"
        )
    return f"concat({value}, '+00')" if column.kind is Kind.INSTANT else value


def _text_tests(column: Column, found: FoundColumn) -> list[str]:
    # No conversion where the bytes are the same.
    text = name(found.name) if found.is_utf8 else _text(found)
    # The bytes, since a collation may take a NUL for nothing.
    octets = f"cast({text} as binary)"
    first, last = f"ord({text})", f"ord(right({text}, 1))"
    edges = f"{first} > 32 and {first} <> 127 and {last} > 32 and {last} <> 127"
    is_ascii = f"length({text}) = char_length({text})"
    visible = f"{first} not in ({_INVISIBLE_CODES}) and {last} not in ({_INVISIBLE_CODES})"
    # MySQL's UTF-8 has halves of surrogate pairs (U+D800 to U+DFFF), that of Postgres has not.
    has_halves = f"locate(x'ED', {octets}) and hex({text}) regexp '^(..)*ED[AB]'"
    shown = f"{edges} and ({is_ascii} or ({visible} and not ({has_halves})))"
    # An empty text is a value, where none is required.
    any_text = (
        f"length({text}) <= 1000 and locate(x'00', {octets}) = 0 "
        f"and {shown if column.required else f'(length({text}) = 0 or ({shown}))'}"
    )
    is_plain = f"length({text}) between 1 and 1000 and {_is_plain(text)}"
    return [*([_is_utf8(found)] if found.is_bytes else []), f"(({is_plain}) or ({any_text}))"]


def _is_plain(text: str) -> str:
    """
    The condition that a text is of printable ASCII without blanks, as nearly every one is.

    Only ASCII is searched: MariaDB finds nothing, not even by a negated class, in a text that its regular expressions
    take for invalid UTF-8.
    """
    return f"length({text}) = char_length({text}) and not ({text} regexp '[^!-~]')"
