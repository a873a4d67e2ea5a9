"""What a source's table has become: columns that are new, missing, or of another type than the registry expects."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from psycopg import Connection, sql

from ecommerce.common.errors import SchemaDrift
from ecommerce.common.sources import Column, Kind, NewColumns, Source
from ecommerce.common.value_rules import FOUND_TYPES, SQL_TYPES
from ecommerce.extract.reader_protocol import FoundType

log = logging.getLogger(__name__)

#: Seconds that a new column of raw may wait for those who read the table; then the load fails and is tried again.
LOCK_TIMEOUT = 10

#: So many new fields of messages are noted by one load.
MOST_FIELDS = 50

#: What a column that a source has gained is taken for. One of another type is noticed and left where it is.
_KIND_OF_NEW = {
    **dict.fromkeys(FOUND_TYPES[Kind.TEXT], Kind.TEXT),
    **dict.fromkeys(("int2", "int4"), Kind.INTEGER),
    "int8": Kind.LONG,
    **dict.fromkeys(("numeric", "float4", "float8"), Kind.NUMBER),
    "bool": Kind.BOOLEAN,
    "date": Kind.DATE,
    "timestamp": Kind.TIMESTAMP,
}


@dataclass(frozen=True)
class ColumnChange:
    """One difference between the source's table and its entry in the registry."""

    column: str
    change: str  # new, missing, retyped
    expected: str | None
    found: str | None

    def __str__(self) -> str:
        match self.change:
            case "missing":
                return f"column {self.column} ({self.expected}) is missing"
            case "retyped":
                return f"column {self.column} is {self.found} and no longer {self.expected}"
        return f"column {self.column} ({self.found}) is new"


def changes(source: Source, found: Mapping[str, FoundType]) -> Iterator[ColumnChange]:
    """What differs, in the order of the registry, then of the table."""
    for column in source.columns:
        expected = SQL_TYPES[column.kind]
        if column.name not in found:
            yield ColumnChange(column.name, "missing", expected, None)
        elif found[column.name].name not in FOUND_TYPES[column.kind]:
            yield ColumnChange(column.name, "retyped", expected, found[column.name].spelled)
    known = {column.name for column in source.columns}
    for name, kind in found.items():
        if name not in known:
            yield ColumnChange(name, "new", None, kind.spelled)


def new_fields(names: Collection[str]) -> list[ColumnChange]:
    """Fields that the messages of a topic have gained; as many as a person reads."""
    return [ColumnChange(name, "new", None, "JSON") for name in sorted(names)[:MOST_FIELDS]]


def write_down(connection: Connection, source: Source, batch_id: int, noticed: Sequence[ColumnChange]) -> None:
    """A row of `ops.schema_change` for each change that is not noted yet; the last batch that saw it."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into ops.schema_change as held (source, column_name, change, expected, found, policy, batch_id,"
            " noticed_at, last_seen_at, last_batch_id)"
            " values (%(source)s, %(column)s, %(change)s, %(expected)s, %(found)s, %(policy)s, %(batch)s, now(), now(),"
            "  %(batch)s)"
            " on conflict (source, column_name, change, found) do update"
            " set last_seen_at = excluded.last_seen_at, last_batch_id = excluded.last_batch_id",
            [
                {
                    "source": source.name,
                    "column": change.column,
                    "change": change.change,
                    "expected": change.expected,
                    "found": change.found,
                    "policy": source.new_columns.value if change.change == "new" else "fail",
                    "batch": batch_id,
                }
                for change in noticed
            ],
        )


def refuse_broken(source: Source, noticed: Sequence[ColumnChange]) -> None:
    """
    Stop at a column that is gone or has another type.

    :raises SchemaDrift: with the table, the columns, and both types
    """
    broken = [str(change) for change in noticed if change.change != "new"]
    if broken:
        raise SchemaDrift(
            f"{source.name}: the table public.{source.name} at the connection {source.connection!r} is not what was "
            f"expected: {'; '.join(broken)}. Nothing was loaded. Change the source back, or its entry in "
            "plugins/ecommerce/common/sources.py"
        )


def evolve(connection: Connection, source: Source, found: Mapping[str, FoundType], *, dry_run: bool) -> Source:
    """The source with the columns it has gained, where its policy is to take them; raw has them from now on."""
    if source.new_columns is NewColumns.IGNORE or dry_run:
        return source
    known = {column.name for column in source.columns}
    added = [
        Column(name, _KIND_OF_NEW[kind.name])
        for name, kind in found.items()
        # A leading underscore is how raw marks its own columns.
        if name not in known and not name.startswith("_") and kind.name in _KIND_OF_NEW
    ]
    if not added:
        return source
    # A column that raw has from an earlier load keeps its type; the registry does not know it.
    held = connection.execute(
        "select attname::text, atttypid::regtype::text"
        " from unnest(%s::text[], %s::text[]::regtype[]) as wanted (name, type)"
        " inner join pg_attribute on attrelid = %s::regclass and attname = wanted.name and not attisdropped"
        " where atttypid <> wanted.type",
        [[column.name for column in added], [SQL_TYPES[column.kind] for column in added], f"raw.{source.name}"],
    ).fetchall()
    refuse_broken(source, [ColumnChange(name, "retyped", kind, found[name].spelled) for name, kind in held])
    with connection.transaction():
        connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}s'")
        for column in added:
            connection.execute(
                sql.SQL("alter table {} add column if not exists {} {}").format(
                    sql.Identifier("raw", source.name), sql.Identifier(column.name), sql.SQL(SQL_TYPES[column.kind])
                )
            )
    return replace(source, columns=(*source.columns, *added))
