"""
The totals at the top of a page of figures: of the chosen days, of the month and of the quarter to date, each beside the
period before and the same period of last year.

All are compared like for like: a running month with as many days of the month before. What is not all loaded is not
compared with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from ecommerce.figures.number_formats import Format, format_number, short_money, signed
from shop_pages.absent_sources import absences
from shop_pages.figures import FigurePage, Totals
from shop_pages.filters import Filters
from shop_pages.formats import day
from shop_pages.pool import NotBuiltYet, Row, WarehouseUnavailable
from shop_pages.queries import Rows, Warehouse

#: Of last year are the same weekdays: 52 weeks before.
_YEAR = timedelta(days=364)
#: Measures of which more is no gain.
_BETTER_FEWER = frozenset({"refunded_amount", "days_stocked_out", "lost_units", "orders", "urgent", "expected_loss"})
#: Measures that ask whether a customer has ordered before. In the first loaded days most customers seem new, since what
#: they ordered before is not loaded: a later period would always seem to win fewer.
_BY_FIRST_ORDER = frozenset({"new_customers", "new_customer_revenue", "returning_customer_revenue"})
#: From so many days after the first loaded one, a customer without an order before is taken for new.
_DAYS_UNTIL_NEW_IS_KNOWN = 365
CHOSEN, MONTH, QUARTER = "Chosen days", "Month to date", "Quarter to date"


@dataclass(frozen=True)
class Period:
    """A range of days, both included, and what it is compared with; None where that is not all loaded."""

    name: str
    first: date
    last: date
    before: tuple[date, date] | None
    year_before: tuple[date, date] | None

    @property
    def ranges(self) -> dict[str, tuple[date, date]]:
        """The ranges to be read, by name."""
        ranges = {"": (self.first, self.last), " before": self.before, " year before": self.year_before}
        return {f"{self.name}{name}": found for name, found in ranges.items() if found}


@dataclass(frozen=True)
class Comparison:
    """A total beside that of an earlier period; `text` says why there is none where there is none."""

    label: str
    text: str
    detail: str
    direction: str  # up, down, same, none
    tone: str = "none"  # up: as a shop wishes; down: not so


@dataclass(frozen=True)
class PeriodTotal:
    """A measure of a period with its comparisons."""

    period: Period
    value: str
    exact: str
    comparisons: Sequence[Comparison]


@dataclass(frozen=True)
class MeasureTotals:
    """A measure in all periods, the chosen days first."""

    label: str
    is_money: bool
    periods: Sequence[PeriodTotal]


@dataclass(frozen=True)
class PageTotals:
    """
    What stands at the top of a page.

    :param first_loaded: the first day of which anything is loaded
    :param problem: why it could not be read
    """

    totals: Totals
    periods: Sequence[Period]
    rows: Rows | None
    first_loaded: date
    problem: str = ""

    @property
    def measures(self) -> list[MeasureTotals]:
        """The measures that the shop has a source for."""
        if self.rows is None:
            return []
        by_range = {row["name"]: row for row in self.rows.rows}
        absent = absences()
        return [
            MeasureTotals(
                measure.label,
                measure.format is Format.MONEY,
                [_total(measure.name, measure.format, period, by_range, self.first_loaded) for period in self.periods],
            )
            for measure in self.totals.measures
            if measure.source not in absent
        ]


def periods_of(filters: Filters, *, are_of_months: bool = False) -> list[Period]:
    """
    The chosen days, and the month and the quarter up to their last one.

    :param are_of_months: whole months instead of the chosen days, since nothing is known of days
    """
    # Days after the as-of date are not loaded: no comparison has as many.
    filters = replace(filters, last=max(filters.first, min(filters.last, filters.covered_last)))
    first, last, month = filters.first, filters.last, filters.last.replace(day=1)
    if are_of_months:
        first = first.replace(day=1)
        months = (month.year - first.year) * 12 + month.month - first.month + 1
        before = _months_before(first, months), first - timedelta(days=1)
        year_before = _months_before(first, 12), _months_before(month, 11) - timedelta(days=1)
    else:
        length = last - first + timedelta(days=1)
        before = first - length, first - timedelta(days=1)
        year_before = first - _YEAR, last - _YEAR
    chosen = Period(CHOSEN, first, last, _loaded(filters, *before), _loaded(filters, *year_before))
    quarter = _months_before(month, (month.month - 1) % 3)
    return [
        chosen,
        _to_date(filters, MONTH, month, 1, are_of_months=are_of_months),
        _to_date(filters, QUARTER, quarter, 3, are_of_months=are_of_months),
    ]


def _to_date(filters: Filters, name: str, first: date, months: int, *, are_of_months: bool) -> Period:
    """
    From the first day of a month or a quarter to the last chosen day, beside as many days of earlier ones.

    A whole month or quarter is compared with a whole one, as in `revenue_trend`.
    """
    elapsed = (filters.last - first).days
    is_whole = filters.last == _months_before(first, -months) - timedelta(days=1)

    def same_days(start: date) -> tuple[date, date] | None:
        period_end = _months_before(start, -months) - timedelta(days=1)
        end = period_end if is_whole else min(start + timedelta(days=elapsed), period_end)
        if are_of_months:
            # Known at the ends of months only.
            end = _months_before(end.replace(day=1), -1) - timedelta(days=1)
        return _loaded(filters, start, end)

    return Period(
        name, first, filters.last, same_days(_months_before(first, months)), same_days(_months_before(first, 12))
    )


def _months_before(first: date, months: int) -> date:
    """The first day of the month so many months before that of ``first``."""
    number = first.year * 12 + first.month - 1 - months
    return date(number // 12, number % 12 + 1, 1)


def _loaded(filters: Filters, first: date, last: date) -> tuple[date, date] | None:
    are_loaded = filters.covered_first <= first and max(last, filters.last) <= filters.covered_last
    return (first, last) if are_loaded else None


async def read_totals(reader: Warehouse, page: FigurePage, filters: Filters) -> PageTotals | None:
    """The totals of a page for its filters; None for a page without any."""
    if page.totals is None:
        return None
    periods = periods_of(filters, are_of_months=page.totals.are_of_months)
    ranges = [
        {"name": name, "first": str(first), "last": str(last)}
        for period in periods
        for name, (first, last) in period.ranges.items()
    ]
    try:
        rows = await reader.rows(page.totals.query, ranges=json.dumps(ranges))
    except NotBuiltYet:
        return None
    except WarehouseUnavailable as error:
        return PageTotals(page.totals, periods, None, filters.covered_first, str(error))
    return PageTotals(page.totals, periods, rows, filters.covered_first)


def _total(
    name: str, value_format: Format, period: Period, by_range: Mapping[str, Row], first_loaded: date
) -> PeriodTotal:
    value = by_range[period.name][name]
    return PeriodTotal(
        period,
        short_money(value) if value_format is Format.MONEY else format_number(value, value_format),
        format_number(value, value_format),
        [
            _new_is_not_known(label)
            if days and name in _BY_FIRST_ORDER and (days[0] - first_loaded).days < _DAYS_UNTIL_NEW_IS_KNOWN
            else _compare(name, label, value, days, by_range.get(f"{period.name} {key}", {}).get(name), value_format)
            for label, key, days in (
                ("period before", "before", period.before),
                ("last year", "year before", period.year_before),
            )
        ],
    )


def _new_is_not_known(label: str) -> Comparison:
    return Comparison(
        label,
        "no comparison",
        "In the first year that is loaded most customers seem new: what they ordered before is not loaded.",
        "none",
    )


def _compare(
    name: str,
    label: str,
    value: Decimal | None,
    days: tuple[date, date] | None,
    before: Decimal | None,
    value_format: Format,
) -> Comparison:
    if days is None:
        return Comparison(label, "not loaded", "These days are not all loaded.", "none")
    detail = f"{day(days[0])} to {day(days[1])}: {format_number(before, value_format)}"
    if value is None or not before:
        return Comparison(label, "no comparison", detail, "none")
    percent = 100 * (Decimal(value) - Decimal(before)) / abs(Decimal(before))
    direction = "same" if not percent else "up" if percent > 0 else "down"
    tone = {"up": "down", "down": "up"}.get(direction, direction) if name in _BETTER_FEWER else direction
    return Comparison(label, f"{signed(percent, Format.NUMBER)[:1]}{abs(percent):,.1f} %", detail, direction, tone)
