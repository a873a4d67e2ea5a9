"""What a Postgres reader selects from: a table of the shop (or a view), or the SELECT of a template."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any, Protocol

import psycopg
from psycopg import generators, sql
from psycopg.pq import ExecStatus

from ecommerce.common.blanks import trimmed_at_source
from ecommerce.common.days import TimeColumn
from ecommerce.common.errors import ShopError, SourceError
from ecommerce.common.shop import SourceLocation, shop
from ecommerce.common.sources import Column, Source
from ecommerce.common.windows import Window
from ecommerce.extract import template_rules
from ecommerce.extract.reader_protocol import ColumnType

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Where a table lies whose schema the profile does not name.
DEFAULT_SCHEMA = "public"


class Relation(Protocol):
    """What the rows are selected from. All methods work on the source's connection, in the reader's snapshot."""

    def rows(self, days: Collection[date] | None) -> sql.Composable:
        """What stands behind `from`, for some days or for the whole window."""

    def column_types(self, connection: psycopg.Connection) -> dict[str, ColumnType]:
        """
        Its columns, in their order.

        :raises SourceError: there is no such table
        :raises ShopError: Postgres does not accept the template
        """

    def fail_if_wrong(self, connection: psycopg.Connection, types: Mapping[str, ColumnType]) -> None:
        """
        Fail where its rows cannot be those of the window, before any of them is read.

        :raises ShopError: with the row's key or time
        """

    def estimated_rows(self, connection: psycopg.Connection) -> float:
        """How many rows it has by the source's statistics; negative: unknown."""


class TableRelation:
    """A table, a partitioned or foreign one, or a view."""

    def __init__(self, source: Source, location: SourceLocation, window: Window) -> None:
        self._source = source
        self._location = location
        self._name = sql.Identifier(location.schema_name or DEFAULT_SCHEMA, location.table_name or source.name)

    def rows(self, days: Collection[date] | None) -> sql.Composable:
        """Its name: the window's condition chooses the rows."""
        return self._name

    def column_types(self, connection: psycopg.Connection) -> dict[str, ColumnType]:
        """The columns, with generated ones."""
        columns = connection.execute(
            """
            with recursive types as (
                select
                    attnum,
                    attname::text as name,
                    format_type(atttypid, atttypmod) as spelling,
                    atttypid as type_id
                from pg_attribute
                where attrelid = to_regclass(%s)
                    and attnum > 0
                    and not attisdropped
                union all
                -- A domain is read as its base type, which may be a domain itself.
                select
                    types.attnum,
                    types.name,
                    types.spelling,
                    pg_type.typbasetype
                from types
                inner join pg_type
                    on types.type_id = pg_type.oid
                where pg_type.typtype = 'd'
            )

            select
                types.name,
                -- An enum is read as text.
                case when pg_type.typtype = 'e' then 'text' else pg_type.typname::text end,
                types.spelling
            from types
            inner join pg_type
                on types.type_id = pg_type.oid
            where pg_type.typtype <> 'd'
            order by types.attnum
            """,
            [self._name.as_string()],
        ).fetchall()
        if not columns:
            raise SourceError(
                f"{self._source.name}: there is no {_qualified(self._location)}; expected one with the columns "
                f"{', '.join(column.name for column in self._source.columns)}"
            )
        return {name: ColumnType(kind, spelling) for name, kind, spelling in columns}

    def fail_if_wrong(self, connection: psycopg.Connection, types: Mapping[str, ColumnType]) -> None:
        """A table's rows are what they are; the loader rejects those that repeat a key."""

    def estimated_rows(self, connection: psycopg.Connection) -> float:
        """By its last analysis; of what is never analysed, such as a view, by the planner."""
        row = connection.execute(
            "select relkind::text, reltuples from pg_class where oid = to_regclass(%s)", [self._name.as_string()]
        ).fetchone()
        kind, rows = row or ("r", -1)
        return float(rows) if rows > 0 or kind in ("r", "m") else _planned_rows(connection, self._name)


class TemplateRelation:
    """The SELECT of a template, as a subquery."""

    def __init__(self, source: Source, location: SourceLocation, window: Window) -> None:
        self._source = source
        self._location = location
        self._window = window

    def rows(self, days: Collection[date] | None) -> sql.Composable:
        """The subquery; the window's condition outside of it chooses the rows, where it does not do so itself."""
        # On a line of its own, since the template may end with a comment.
        return sql.SQL("(\n{}\n) as {}").format(sql.SQL(self._statement(days)), sql.Identifier(self._source.name))

    def column_types(self, connection: psycopg.Connection) -> dict[str, ColumnType]:
        """The columns as Postgres describes them without running the template; a domain comes as its base type."""
        # Alone first: so it must be one whole statement. A subquery then must be a SELECT.
        self._describe(connection, self._statement(None))
        described = self._describe(
            connection, sql.SQL("select * from {}").format(self.rows(None)).as_string(connection)
        )
        names = [name for name, _, _ in described]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ShopError(
                f"{self._source.name}: {self._location.where} gives the column {repeated[0]} twice; name each once"
            )
        columns = connection.execute(
            """
            select
                described.name,
                -- An enum is read as text.
                case when pg_type.typtype = 'e' then 'text' else pg_type.typname::text end,
                format_type(described.type_id, described.modifier)
            from unnest(%s::text[], %s::oid[], %s::integer[]) with ordinality
                as described (name, type_id, modifier, place)
            inner join pg_type
                on described.type_id = pg_type.oid
            order by described.place
            """,
            [names, [type_id for _, type_id, _ in described], [modifier for *_, modifier in described]],
        ).fetchall()
        return {
            name: ColumnType(kind, spelling) for name, kind, spelling in columns if not template_rules.is_private(name)
        }

    def fail_if_wrong(self, connection: psycopg.Connection, types: Mapping[str, ColumnType]) -> None:
        """By the rules of templates."""
        rows = _RowsOfWindow(connection, self.rows(None), self._source, self._window, types)
        template_rules.fail_if_wrong(self._source, self._location, self._window, types, rows)

    def estimated_rows(self, connection: psycopg.Connection) -> float:
        """By the planner."""
        return _planned_rows(connection, self.rows(None))

    def _statement(self, days: Collection[date] | None) -> str:
        part = self._window if days is None else Window.of_days(min(days), max(days))
        return self._location.statement(part.start, part.end)

    def _describe(self, connection: psycopg.Connection, statement: str) -> list[tuple[str, int, int]]:
        """Each column of a statement that is not run: its name, its type's oid, and the modifier."""
        pgconn = connection.pgconn
        pgconn.send_prepare(b"", statement.encode())
        (prepared,) = connection.wait(generators.execute(pgconn))
        if prepared.status == ExecStatus.COMMAND_OK:
            pgconn.send_describe_prepared(b"")
            (prepared,) = connection.wait(generators.execute(pgconn))
        if prepared.status != ExecStatus.COMMAND_OK:
            error = psycopg.errors.error_from_result(prepared)
            if not isinstance(error, psycopg.ProgrammingError):
                raise error
            is_bare = isinstance(error, psycopg.errors.UndefinedTable) and "." not in (error.diag.message_primary or "")
            raise ShopError(
                f"{self._source.name}: Postgres does not accept {self._location.where}: {str(error).strip()}"
                f"{'; name the schema of each table, as in shop.orders' if is_bare else ''}"
            ) from error
        return [
            ((prepared.fname(n) or b"").decode(), prepared.ftype(n), prepared.fmod(n)) for n in range(prepared.nfields)
        ]


class _RowsOfWindow:
    """The rows of a template in Postgres, see `template_rules.TemplateRows`."""

    def __init__(
        self,
        connection: psycopg.Connection,
        rows: sql.Composable,
        source: Source,
        window: Window,
        types: Mapping[str, ColumnType],
    ) -> None:
        self._connection = connection
        self._rows = rows
        self._types = types
        self._source = source
        self._window = window

    @property
    def _inside(self) -> sql.Composed:
        return window_column(self._source, self._types).between(self._window.start, self._window.end)

    def time_outside(self, column: str) -> Sequence[str | None]:
        """At most one value."""
        query = sql.SQL("""
            select {column}::text
            from {rows}
            where ({inside}) is not true
            limit 1
        """).format(column=sql.Identifier(column), rows=self._rows, inside=self._inside)
        return self._connection.execute(query).fetchone() or ()

    def repeated_key(self, columns: Sequence[Column]) -> Sequence[str]:
        """A value for each column."""
        encoding = self._connection.info.parameter_status("server_encoding") or "SQL_ASCII"
        values = [
            sql.SQL("coalesce({}, {})").format(
                trimmed_at_source(
                    sql.SQL("{}::text").format(
                        sql.Identifier(column.name) if column.name in self._types else sql.SQL("null")
                    ),
                    encoding,
                ),
                sql.Literal(column.default),
            )
            for column in columns
        ]
        query = sql.SQL("""
            select {key}
            from {rows}
            where {inside}
                and {has_key}
            group by {places}
            having count(*) > 1
            limit 1
        """).format(
            key=sql.SQL(", ").join(values),
            rows=self._rows,
            inside=self._inside,
            # Null is not unequal to anything.
            has_key=sql.SQL(" and ").join(sql.SQL("{} <> ''").format(value) for value in values),
            places=sql.SQL(", ").join(sql.SQL(str(n)) for n in range(1, len(values) + 1)),
        )
        return self._connection.execute(query).fetchone() or ()


def relation_of(source: Source, location: SourceLocation, window: Window) -> Relation:
    """What a source's rows are selected from, at a connection to Postgres."""
    return (TemplateRelation if location.template else TableRelation)(source, location, window)


def window_column(source: Source, types: Mapping[str, ColumnType]) -> TimeColumn:
    """
    The column of a shop's relation that decides the window of a row.

    :param types: the columns of the relation
    """
    name = source.window_column or ""
    return TimeColumn(sql.Identifier(name), types[name].name, shop().source_time_zone)


def is_any_of(name: str, found: ColumnType, values: Collection[str]) -> sql.Composed:
    """
    The condition that a column has one of some values, given as texts: one that an index of the column knows.

    A column that is neither a text, a whole number nor a `uuid` is compared by its text, without an index.
    """
    column, texts = sql.Identifier(name), list(values)
    match found.name:
        case "int2" | "int4" | "int8":
            return sql.SQL("{} = any({}::text[]::bigint[])").format(column, sql.Literal(texts))
        case "uuid":
            # What raw has of before the column was a `uuid` need not be one.
            return sql.SQL("{} = any({}::text[]::uuid[])").format(
                column, sql.Literal([text for text in texts if _UUID.fullmatch(text)])
            )
    return sql.SQL("{}::text = any({}::text[])").format(column, sql.Literal(texts))


@contextmanager
def named_errors(source: Source, location: SourceLocation, window: Window) -> Iterator[None]:
    """
    Inside, an error of Postgres names the source, the window and the place.

    :raises SourceError: instead of the error
    """
    try:
        yield
    except psycopg.errors.QueryCanceled as error:
        raise SourceError(
            f"{source.name}: reading {window} from {location.where} was cancelled: {str(error).strip()}. Raise the "
            "statement_timeout in the connection's extra, "
            '{"options": "-c statement_timeout=10min"}, or let the template read less'
        ) from error
    except psycopg.Error as error:
        raise SourceError(
            f"{source.name}: reading {window} from {location.where} failed: {str(error).strip()}"
        ) from error


def _planned_rows(connection: psycopg.Connection, relation: sql.Composable) -> float:
    row: Any = connection.execute(sql.SQL("explain (format json) select * from {}").format(relation)).fetchone()
    return float(row[0][0]["Plan"]["Plan Rows"])


def _qualified(location: SourceLocation) -> str:
    """The place in words, a table always with its schema."""
    at = f"at the connection {location.connection!r}"
    return f"table {location.schema_name or DEFAULT_SCHEMA}.{location.table_name} {at}"
