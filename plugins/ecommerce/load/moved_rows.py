"""
Finds the rows that have left a window for another one, by their keys, before raw loses them.

A correction of `created_at` at the source takes a row out of the window that is read. Raw would be without it until a
load reads the window in which it lies now, which may be never.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from psycopg import Connection, sql

from ecommerce.common.sources import Source
from ecommerce.common.value_rules import cast_if_valid, column_of
from ecommerce.load import validate
from ecommerce.load.extent import Extent
from ecommerce.load.staging import ACCEPTED, MOVED, STAGE, Staging

#: The keys that raw has in the extent, and that no accepted row has.
_LOST_KEYS = sql.Identifier("pg_temp", "lost_keys")

#: Keys that the source is asked for in one query: a statement of some hundred kilobytes.
KEYS_AT_A_TIME = 5_000


def find_lost_keys(connection: Connection, source: Source, extent: Extent) -> int:
    """Collect the keys that raw would lose; how many."""
    if extent.is_empty:
        return 0
    return connection.execute(
        sql.SQL("""
            create temp table {lost_keys} on commit drop as
            select {key}
            from {raw} as stored
            where {inside} and not exists (
                select from {accepted} as accepted where {same_key}
            )
        """).format(
            lost_keys=_LOST_KEYS,
            key=sql.SQL(", ").join(sql.Identifier("stored", name) for name in source.key),
            raw=sql.Identifier("raw", source.name),
            inside=extent.condition(source, "stored"),
            accepted=ACCEPTED,
            same_key=sql.SQL(" and ").join(
                sql.SQL("{} = {}").format(sql.Identifier("stored", name), sql.Identifier("accepted", name))
                for name in source.key
            ),
        )
    ).rowcount


def lost_keys(connection: Connection, source: Source) -> Iterator[Mapping[str, list[str]]]:
    """
    The collected keys in parts, each as column → its different values.

    Columns with a default are left out: what is null at the source is another value in raw.
    """
    names = [name for name in source.key if column_of(source, name).default is None]
    texts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in names)
    with connection.cursor("lost_keys") as cursor:
        cursor.execute(sql.SQL("select distinct {} from {}").format(texts, _LOST_KEYS))
        while rows := cursor.fetchmany(KEYS_AT_A_TIME):
            yield {name: sorted(set(values)) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def accept(connection: Connection, source: Source, staging: Staging) -> tuple[int, int]:
    """Accept the moved rows that have one of the collected keys; how many have one, and how many are rejected."""
    # Those that have passed are accepted already.
    connection.execute(sql.SQL("delete from {} where _rejection is null").format(STAGE))
    row = connection.execute(sql.SQL("select count(*) from {}").format(STAGE)).fetchone()
    rejected_before = row[0] if row else 0
    moved = connection.execute(
        sql.SQL("""
            insert into {stage}
            select moved.*
            from {moved} as moved
            where exists (select from {lost_keys} as lost where {same_key})
        """).format(
            stage=STAGE,
            moved=MOVED,
            lost_keys=_LOST_KEYS,
            same_key=sql.SQL(" and ").join(
                sql.SQL("lost.{} = {}").format(
                    sql.Identifier(name), cast_if_valid(source, column_of(source, name), sql.Identifier("moved", name))
                )
                for name in source.key
            ),
        )
    ).rowcount
    if not moved:
        return 0, 0
    rejected = validate.reject_bad_values(connection, source) - rejected_before
    staging.accept_passed()
    return moved, rejected + validate.reject_repeated_keys(connection, source)
