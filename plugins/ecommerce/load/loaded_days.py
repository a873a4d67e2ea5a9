"""
Notes how many rows a load leaves in raw of each day of its window (`ops.loaded_day`).

Rows that get lost later, behind the loader's back, are found by a check, which compares raw with these numbers.
"""

from __future__ import annotations

from psycopg import Connection, sql

from ecommerce.common.sources import Source
from ecommerce.load.dirty_dates import CHANGED_ROWS
from ecommerce.load.extent import Extent, window_column


def note(connection: Connection, source: Source, extent: Extent, batch_id: int) -> None:
    """
    Note the rows of all days of the window.

    Also of its days that did not change: raw and source may have lost the same row.
    """
    _note(connection, source, Extent(extent.window), batch_id)


def note_other_days(connection: Connection, source: Source, extent: Extent, batch_id: int) -> None:
    """Note the rows of the days outside of the window to or from which the load has moved rows."""
    days = [
        day
        for (day,) in connection.execute(
            sql.SQL("select distinct window_day from {} where window_day < {} or window_day >= {}").format(
                CHANGED_ROWS, sql.Literal(extent.window.start), sql.Literal(extent.window.end)
            )
        )
    ]
    if days:
        _note(connection, source, Extent(extent.window, days), batch_id)


def _note(connection: Connection, source: Source, extent: Extent, batch_id: int) -> None:
    if extent.days is None:
        noted = sql.SQL("day >= {} and day < {}").format(extent.window.start, extent.window.end)
    else:
        noted = sql.SQL("day = any({})").format(sorted(extent.days))
    connection.execute(
        sql.SQL("""
            insert into ops.loaded_day (source, day, rows, batch_id)
            select
                {source},
                day,
                coalesce(counted.rows, 0),
                {batch}
            from (
                select {window_day} as day, count(*) as rows
                from {raw} as stored
                where {inside}
                group by 1
            ) as counted
            full join (
                select day
                from ops.loaded_day
                where source = {source} and {noted}
            ) as noted using (day)
            on conflict (source, day) do update
            set rows = excluded.rows, batch_id = excluded.batch_id
            where loaded_day.rows <> excluded.rows
        """).format(
            source=source.name,
            batch=batch_id,
            window_day=window_column(source, "stored").day,
            raw=sql.Identifier("raw", source.name),
            inside=extent.condition(source, "stored"),
            noted=noted,
        )
    )
