"""Compares a source's table with its registry entry: columns that are new, missing, or of another type."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from psycopg import Connection, sql
from psycopg.types.json import Jsonb

from ecommerce.common.errors import SchemaDrift
from ecommerce.common.shop import SourceLocation
from ecommerce.common.shown_text import one_line
from ecommerce.common.sources import Column, Erased, Kind, NewColumns, Source
from ecommerce.common.value_rules import SOURCE_TYPES, SQL_TYPES
from ecommerce.extract.reader_protocol import ColumnType, MessageSchema

log = logging.getLogger(__name__)

#: Seconds to wait for readers of a raw table that gets a new column; after that the load fails and is tried again.
LOCK_TIMEOUT = 10

#: New fields of messages that one load notes.
MAX_FIELDS = 50

#: Type at the source → kind of a new column. A new column of another type is noted, and not loaded.
_KIND_OF_NEW = {
    **dict.fromkeys(SOURCE_TYPES[Kind.TEXT], Kind.TEXT),
    **dict.fromkeys(("int2", "int4"), Kind.INTEGER),
    "int8": Kind.LONG,
    **dict.fromkeys(("numeric", "float4", "float8"), Kind.NUMBER),
    "bool": Kind.BOOLEAN,
    "date": Kind.DATE,
    "timestamp": Kind.TIMESTAMP,
}


@dataclass(frozen=True)
class ColumnChange:
    """
    One difference between the source's table and its entry in the registry.

    :param was_seen: whether an earlier load had the column
    """

    column: str
    change: str  # new, missing, retyped
    expected: str | None
    actual: str | None
    is_required: bool = True
    was_seen: bool = True

    def __str__(self) -> str:
        match self.change:
            case "missing":
                past = "" if self.is_required else ", and earlier loads had it"
                return f"column {self.column} ({self.expected}) is missing{past}"
            case "retyped":
                relation = "and no longer" if self.was_seen else "and should be"
                return f"column {self.column} is {self.actual} {relation} {self.expected}"
        return f"column {self.column} ({self.actual}) is new"


def seen_columns(connection: Connection, source: Source) -> set[str]:
    """The registry's columns that the source's table has had in a load."""
    return {
        name
        for (name,) in connection.execute(
            "select column_name from ops.source_column where source = %s", [source.name]
        ).fetchall()
    }


def note_seen(connection: Connection, source: Source, batch_id: int, columns: Collection[str]) -> None:
    """Note columns that the source's table has for the first time, in the transaction that loads them."""
    names = [column.name for column in source.columns if column.name in columns]
    if names:
        connection.execute(
            """
            insert into ops.source_column (source, column_name, batch_id, first_seen_at)
            select %s, name, %s, now()
            from unnest(%s::text[]) as seen (name)
            on conflict do nothing
            """,
            [source.name, batch_id, names],
        )


def changes(source: Source, types: Mapping[str, ColumnType], seen: Collection[str]) -> Iterator[ColumnChange]:
    """
    The differences, in the order of the registry, then of the table.

    A column that is not required may be missing, unless an earlier load had it: to load nulls in its place would
    overwrite what raw has, and nobody would notice.

    :param seen: columns that earlier loads had
    """
    for column in source.columns:
        expected = SQL_TYPES[column.kind]
        if column.name not in types:
            if column.required or column.name in seen:
                yield ColumnChange(column.name, "missing", expected, None, column.required, column.name in seen)
        elif types[column.name].name not in SOURCE_TYPES[column.kind]:
            found = types[column.name].spelling
            yield ColumnChange(column.name, "retyped", expected, found, was_seen=column.name in seen)
    known = {column.name for column in source.columns}
    for name, kind in types.items():
        if name not in known:
            yield ColumnChange(name, "new", None, kind.spelling)


def new_fields(names: Collection[str]) -> list[ColumnChange]:
    """Fields of a topic's messages that the registry does not have; as many as a person reads."""
    return [ColumnChange(name, "new", None, "JSON") for name in sorted(set(map(one_line, names)))[:MAX_FIELDS]]


def note_schemas(connection: Connection, source: Source, batch_id: int, schemas: Mapping[int, MessageSchema]) -> None:
    """
    Note the schemas of messages that no load has seen before, and by what each differs from the one before of its name.

    No difference fails a load: a topic has messages of the old schema and of the new one, and each is validated by its
    values. A registry numbers its schemas as they come.

    :param schemas: by their ids
    """
    known: dict[int, tuple[str, Mapping[str, str]]] = {
        schema_id: (name, fields)
        for schema_id, name, fields in connection.execute(
            "select schema_id, name, fields from ops.message_schema where source = %s", [source.name]
        )
    }
    for schema_id in sorted(schemas.keys() - known.keys()):
        name, fields = one_line(schemas[schema_id].name), schemas[schema_id].fields
        versions = [other for other, (its_name, _) in known.items() if its_name == name and other < schema_id]
        if versions:
            differences = field_changes(known[max(versions)][1], fields)
            note(connection, source, batch_id, differences, policy=NewColumns.IGNORE.value)
        known[schema_id] = (name, fields)
        connection.execute(
            """
            insert into ops.message_schema (source, schema_id, name, fields, batch_id, first_seen_at)
            values (%s, %s, %s, %s, %s, now())
            """,
            [source.name, schema_id, name, Jsonb(dict(fields)), batch_id],
        )


def field_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[ColumnChange]:
    """By what a schema of messages differs from the one before it; as many differences as a person reads."""
    changes_of_fields = [
        ColumnChange(
            one_line(name),
            "new" if name not in before else "missing" if name not in after else "retyped",
            before.get(name),
            after.get(name),
        )
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    return changes_of_fields[:MAX_FIELDS]


def note(
    connection: Connection,
    source: Source,
    batch_id: int,
    differences: Sequence[ColumnChange],
    *,
    policy: str | None = None,
) -> None:
    """
    Add a row of `ops.schema_change` for each new difference; for a known one, note the batch that saw it last.

    :param policy: what a load does with each of them; None: the source's own with a new column, and it fails at others
    """
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            insert into ops.schema_change (
                source, column_name, change, expected, found, policy,
                batch_id, noticed_at, last_seen_at, last_batch_id
            )
            values (
                %(source)s, %(column)s, %(change)s, %(expected)s, %(actual)s, %(policy)s,
                %(batch)s, now(), now(), %(batch)s
            )
            on conflict (source, column_name, change, found) do update set
                policy = excluded.policy,
                last_seen_at = excluded.last_seen_at,
                last_batch_id = excluded.last_batch_id
            """,
            [
                {
                    "source": source.name,
                    "column": change.column,
                    "change": change.change,
                    "expected": change.expected,
                    "actual": change.actual,
                    "policy": policy or (source.new_columns.value if change.change == "new" else "fail"),
                    "batch": batch_id,
                }
                for change in differences
            ],
        )


def fail_if_broken(source: Source, location: SourceLocation, differences: Sequence[ColumnChange]) -> None:
    """
    Fail at a column that is missing or has another type; new columns are no error.

    :param location: where the source was read
    :raises SchemaDrift: with the table, the columns, and both types
    """
    broken = [change for change in differences if change.change != "new"]
    if not broken:
        return
    is_changed = any(change.was_seen for change in broken)
    remedy = "Change the source back, or the" if is_changed else "Correct, cast or rename it in a"
    message = (
        f"{source.name}: {location.where} is not what was expected: {'; '.join(map(str, broken))}. Nothing "
        f"was loaded. {remedy} template that gives its columns (docs/your_shop.md)"
    )
    dropped = [change.column for change in broken if change.change == "missing" and not change.is_required]
    if dropped:
        names = ", ".join(f"'{name}'" for name in dropped)
        message += (
            ". If the source has dropped a column for good, and nulls are to take its place: delete from "
            f"ops.source_column where source = '{source.name}' and column_name in ({names})"
        )
    raise SchemaDrift(message)


def evolve(
    connection: Connection,
    source: Source,
    location: SourceLocation,
    types: Mapping[str, ColumnType],
    *,
    dry_run: bool,
) -> Source:
    """
    Add the source's new columns to raw, if its policy is to evolve; returns the source with these columns.

    :raises SchemaDrift: raw has a column of that name from an earlier load, with another type
    """
    if source.new_columns is NewColumns.IGNORE or dry_run:
        return source
    columns = _loadable_new_columns(source, types)
    if not columns:
        return source
    _fail_if_raw_differs(connection, source, location, columns, types)
    with connection.transaction():
        connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}s'")
        for column in columns:
            connection.execute(
                sql.SQL("alter table {} add column if not exists {} {}").format(
                    sql.Identifier("raw", source.name), sql.Identifier(column.name), sql.SQL(SQL_TYPES[column.kind])
                )
            )
    return replace(source, columns=(*source.columns, *columns))


def _loadable_new_columns(source: Source, types: Mapping[str, ColumnType]) -> list[Column]:
    known = {column.name for column in source.columns}
    # Whatever a list of customers says of one is personal.
    erased = Erased.EMPTIED if source.customer_column in source.key else None
    return [
        Column(name, _KIND_OF_NEW[kind.name], erased=erased)
        for name, kind in types.items()
        # A leading underscore is how raw marks its own columns.
        if name not in known and not name.startswith("_") and kind.name in _KIND_OF_NEW
    ]


def _fail_if_raw_differs(
    connection: Connection,
    source: Source,
    location: SourceLocation,
    columns: Sequence[Column],
    types: Mapping[str, ColumnType],
) -> None:
    # A column that raw has from an earlier load keeps its type; the registry does not know it.
    retyped = connection.execute(
        """
        select attname::text, atttypid::regtype::text
        from unnest(%s::text[], %s::text[]::regtype[]) as wanted (name, type)
        inner join pg_attribute
            on attrelid = %s::regclass and attname = wanted.name and not attisdropped
        where atttypid <> wanted.type
        """,
        [[column.name for column in columns], [SQL_TYPES[column.kind] for column in columns], f"raw.{source.name}"],
    ).fetchall()
    changes_of_raw = [ColumnChange(name, "retyped", kind, types[name].spelling) for name, kind in retyped]
    fail_if_broken(source, location, changes_of_raw)
