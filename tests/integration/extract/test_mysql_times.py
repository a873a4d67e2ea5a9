"""Times of MySQL in the shop's days: the same as Python's, in each time zone of the shop and of its server."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pymysql
import pytest
from pymysql.constants import FIELD_TYPE

from ecommerce.common.days import day_of, midnight
from ecommerce.common.windows import Window
from ecommerce.extract.mysql_times import MySQLTime
from tests.integration.sql.test_shop_days import MOMENTS
from tests.integration.support import set_shop
from tests.unit.common.test_days import ZONES

pytestmark = pytest.mark.slow

WINDOW = Window.of_days(date(2011, 12, 1), date(2024, 12, 31))


def in_utc(naive: datetime, zone: str) -> datetime:
    """A time of a time zone: one that the clock gave twice is the later, a skipped one is counted from before."""
    first, second = (naive.replace(tzinfo=ZoneInfo(zone), fold=fold) for fold in (0, 1))
    is_twice = (first.utcoffset() or 0) > (second.utcoffset() or 0)  # type: ignore[operator]
    return (second if is_twice else first).astimezone(UTC)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("source_zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_time_without_zone_lies_in_the_shops_day(
    shop_in_mysql: pymysql.Connection, zone: str, source_zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_shop(monkeypatch, settings={"time_zone": zone, "source_time_zone": source_zone})
    naive, instant = (
        MySQLTime(column, code, WINDOW)
        for column, code in (("naive", FIELD_TYPE.DATETIME), ("instant", FIELD_TYPE.TIMESTAMP))
    )
    with shop_in_mysql.cursor() as cursor:
        cursor.execute(
            "create table times (naive datetime primary key, instant timestamp not null default '2024-01-01')"
        )
        cursor.executemany("insert into times values (%s, %s)", [(moment, moment) for moment in MOMENTS])
        cursor.execute(f"select naive, {naive.utc}, {naive.day}, instant, {instant.day} from times")
        rows = cursor.fetchall()
        assert len(rows) == len(MOMENTS)
        for at, utc, day, moment, day_of_instant in rows:
            assert utc == in_utc(at, source_zone).replace(tzinfo=None)
            assert day == day_of(in_utc(at, source_zone))
            assert day_of_instant == day_of(moment.replace(tzinfo=UTC))
        for column in (naive, instant):
            cursor.execute(f"select distinct {column.day} from times")
            days = sorted(day for (day,) in cursor.fetchall())
            for chosen in [*([day] for day in days), days[::2]]:
                cursor.execute(f"select distinct {column.day} from times where {column.among(chosen)} order by 1")
                assert [day for (day,) in cursor.fetchall()] == chosen


@pytest.mark.parametrize("zone", ZONES)
def test_date_as_a_time_is_the_shops_midnight(
    shop_in_mysql: pymysql.Connection, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_shop(monkeypatch, settings={"time_zone": zone, "source_time_zone": "Asia/Kolkata"})
    days = sorted({day_of(moment.replace(tzinfo=UTC)) for moment in MOMENTS})
    time = MySQLTime("day", FIELD_TYPE.DATE, WINDOW)
    with shop_in_mysql.cursor() as cursor:
        cursor.execute("create table days (day date primary key)")
        cursor.executemany("insert into days values (%s)", days)
        cursor.execute(f"select day, {time.utc}, {time.day} from days order by day")
        assert list(cursor.fetchall()) == [(day, midnight(day).replace(tzinfo=None), day) for day in days]
        cursor.execute(f"select day from days where {time.among(days[1::2])} order by day")
        assert [day for (day,) in cursor.fetchall()] == days[1::2]
