"""
Times of MySQL in the shop's days, as SQL.

Time zones are written out as offsets: most servers have none of the tables that name them. A time that the clock gave
twice is the later one, and one that it skipped is counted from before, as Postgres does.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from pymysql.constants import FIELD_TYPE

from ecommerce.common.days import FURTHEST, midnight
from ecommerce.common.shop import shop
from ecommerce.common.windows import Window
from ecommerce.extract.mysql_connection import name

#: From when on (None: always) an offset holds, in order.
_Offsets = Sequence[tuple[datetime | None, timedelta]]

_DAY = timedelta(days=1)
#: No clock is changed, and changed back, within less.
_STEP = timedelta(days=7)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class MySQLTime:
    """
    A column with a date or a time; a date is the shop's day itself, and as a time its midnight.

    :param column: as the source spells it
    :param type_code: MySQL's number of the type: a `timestamp` is an instant, a `datetime` is of the source's time zone
    :param window: the days in which its times lie
    """

    column: str
    type_code: int
    window: Window

    @property
    def utc(self) -> str:
        """SQL of the time in UTC; of a date its first moment."""
        value = name(self.column)
        if self._is_date:
            return self._midnight
        return value if self._zone == "UTC" else _shifted(value, self._to_utc)

    @property
    def day(self) -> str:
        """SQL of the shop's day."""
        if self._is_local:
            return f"date({name(self.column)})"
        return f"date({_shifted(self.utc, self._from_utc)})"

    def between(self, start: date, end: date) -> str:
        """The condition that it lies in the days from the first one up to, but not including, the second."""
        value = name(self.column)
        if self._is_local:
            return _between(value, start, end)
        first, last = (midnight(day).replace(tzinfo=None) for day in (start, end))
        if self._zone == "UTC":
            return _between(value, first, last)
        # Its clock is put back once a year, so that only the converted time decides. An index needs the bare column.
        return f"({_between(value, first - FURTHEST, last + FURTHEST)} and {_between(self.utc, first, last)})"

    def outside(self, start: date, end: date) -> str:
        """The condition, for an index, that it is null, or before the first day, or on the second one or later."""
        value = name(self.column)
        if self._is_local:
            return f"({value} is null or {value} < '{start}' or {value} >= '{end}')"
        first, last = (midnight(day).replace(tzinfo=None) for day in (start, end))
        if self._zone == "UTC":
            return f"({value} is null or {value} < '{first}' or {value} >= '{last}')"
        # As above. A zero date cannot be converted, and is before any other.
        return (
            f"({value} is null or {value} < '{first - FURTHEST}'"
            f" or ({value} < '{first + FURTHEST}' and {self.utc} < '{first}')"
            f" or ({value} >= '{last - FURTHEST}' and {self.utc} >= '{last}'))"
        )

    def among(self, days: Collection[date]) -> str:
        """The condition that it lies in one of these days."""
        first, end = min(days), max(days) + _DAY
        inside = self.between(first, end)
        if len(set(days)) == (end - first).days:
            return inside
        return f"({inside} and {self.day} in ({', '.join(repr(str(day)) for day in sorted(days))}))"

    @property
    def _midnight(self) -> str:
        day = f"cast({name(self.column)} as datetime)"
        if shop().time_zone == "UTC":
            return day
        # Where clocks skip midnight or strike it twice, a day begins one second after the last one of the day before.
        second_before = _shifted(f"({day} - interval 1 second)", self._to_utc)
        return f"least({_shifted(day, self._to_utc)}, {second_before} + interval 1 second)"

    @property
    def _from_utc(self) -> _Offsets:
        return self._offsets(shop().time_zone)

    @property
    def _to_utc(self) -> _Offsets:
        """What is added to a time of the source; each holds from what the clock shows after the change."""
        return [(moment and moment + offset, -offset) for moment, offset in self._offsets(self._zone)]

    def _offsets(self, zone: str) -> _Offsets:
        """The offsets of a time zone around the window."""
        begin, end = (moment.replace(tzinfo=None) for moment in self.window.moments)
        return _changes(zone, begin - 2 * FURTHEST, end + 2 * FURTHEST)

    @property
    def _zone(self) -> str:
        """The time zone of its text: sessions are in UTC."""
        if self._is_date:
            return shop().time_zone
        return shop().source_time_zone if self.type_code == FIELD_TYPE.DATETIME else "UTC"

    @property
    def _is_local(self) -> bool:
        """Whether its own text begins with the shop's day."""
        return self._zone == shop().time_zone

    @property
    def _is_date(self) -> bool:
        return self.type_code in (FIELD_TYPE.DATE, FIELD_TYPE.NEWDATE)


def _shifted(value: str, offsets: _Offsets) -> str:
    """SQL of a time with the offset added that holds at it."""
    if len(offsets) == 1:
        return f"({value} + interval {offsets[0][1] // _SECOND} second)"
    # As a tree: a century has two hundred offsets.
    middle = len(offsets) // 2
    before, after = (_shifted(value, half) for half in (offsets[:middle], offsets[middle:]))
    return f"(case when {value} < '{offsets[middle][0]}' then {before} else {after} end)"


def _between(value: str, start: date, end: date) -> str:
    return f"({value} >= '{start}' and {value} < '{end}')"


@lru_cache(maxsize=8)
def _changes(name: str, begin: datetime, end: datetime) -> _Offsets:
    """When the offset of a time zone from UTC changes between two times in UTC, and to what; first the one before."""
    zone = ZoneInfo(name)
    changes: list[tuple[datetime | None, timedelta]] = [(None, _offset(zone, begin))]
    while begin < end:
        if (after := _offset(zone, begin + _STEP)) != changes[-1][1]:
            changes.append((_first_second(zone, begin, after), after))
        begin += _STEP
    return changes


def _first_second(zone: ZoneInfo, begin: datetime, offset: timedelta) -> datetime:
    """The second of a step from which on an offset holds, which holds at its end."""
    low, high = 0, _STEP // _SECOND
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _offset(zone, begin + middle * _SECOND) == offset else (middle, high)
    return begin + high * _SECOND


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    """The offset at a time in UTC."""
    return moment.replace(tzinfo=UTC).astimezone(zone).utcoffset() or timedelta()
