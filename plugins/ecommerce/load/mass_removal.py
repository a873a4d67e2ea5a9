"""Counts what raw would lose for good by a load: more than half, and more than ten, is rarely meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from psycopg import Connection, sql

from ecommerce.common.sources import Source
from ecommerce.load.dirty_dates import CHANGED_ROWS
from ecommerce.load.extent import Extent, window_column

#: A load may always remove so many rows or keys.
FREE_REMOVALS = 10


@dataclass(frozen=True)
class Loss:
    """
    What raw loses of a window, of one of its days, or of the keys of a version log.

    :param lost: rows or keys that no accepted row replaces
    :param held: how many raw had
    :param day: of that day alone; None: of all
    """

    lost: int
    held: int
    day: date | None = None

    @property
    def is_mass_removal(self) -> bool:
        """Whether a load has to be allowed to remove so many."""
        return self.lost > FREE_REMOVALS and 2 * self.lost > self.held


def losses_of_window(connection: Connection, source: Source, extent: Extent) -> list[Loss]:
    """
    The loss of the whole window, then that of each of its days; empty if it is not more than `FREE_REMOVALS`.

    By day as well, since a source that is hidden or restored day by day loses half of no window. Call it when the rows
    are deleted, and before others are written.
    """
    deleted = {
        day: (lost, rows)
        for day, lost, rows in connection.execute(
            sql.SQL("""
                select window_day, count(*) filter (where is_lost), count(*)
                from {}
                where is_lost is not null
                group by 1
            """).format(CHANGED_ROWS)
        )
    }
    if sum(lost for lost, _ in deleted.values()) <= FREE_REMOVALS:
        return []
    kept: dict[date, int] = dict(
        connection.execute(
            sql.SQL("""
                select {day}, count(*)
                from {raw} as stored
                where {inside}
                group by 1
            """).format(
                day=window_column(source, "stored").day,
                raw=sql.Identifier("raw", source.name),
                inside=Extent(extent.window).condition(source, "stored"),
            )
        ).fetchall()
    )
    by_day = [Loss(lost, rows + kept.get(day, 0), day) for day, (lost, rows) in sorted(deleted.items())]
    whole = Loss(sum(loss.lost for loss in by_day), sum(rows for _, rows in deleted.values()) + sum(kept.values()))
    return [whole, *by_day]


def first_mass_removal(losses: Sequence[Loss]) -> Loss | None:
    """The first loss that has to be allowed."""
    return next((loss for loss in losses if loss.is_mass_removal), None)
