"""
The shop's days: when one begins, and in which one a time lies, in Python and as SQL.

A day is one of the shop's time zone, `time_zone` of its profile. In the warehouse Postgres knows it by the functions
`ops.shop_day` and `ops.shop_midnight` (`include/sql/ops.sql`), which this module agrees with; a source does not have
them, so that the condition on its rows is written out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from psycopg import sql

from ecommerce.common.shop import shop

#: No time zone has ever been further from UTC.
FURTHEST = timedelta(hours=16)


def time_zone() -> ZoneInfo:
    """The shop's time zone."""
    return ZoneInfo(shop().time_zone)


def day_of(moment: datetime) -> date:
    """The shop's day of a moment."""
    return moment.astimezone(time_zone()).date()


def today() -> date:
    """The shop's day now."""
    return day_of(datetime.now(UTC))


def midnight(day: date) -> datetime:
    """The first moment of a day, in UTC."""
    return shop().midnight(day)


@dataclass(frozen=True)
class TimeColumn:
    """
    A column of Postgres that says in which day a row lies.

    :param column: SQL of its value
    :param type_name: `date`, `timestamp` or `timestamptz`; a date is the shop's day itself, and as a time its midnight
    :param zone: the time zone of a `timestamp`, which has none of its own: that of the source, in raw UTC
    """

    column: sql.Composable
    type_name: str
    zone: str

    @property
    def utc(self) -> sql.Composed:
        """SQL of the time in UTC, without a zone; of a date its first moment."""
        if self.type_name == "date":
            return self._midnight
        return sql.SQL("({} at time zone 'UTC')").format(self._instant)

    @property
    def day(self) -> sql.Composable:
        """SQL of the shop's day."""
        if self._is_local:
            return sql.SQL("{}::date").format(self.column)
        return sql.SQL("({} at time zone {})::date").format(self._instant, sql.Literal(shop().time_zone))

    def between(self, start: date, end: date) -> sql.Composed:
        """The condition that it lies in the days from the first one up to, but not including, the second."""
        if self._is_local:
            return self._at_least_and_before(self.column, start, end)
        first, last = midnight(start), midnight(end)
        if self.type_name == "timestamptz":
            return self._at_least_and_before(self.column, first, last)
        if self.zone == "UTC":
            return self._at_least_and_before(self.column, first.replace(tzinfo=None), last.replace(tzinfo=None))
        # Its clock is put back once a year, so that only the converted time decides. An index needs the bare column.
        near = self._at_least_and_before(
            self.column, (first - FURTHEST).replace(tzinfo=None), (last + FURTHEST).replace(tzinfo=None)
        )
        return sql.SQL("({} and {})").format(near, self._at_least_and_before(self._instant, first, last))

    def outside(self, start: date, end: date) -> sql.Composed:
        """The condition, for an index, that it is null, or before the first day, or on the second one or later."""
        if self._is_local:
            return self._null_or_before_or_from(self.column, start, end)
        first, last = midnight(start), midnight(end)
        if self.type_name == "timestamptz":
            return self._null_or_before_or_from(self.column, first, last)
        first_clock, last_clock = first.replace(tzinfo=None), last.replace(tzinfo=None)
        if self.zone == "UTC":
            return self._null_or_before_or_from(self.column, first_clock, last_clock)
        # As above: only the converted time decides, and an index needs the bare column.
        return sql.SQL("""
            ({column} is null
            or ({column} < {near_first} and {instant} < {first})
            or ({column} >= {near_last} and {instant} >= {last}))
        """).format(
            column=self.column,
            instant=self._instant,
            near_first=sql.Literal(first_clock + FURTHEST),
            near_last=sql.Literal(last_clock - FURTHEST),
            first=sql.Literal(first),
            last=sql.Literal(last),
        )

    def among(self, days: Collection[date]) -> sql.Composed:
        """The condition that it lies in one of these days."""
        first, end = min(days), max(days) + timedelta(days=1)
        inside = self.between(first, end)
        if len(set(days)) == (end - first).days:
            return inside
        return sql.SQL("({} and {} = any({}))").format(inside, self.day, sql.Literal(sorted(days)))

    @property
    def _is_local(self) -> bool:
        """Whether its own text begins with the shop's day."""
        return self.type_name == "date" or (self.type_name == "timestamp" and self.zone == shop().time_zone)

    @property
    def _midnight(self) -> sql.Composed:
        if shop().time_zone == "UTC":
            return sql.SQL("{}::timestamp").format(self.column)
        # Where clocks skip midnight or strike it twice, a day begins one second after the last one of the day before.
        return sql.SQL("""
            least(
                {day}::timestamp at time zone {zone} at time zone 'UTC',
                ({day} - interval '1 second') at time zone {zone} at time zone 'UTC' + interval '1 second'
            )
        """).format(day=self.column, zone=sql.Literal(shop().time_zone))

    @property
    def _instant(self) -> sql.Composable:
        if self.type_name == "timestamptz":
            return self.column
        return sql.SQL("({} at time zone {})").format(self.column, sql.Literal(self.zone))

    @staticmethod
    def _null_or_before_or_from(value: sql.Composable, start: date, end: date) -> sql.Composed:
        return sql.SQL("({value} is null or {value} < {start} or {value} >= {end})").format(
            value=value, start=sql.Literal(start), end=sql.Literal(end)
        )

    @staticmethod
    def _at_least_and_before(value: sql.Composable, start: date, end: date) -> sql.Composed:
        return sql.SQL("({value} >= {start} and {value} < {end})").format(
            value=value, start=sql.Literal(start), end=sql.Literal(end)
        )
