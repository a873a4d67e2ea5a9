"""Marks the days that a load changed as dirty (`ops.dirty_date`), so that the next run rebuilds them."""

from __future__ import annotations

from psycopg import Connection, sql

from ecommerce.common.blanks import cleaned
from ecommerce.common.sources import SOURCES, Dependents, Reference, Source, Touch
from ecommerce.common.value_rules import SQL_TYPES, column_of, joined
from ecommerce.load.batches import was_loaded

#: Each row that a load wrote or deleted: the day of its fact, the day of the window in which it lies, and the keys by
#: which other rows depend on it.
CHANGED_ROWS = sql.Identifier("pg_temp", "changed_rows")


def day_of(source: Source) -> sql.SQL:
    """SQL over a raw row: the day whose facts it changes."""
    return sql.SQL(source.day or "null::date")


def dependent_keys(source: Source) -> list[str]:
    """The columns by which other rows depend on a row of the source."""
    return list(dict.fromkeys(dependents.key for dependents in source.dependents))


def create_changed_rows(connection: Connection, source: Source) -> None:
    """Create the table of changed rows, empty: its days, the `dependent_keys`, and whether raw has lost the key."""
    keys = sql.SQL("").join(
        sql.SQL("{} {}, ").format(sql.Identifier(name), sql.SQL(SQL_TYPES[column_of(source, name).kind]))
        for name in dependent_keys(source)
    )
    connection.execute(
        sql.SQL("create temp table {} (day date, window_day date, {}is_lost boolean) on commit drop").format(
            CHANGED_ROWS, keys
        )
    )


def mark_changed_days(connection: Connection, source: Source, batch_id: int) -> int:
    """Mark the days of the changed rows, and those of the rows that depend on them; how many."""
    days = sql.SQL("select distinct day from {} where day is not null").format(CHANGED_ROWS)
    marked = mark(connection, source, batch_id, days)
    if source.dependents:
        # Without statistics the planner takes a load of any size for one of a thousand rows.
        connection.execute(sql.SQL("analyze {}").format(CHANGED_ROWS))
    for dependents in source.dependents:
        keys = sql.SQL("select {} from {}").format(sql.Identifier(dependents.key), CHANGED_ROWS)
        marked += mark_dependent_days(connection, source, dependents, batch_id, keys)
    return marked


def mark_dependent_days(
    connection: Connection,
    source: Source,
    dependents: Dependents,
    batch_id: int,
    keys: sql.Composable,
    where: sql.Composable | None = None,
) -> int:
    """
    Mark the days of the rows that depend on changed rows; how many.

    :param keys: query of the changed rows' keys
    :param where: condition on a dependent row, under the alias `dependent`
    """
    # A table that was never loaded may be locked by its first load (`bulk_load`), which marks its own days.
    if not was_loaded(connection, dependents.table):
        return 0
    days = sql.SQL("""
        select distinct {day}
        from {table} as dependent
        where {key} in ({keys}) and {where}
    """).format(
        day=sql.SQL(dependents.day),
        table=sql.Identifier("raw", dependents.table),
        key=joined(SOURCES[dependents.table], dependents.key, "dependent"),
        keys=keys,
        where=where or sql.SQL("true"),
    )
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
        from ({facts}) as fact
        inner join {versions} as version
            on ops.clean_text(version.{own_key}) = fact.key
            and (
                version.is_first
                or ops.shop_midnight(fact.used_on + 1) > version._valid_from
            )
    """).format(
        facts=_facts_of(connection, touch),
        versions=versions,
        own_key=sql.Identifier(source.key[0]),
    )
    return mark(connection, source, batch_id, days)


def _facts_of(connection: Connection, touch: Touch) -> sql.Composed:
    """Query of the facts: their key, their day, and the day whose version they use."""
    # What was never loaded has no row yet; see above.
    references = [reference for reference in touch.references if was_loaded(connection, reference.table)]
    names = [f"named_{number}" for number, _ in enumerate(references)]
    keys = [cleaned(sql.Identifier(alias, touch.key)) for alias in (*names, "fact_row")]
    used_on = [
        sql.Identifier(alias, "_fact_day") for alias, reference in zip(names, references, strict=True) if reference.day
    ]
    joins = sql.SQL("").join(_join(touch, reference, alias) for alias, reference in zip(names, references, strict=True))
    return sql.SQL("""
        select
            coalesce({keys}) as key,
            fact_row._fact_day as day,
            coalesce({used_on}) as used_on
        from (select *, {day} as _fact_day from {table}) as fact_row
        {joins}
    """).format(
        keys=sql.SQL(", ").join(keys),
        used_on=sql.SQL(", ").join([*used_on, sql.Identifier("fact_row", "_fact_day")]),
        day=sql.SQL(touch.day),
        table=sql.Identifier("raw", SOURCES[touch.table].all_rows),
        joins=joins,
    )


def _join(touch: Touch, reference: Reference, alias: str) -> sql.Composed:
    """The join of a fact's row with the row that it names."""
    same = [
        sql.SQL("{} = {}").format(
            joined(SOURCES[reference.table], name, alias), joined(SOURCES[touch.table], name, "fact_row")
        )
        for name in reference.columns
    ]
    return sql.SQL("left join (select *, {day} as _fact_day from {table}) as {alias} on {same} ").format(
        day=sql.SQL(reference.day or "null::date"),
        table=sql.Identifier("raw", reference.table),
        alias=sql.Identifier(alias),
        same=sql.SQL(" and ").join(same),
    )


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
