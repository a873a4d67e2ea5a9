"""Which part of raw a load compares and writes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from psycopg import sql

from ecommerce.common.days import TimeColumn
from ecommerce.common.sources import Source
from ecommerce.common.value_rules import SQL_TYPES, column_of
from ecommerce.common.windows import Window


@dataclass(frozen=True)
class Extent:
    """
    A window, or only some of its days.

    :param has_undated: the load has also read the rows that no window has
    """

    window: Window
    days: Collection[date] | None = None
    has_undated: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether it has no day."""
        return self.days is not None and not self.days

    def condition(self, source: Source, alias: str) -> sql.Composable:
        """Condition: a row of raw, under this alias, is in the extent."""
        if source.window_column is None:
            raise ValueError(f"source {source.name} has no window column")
        column = window_column(source, alias)
        if self.days is None:
            return column.between(self.window.start, self.window.end)
        return column.among(self.days) if self.days else sql.SQL("false")


def window_column(source: Source, *alias: str) -> TimeColumn:
    """The column of raw, under an alias if it has one, that decides the window of a source's row."""
    column = column_of(source, source.window_column or "")
    return TimeColumn(sql.Identifier(*alias, column.name), SQL_TYPES[column.kind], "UTC")
