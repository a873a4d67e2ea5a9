"""Marks the days that a load changed as dirty (`ops.dirty_date`), so that the next run rebuilds them."""

from __future__ import annotations

from psycopg import Connection, sql

from ecommerce.common.sources import Source, Touch
from ecommerce.load.batches import was_loaded

#: The day of each row that a load wrote or deleted.
CHANGED_DAYS = sql.Identifier("pg_temp", "changed_days")


def day_of(source: Source) -> sql.SQL:
    """SQL over a raw row: the day whose facts it changes."""
    return sql.SQL(source.day or "null::date")


def create_changed_days(connection: Connection) -> None:
    """Create the table of changed days, empty."""
    connection.execute(sql.SQL("create temp table {} (day date) on commit drop").format(CHANGED_DAYS))


def mark_changed_days(connection: Connection, source: Source, batch_id: int) -> int:
    """Mark the collected days; how many."""
    days = sql.SQL("select distinct day from {} where day is not null").format(CHANGED_DAYS)
    return mark(connection, source, batch_id, days)


def mark_touched_days(
    connection: Connection, source: Source, touch: Touch, batch_id: int, versions: sql.Identifier
) -> int:
    """
    Mark the days of facts that use the key of a new version; how many.

    :param versions: table of the new versions, with `is_first`
    """
    # A table that was never loaded may be locked by its first load (`bulk_load`), which marks its own days.
    if not was_loaded(connection, touch.table):
        return 0
    # The first version of a key is valid from -infinity (contract, section 4), so it changes every fact of its key.
    days = sql.SQL("""
        select distinct fact.day
        from (
            select {key} as key, {day} as day
            from {table}
        ) as fact
        inner join {versions} as version
            on btrim(version.{own_key}) = btrim(fact.key)
            and (
                version.is_first
                or fact.day + interval '1 day' > version._valid_from at time zone 'UTC'
            )
    """).format(
        key=sql.Identifier(touch.key),
        day=sql.SQL(touch.day),
        table=sql.Identifier("raw", touch.table),
        versions=versions,
        own_key=sql.Identifier(source.key[0]),
    )
    return mark(connection, source, batch_id, days)


def mark(connection: Connection, source: Source, batch_id: int, days: sql.Composable) -> int:
    """Mark the days of a query that are not marked by this load yet; how many."""
    return connection.execute(
        sql.SQL("""
            insert into ops.dirty_date (source, dirty_date, batch_id, marked_at)
            select {source}, changed.day, {batch}, now()
            from ({days}) as changed(day)
            on conflict do nothing
        """).format(source=source.name, batch=batch_id, days=days)
    ).rowcount
