"""How old the last day of the data is: another age than that of the publication, which may be new and of old data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from ecommerce.common.days import day_of
from shop_pages.limits import OLD_DATA_DAYS


@dataclass(frozen=True)
class DataAge:
    """
    The age of the last day of the data.

    :param is_old: a daily run would have brought later days
    """

    text: str
    is_old: bool


def data_age(last_day: date, now: datetime) -> DataAge:
    """The age of a day at ``now``, by the shop's days."""
    days = (day_of(now) - last_day).days
    if days <= 0:
        return DataAge("today, not complete yet", is_old=False)
    return DataAge("yesterday" if days == 1 else f"{days:,} days ago", is_old=days > OLD_DATA_DAYS)
