"""Read a table or a template of MySQL or MariaDB, whole or by window, in one consistent snapshot."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pymysql
from pymysql.constants import ER

from ecommerce.common.days import today
from ecommerce.common.errors import ShopError, SourceError
from ecommerce.common.fingerprint import HASHED_DIGITS, Fingerprint, RowHash
from ecommerce.common.shop import SourceLocation
from ecommerce.common.sources import CALENDAR, Column, Source
from ecommerce.common.windows import CALENDAR_WINDOW, Window
from ecommerce.extract import mysql_columns, template_rules
from ecommerce.extract.mysql_columns import FoundColumn
from ecommerce.extract.mysql_connection import (
    Row,
    describe,
    execute,
    in_words,
    kill_statement,
    literal,
    mysql,
    name,
    stream,
    stream_lines,
)
from ecommerce.extract.mysql_times import MySQLTime
from ecommerce.extract.reader_protocol import ColumnType, Constant, ResumePoints, TopicRead
from ecommerce.extract.texts import readable

#: The errors that only another statement, or other rights, can mend: to try again would not help. All others, such as a
#: lost connection or a lock, may be over at the next try.
_ERRORS_OF_STATEMENTS = {
    ER.PARSE_ERROR,
    ER.SYNTAX_ERROR,
    ER.EMPTY_QUERY,
    ER.NO_DB_ERROR,
    ER.BAD_DB_ERROR,
    ER.NO_SUCH_TABLE,
    ER.UNKNOWN_TABLE,
    ER.NONUNIQ_TABLE,
    ER.BAD_FIELD_ERROR,
    ER.NON_UNIQ_ERROR,
    ER.DUP_FIELDNAME,
    ER.ILLEGAL_REFERENCE,
    ER.SP_DOES_NOT_EXIST,
    ER.INVALID_GROUP_FUNC_USE,
    ER.WRONG_FIELD_WITH_GROUP,
    ER.MIX_OF_GROUP_FUNC_AND_FIELDS,
    ER.WRONG_NUMBER_OF_COLUMNS_IN_SELECT,
    ER.OPERAND_COLUMNS,
    ER.DERIVED_MUST_HAVE_ALIAS,
    ER.CANT_AGGREGATE_2COLLATIONS,
    ER.DBACCESS_DENIED_ERROR,
    ER.TABLEACCESS_DENIED_ERROR,
    ER.COLUMNACCESS_DENIED_ERROR,
    ER.PROCACCESS_DENIED_ERROR,
}


class MySQLReader:
    """
    A table, a view or a template of a shop in MySQL or MariaDB.

    The server validates its own rows by the registry's rules and writes them as lines of CSV: `prevalidated` passes
    these on without looking into them. `suspect` returns all other rows, value by value, with the reason to reject a
    value that Postgres cannot store. All methods work inside one `snapshot`.

    A row without a valid time in the window's column (null, a zero date) is of no window.

    :raises SourceError: on reading: no connection, a missing table, a lost server
    :raises ShopError: on reading: the template is wrong
    """

    topics: Sequence[TopicRead] = ()
    copy_format = "format csv"
    row_hash = RowHash.SHA256_OF_CSV

    def __init__(self, source: Source, location: SourceLocation, window: Window) -> None:
        self.source = source
        self.location = location
        self._window = window
        #: Name in small letters → the column; MySQL's names of columns have no case.
        self._found: Mapping[str, FoundColumn] = {}
        self._connection: pymysql.Connection | None = None

    @property
    def columns(self) -> Sequence[str]:
        """The business columns, the payload of a row that cannot be stored, and the reason to reject it."""
        return [*(column.name for column in self.source.columns), "_payload", "_rejection"]

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Inside, all reads see the same moment of the source: of tables with transactions (InnoDB)."""
        with mysql(self.location.connection) as connection:
            with self._named_errors():
                execute(connection, "start transaction with consistent snapshot, read only")
                self._connection = connection
                self._found = self._find_columns()
                if self.location.template:
                    template_rules.fail_if_wrong(self.source, self.location, self._window, self.column_types, self)
            try:
                yield
            finally:
                self._connection = None

    def cancel(self) -> None:
        """Cancel the statement that another thread runs at the source."""
        if self._connection is not None:
            kill_statement(self.location.connection, self._connection.thread_id())

    @property
    def column_types(self) -> Mapping[str, ColumnType]:
        """The columns with their types; a bare `null` of a template is none."""
        kinds = {column.name: column.kind for column in self.source.columns}
        return {key: found.type_for(kinds.get(key)) for key, found in self._found.items() if not found.is_null}

    def is_large(self, rows: int) -> bool:
        """Whether the window has more rows than that."""
        statement = f"""
            select 1
            from {self._rows(None)}
            where {self._inside(None)}
            limit 1 offset {rows}
        """
        return bool(self._execute(statement))

    def rows_by_day(self) -> dict[str | None, int] | None:
        """
        Rows of the window by the day whose facts they change, suspect ones included.

        None, if the registry's day is more than a column: it is written for Postgres.
        """
        if self.source.day and self.source.day not in self._found:
            return None
        found = self._found[self.source.day] if self.source.day else None
        day = (found.time.day if found.time and found.is_time else name(found.name)) if found else "null"
        statement = f"""
            select cast({day} as char), count(*)
            from {self._rows(None)}
            where {self._inside(None)}
            group by {day}
        """
        return {value.decode() if value else None: int(rows or 0) for value, rows in self._execute(statement)}

    def newest_day(self) -> date | None:
        """
        The last day, up to today, of which the source has rows.

        None: it has none, is read without windows, or its template itself chooses the rows of a window.
        """
        if self.source.window_column not in self._found or self.location.is_bound:
            return None
        column = self._window_column_anywhere
        until_today = column.between(date.fromisoformat(CALENDAR[0]), today() + timedelta(days=1))
        statement = f"select cast(max({column.day}) as char) from {self._rows(None)} where {until_today}"
        value = self._execute(statement)[0][0]
        return date.fromisoformat(value.decode()) if value else None

    def has_fingerprints(self) -> bool:
        """Whether each row of the window has a day: a server can be told to store a 2024-00-00."""
        column = self._found[self.source.window_column or ""]
        statement = f"""
            select not exists (
                select 1
                from {self._rows(None)}
                where {self._inside(None)} and not {mysql_columns.exists(column)}
            )
        """
        return self._execute(statement)[0][0] == b"1"

    def fingerprints(self, seed: int, days: Collection[date] | None = None) -> dict[date, Fingerprint]:
        """
        By day of the window; a day without rows is left out.

        :param days: only the prevalidated rows of these days; None: all rows of all days
        """
        day = self._window_column.day
        passes = "true" if days is None else self._passes
        statement = f"""
            select
                cast({day} as char),
                count(*),
                cast(sum(cast(
                    conv(left(sha2(concat('{seed},', {self._line}), 256), {HASHED_DIGITS}), 16, 10) as unsigned
                )) as char)
            from {self._rows(days)}
            where {self._inside(days)} and {passes}
            group by 1
        """
        return {
            date.fromisoformat((value or b"").decode()): Fingerprint(
                int(rows or 0), None if total is None else Decimal(total.decode())
            )
            for value, rows, total in self._execute(statement)
        }

    def prevalidated(self, days: Collection[date] | None, lineage: Sequence[Constant]) -> Iterator[bytes]:
        """
        The rows that pass, as blocks of CSV.

        :param days: only these days of the window; None: all of it
        :param lineage: constants that follow the business columns in each row
        """
        constants = "".join(f", {literal(constant.text)}" for constant in lineage)
        statement = f"""
            select concat_ws(',', {self._line}{constants})
            from {self._rows(days)}
            where {self._inside(days)} and {self._passes}
        """
        with self._named_errors():
            for lines in stream_lines(self._at_source, statement, self.cancel):
                yield b"\n".join([*lines, b""])

    def read(self, resume: ResumePoints) -> Iterator[list[str | None]]:
        """The rows of the window that do not pass."""
        return self.suspect(None)

    def suspect(self, days: Collection[date] | None) -> Iterator[list[str | None]]:
        """The rows that do not pass, of some days or of the whole window, as texts."""
        return self._texts(self._found, days, f"{self._inside(days)} and ({self._passes}) is not true")

    def undated(self) -> Iterator[list[str | None]]:
        """Rows that no window has, as texts."""
        if self.source.window_column and not self.location.is_bound:
            everything = CALENDAR_WINDOW
            yield from self._texts(
                self._found_anywhere, None, self._window_column_anywhere.outside(everything.start, everything.end)
            )

    def in_other_windows(self, keys: Mapping[str, Collection[str]]) -> Iterator[list[str | None]]:
        """Rows outside of the window that may have one of these keys, as texts."""
        column, everything = self._window_column_anywhere, CALENDAR_WINDOW
        conditions = [
            *(f"{self._name(key)} in ({', '.join(map(literal, values))})" for key, values in keys.items()),
            column.between(everything.start, everything.end),
            f"not {column.between(self._window.start, self._window.end)}",
        ]
        return self._texts(self._found_anywhere, [everything.start, everything.last], " and ".join(conditions))

    def _texts(
        self, found_columns: Mapping[str, FoundColumn], days: Collection[date] | None, condition: str
    ) -> Iterator[list[str | None]]:
        """
        Rows as texts.

        :param days: the days that a template is asked for; None: the window
        """
        found = [
            (column, found_columns[column.name])
            for column in self.source.columns
            if column.name in found_columns and not found_columns[column.name].is_null
        ]
        values = ", ".join(mysql_columns.suspect_value(column, source) for column, source in found)
        statement = f"""
            select {values}
            from {self._rows(days)}
            where {condition}
        """
        for rows in self._stream(statement):
            for row in rows:
                yield self._suspect_row(found, row)

    def _suspect_row(self, found: Sequence[tuple[Column, FoundColumn]], row: Row) -> list[str | None]:
        texts: dict[str, str | None] = {}
        reasons = []
        for (column, source), value in zip(found, row, strict=True):
            try:
                text = None if value is None else mysql_columns.suspect_text(column, source, value)
            except UnicodeDecodeError:
                text = None
                reasons.append(f"{column.name} has bytes that are not UTF-8: {_beginning(value)}")
            if text is not None and "\0" in text:
                text = None
                reasons.append(f"{column.name} has a NUL, which Postgres cannot store: {_beginning(value)}")
            texts[column.name] = text
        payload = None
        if reasons:
            payload = json.dumps({column.name: readable(value) for (column, _), value in zip(found, row, strict=True)})
        return [*(texts.get(column.name) for column in self.source.columns), payload, "; ".join(reasons) or None]

    @property
    def _line(self) -> str:
        """The business columns of a row as one line of CSV."""
        return "concat_ws(',', {})".format(
            ", ".join(mysql_columns.csv_value(column, self._found.get(column.name)) for column in self.source.columns)
        )

    @property
    def _passes(self) -> str:
        found = [(column, self._found[column.name]) for column in self.source.columns if column.name in self._found]
        return mysql_columns.all_pass(
            [(column, source) for column, source in found if not source.is_null], self.source.window_column
        )

    def _name(self, column: str | None) -> str:
        return name(self._found[column or ""].name)

    def _rows(self, days: Collection[date] | None) -> str:
        """The table, or the template as a subquery; a template that asks for the days gets them."""
        location = self.location
        if location.table_name is None:
            # On lines of its own: the template may end with a comment.
            return f"(\n{location.statement(*self._range(days))}\n) as shop_rows"
        schema = [location.schema_name] if location.schema_name else []
        return ".".join(name(part) for part in [*schema, location.table_name])

    def _range(self, days: Collection[date] | None) -> tuple[date, date]:
        if not days:
            return self._window.start, self._window.end
        return min(days), max(days) + timedelta(days=1)

    def _inside(self, days: Collection[date] | None) -> str:
        if not self.source.window_column:
            return "true"
        column = self._window_column
        return column.among(days) if days else column.between(self._window.start, self._window.end)

    @property
    def _window_column(self) -> MySQLTime:
        return self._time_of(self._found[self.source.window_column or ""])

    @property
    def _window_column_anywhere(self) -> MySQLTime:
        """The column that decides the window, of rows that may lie in any."""
        return replace(self._window_column, window=CALENDAR_WINDOW)

    @property
    def _found_anywhere(self) -> Mapping[str, FoundColumn]:
        """The columns of rows that may lie in any window."""
        key = self.source.window_column or ""
        found = self._found[key]
        return {**self._found, key: replace(found, time=found.time and self._window_column_anywhere)}

    def _time_of(self, column: FoundColumn) -> MySQLTime:
        is_in_window = column.name.lower() == self.source.window_column
        return MySQLTime(column.name, column.type_code, self._window if is_in_window else CALENDAR_WINDOW)

    def _find_columns(self) -> dict[str, FoundColumn]:
        rows = self._rows(None)
        try:
            description = describe(self._at_source, f"select * from {rows} limit 0")
        except pymysql.MySQLError as error:
            number = error.args[0] if error.args else None
            if number == ER.NO_SUCH_TABLE and self.location.table:
                raise SourceError(
                    f"{self.source.name}: there is no table {self.location.table} at the connection "
                    f"{self.location.connection!r}; expected one with the columns "
                    f"{', '.join(column.name for column in self.source.columns)}"
                ) from error
            if self.location.template and number in _ERRORS_OF_STATEMENTS:
                raise ShopError(
                    f"{self.source.name}: MySQL does not accept {self.location.where}: {in_words(error)}"
                ) from error
            raise
        columns = [
            FoundColumn(str(label), code, length, scale)
            for label, code, _, length, _, scale, _ in description
            if self.location.table or not template_rules.is_private(str(label))
        ]
        texts = self._with_character_sets([column for column in columns if column.is_text])
        return {
            column.name.lower(): replace(
                texts.get(column.name, column), time=self._time_of(column) if column.is_time or column.is_date else None
            )
            for column in columns
        }

    def time_outside(self, column: str) -> Sequence[str | None]:
        """Of a template, see `template_rules.TemplateRows`."""
        statement = f"""
            select cast({self._name(column)} as char)
            from {self._rows(None)}
            where ({self._inside(None)}) is not true
            limit 1
        """
        return [value.decode() if value else None for (value,) in self._execute(statement)]

    def repeated_key(self, columns: Sequence[Column]) -> Sequence[str]:
        """Of a template, see `template_rules.TemplateRows`."""
        types = self.column_types
        keys = [
            f"coalesce(trim({self._name(column.name)}), {default})" if column.name in types else default
            for column in columns
            for default in ["null" if column.default is None else literal(column.default)]
        ]
        # Their lengths and bytes, since most collations take A and a for equal, and an invisible character for none.
        statement = f"""
            select {", ".join(keys)}
            from {self._rows(None)}
            where {self._inside(None)} and {" and ".join(f"length({key}) > 0" for key in keys)}
            group by {", ".join(f"cast({key} as binary)" for key in keys)}
            having count(*) > 1
            limit 1
        """
        return [(value or b"").decode(errors="replace") for row in self._execute(statement) for value in row]

    def _with_character_sets(self, columns: Sequence[FoundColumn]) -> dict[str, FoundColumn]:
        """Texts with the character set as it is stored, by name; a result's description has that of the session."""
        if not columns:
            return {}
        # A join that matches nothing has one row, also of an empty table.
        values = [f"concat(charset({name(column.name)}), ' ', collation({name(column.name)}))" for column in columns]
        statement = f"""
            select {", ".join(values)}
            from (select 1) as one_row
            left join {self._rows(None)}
                on false
        """
        stored = [(value or b"").decode().split() for value in self._execute(statement)[0]]
        found = [
            replace(column, character_set=character_set)
            for column, (character_set, _) in zip(columns, stored, strict=True)
        ]
        collations = {collation for column, (_, collation) in zip(found, stored, strict=True) if column.is_utf8}
        return {column.name: replace(column, is_bare=column.is_utf8 and len(collations) == 1) for column in found}

    @property
    def _at_source(self) -> pymysql.Connection:
        if self._connection is None:
            raise RuntimeError("a MySQLReader is read inside its snapshot()")
        return self._connection

    def _execute(self, statement: str) -> Sequence[Row]:
        with self._named_errors():
            return execute(self._at_source, statement)

    def _stream(self, statement: str) -> Iterator[Sequence[Row]]:
        with self._named_errors():
            yield from stream(self._at_source, statement, self.cancel)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except pymysql.MySQLError as error:
            raise SourceError(
                f"{self.source.name}: reading {self._window} from {self.location.where} failed: {in_words(error)}"
            ) from error


def _beginning(value: bytes | None) -> str:
    """The first bytes of a value in ASCII, others than printable ones as their number."""
    return repr((value or b"")[:60])[2:-1]
