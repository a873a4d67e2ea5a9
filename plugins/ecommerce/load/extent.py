"""Which part of raw a load compares and writes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta

from psycopg import sql

from ecommerce.common.sources import Source
from ecommerce.common.windows import Window


@dataclass(frozen=True)
class Extent:
    """A window, or only some of its days."""

    window: Window
    days: Collection[date] | None = None

    @property
    def bounds(self) -> tuple[date, date]:
        """First day, and the day after the last."""
        if not self.days:
            return self.window.start, self.window.end
        return min(self.days), max(self.days) + timedelta(days=1)

    @property
    def is_empty(self) -> bool:
        """Whether it has no day."""
        return self.days is not None and not self.days

    @property
    def is_contiguous(self) -> bool:
        """Whether it has every day between its bounds."""
        start, end = self.bounds
        return self.days is None or len(self.days) == (end - start).days

    def condition(self, source: Source, alias: str) -> sql.Composed:
        """Condition: a row of raw, under this alias, is in the extent."""
        if source.window_column is None:
            raise ValueError(f"source {source.name} has no window column")
        column = sql.Identifier(alias, source.window_column)
        start, end = self.bounds
        inside = sql.SQL("({column} >= {start} and {column} < {end})").format(
            column=column, start=sql.Literal(start), end=sql.Literal(end)
        )
        if self.is_contiguous:
            return inside
        return sql.SQL("({} and {}::date = any({}))").format(inside, column, sql.Literal(sorted(self.days or [])))
