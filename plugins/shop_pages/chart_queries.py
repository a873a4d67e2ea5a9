"""
SQL for charts: Postgres adds up what a chart draws, so that a chart is whole however many rows there are.

Two things can be too many to draw. Points of time: days become weeks, months or years (`by_period`). Names: all but the
largest become one series, "Other", whose values are the sums of the rest (`largest_and_other`). Only columns that may
be added up are; averages and shares are computed from their parts afterwards (``computed``), or only the largest names
are drawn (`largest`).

Beside the values, a row has what the line below the chart tells: `unit`, `is_complete`, `is_running`, `series_count`,
`is_other`, `ranked_count`, `rest`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shop_pages.limits import CHART_POINTS, CHART_SERIES, RANKED_BARS


@dataclass(frozen=True)
class Units:
    """
    The units of time that a chart can be drawn by.

    :param days: unit → days of the longest range that is drawn by it. A longer one is drawn by the next unit, at last
        by years
    :param covered: SQL of the first and the last day of the range: a period with another day is not complete
    """

    days: Mapping[str, int]
    covered: tuple[str, str]


_IN_RANGE = ("greatest(%(first)s::date, %(covered_first)s::date)", "least(%(last)s::date, %(covered_last)s::date)")
#: Rows by day are those of the chosen days; rows by month are of whole months.
DAYS = Units({"day": CHART_POINTS, "week": 7 * CHART_POINTS, "month": 30 * CHART_POINTS}, _IN_RANGE)
WEEKS = Units({"week": 7 * CHART_POINTS, "month": 30 * CHART_POINTS}, _IN_RANGE)
MONTHS = Units({"month": 30 * 120, "quarter": 91 * 120}, ("%(covered_first)s::date", "%(covered_last)s::date"))


def by_period(
    rows: str,
    *,
    time: str,
    units: Units,
    values: Mapping[str, str],
    by: str | None = None,
    largest_by: str = "",
    computed: Mapping[str, str] | None = None,
) -> str:
    """
    The rows by day, week, month, quarter or year, whichever the length of their range allows.

    A period is complete if each of its days is covered; any other is drawn as such.

    :param rows: a query
    :param time: its column with the day, or the first day of the month
    :param values: column of the result → SQL of its aggregate in a period, such as `sum(revenue)`
    :param by: the column with the series, of which all but the largest are added up
    :param largest_by: the value by which series are large
    :param computed: further columns → SQL over the values, such as a share
    """
    unit = " ".join(f"when max({time}) - min({time}) < {days} then '{unit}'" for unit, days in units.days.items())
    aggregates = ", ".join(f"{aggregate} as {name}" for name, aggregate in values.items())
    series = f", chart_rows.{by}" if by else ""
    periods = f"""
        with chart_rows as (
            {rows}
        ),
        units as (
            select case {unit} else 'year' end as unit
            from chart_rows
        )
        select date_trunc(units.unit, chart_rows.{time}::timestamp)::date as period, units.unit{series}, {aggregates}
        from chart_rows
        cross join units
        group by 1, 2{", 3" if by else ""}"""
    if by:
        periods = largest_and_other(periods, by=by, largest_by=largest_by, values=list(values), keys=("period", "unit"))
    more = "".join(f", {expression} as {name}" for name, expression in (computed or {}).items())
    first, last = units.covered
    next_period = "(period + case unit when 'quarter' then interval '3 months' else ('1 ' || unit)::interval end)::date"
    return f"""
        select
            *{more}, period >= {first} and {next_period} - 1 <= {last} as is_complete,
            period <= %(covered_last)s::date and {next_period} - 1 > %(covered_last)s::date as is_running
        from ({periods}) as periods
        order by period"""


def largest_and_other(rows: str, *, by: str, largest_by: str, values: Sequence[str], keys: Sequence[str] = ()) -> str:
    """
    The rows of the largest series as they are, and those of all others added up.

    :param rows: a query with one row for each series and key
    :param by: the column with the series; null in the rows of the others, which have `is_other`
    :param largest_by: the value by whose total a series is large
    :param values: the columns that are added up
    :param keys: the other columns
    """
    kept = "".join(f"{key}, " for key in keys)
    sums = ", ".join(f"sum({value}) as {value}" for value in values)
    # One more than the largest is no "Other": that would stand for a single series.
    is_other = f"series_count > {CHART_SERIES + 1} and place > {CHART_SERIES}"
    return f"""
        {_places(rows, by=by, largest_by=largest_by)},
        counted as (
            select *, max(place) over () as series_count
            from places
        ),
        named as (
            select *, {is_other} as is_other
            from counted
        )
        select {kept}case when not is_other then {by} end as {by}, is_other, series_count, {sums}
        from named
        group by {", ".join(str(n + 1) for n in range(len(keys) + 3))}
        order by is_other, sum(series_total) desc, {", ".join(str(n + 1) for n in range(len(keys) + 1))}"""


def largest(rows: str, *, by: str, largest_by: str) -> str:
    """
    The rows of the largest series, with the number of all series: for values that cannot be added up to "Other".

    :param rows: a query
    :param by: the column with the series
    :param largest_by: the value by whose total a series is large
    """
    return f"""
        {_places(rows, by=by, largest_by=largest_by)},
        counted as (
            select *, max(place) over () as ranked_count
            from places
        )
        select * from counted
        where place <= {RANKED_BARS}
        order by place"""


def _places(rows: str, *, by: str, largest_by: str) -> str:
    """The common table expression `places`: the rows with the place of their series, the largest first."""
    return f"""with totals as (
            select *, sum({largest_by}) over (partition by {by}) as series_total
            from ({rows}) as grouped
        ),
        places as (
            select *, dense_rank() over (order by series_total desc nulls last, {by}) as place
            from totals
        )"""


def ranking(rows: str, *, order_by: str, total_of: str | None = None) -> str:
    """
    The first rows of a ranking, with the number of all and the total of those that are left out.

    :param rows: a query
    :param total_of: the column that is ranked, if it may be added up
    """
    total = f", sum({total_of}) as total" if total_of else ""
    rest = f", counted.total - sum(first.{total_of}) over () as rest" if total_of else ""
    # Only the first are sorted: of a shop's products there may be a hundred thousand.
    return f"""
        with ranked as materialized (
            {rows}
        ),
        first as (
            select * from ranked
            order by {order_by}
            limit {RANKED_BARS}
        ),
        counted as (
            select count(*) as ranked_count{total}
            from ranked
        )
        select first.*, counted.ranked_count{rest}
        from first
        cross join counted
        order by {order_by}"""
