"""
The key figures of a day: how each is read, computed, compared with earlier days and written.

The queries take rows of `marts`; only `SUBSCRIPTIONS_BY_DAY` reads `core`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from ecommerce.common.shop import shop
from ecommerce.figures.number_formats import NO_VALUE, Format, format_number, short_money
from ecommerce.figures.number_formats import day as format_day

Row = dict[str, Any]

#: The row of all plans, beside those of the plans.
ALL_PLANS = "All plans"
#: Days of the small picture beside a figure.
SPARKLINE_DAYS = 30
#: Days back from the as-of date that are read: more than the 52 weeks of the longest comparison.
DAYS_BACK = 370
#: Days between a day and the one that it is compared with. A year before is the same weekday 52 weeks before, as in the
#: marts: the calendar's day of last year would compare a Sunday with a Saturday.
COMPARED_DAYS = {"day before": 1, "week before": 7, "year before": 52 * 7}

SALES = f"""
    select
        order_date as day, daily_revenue, refunded_amount, net_revenue, daily_orders, guest_orders,
        gross_margin_percent, known_cost_percent
    from marts.daily_revenue
    where order_date > (select max(order_date) from marts.daily_revenue) - {DAYS_BACK}
    order by order_date"""

CONVERSION = f"""
    select event_date as day, viewers, buyers
    from marts.conversion_funnel_daily
    where event_date > (select max(order_date) from marts.daily_revenue) - {DAYS_BACK}
    order by event_date"""

#: The closing values of the last month, which ends on the as-of date.
SUBSCRIPTIONS = f"""
    select revenue_month, sum(active_subscriptions) as active_subscriptions, sum(closing_mrr) as mrr
    from marts.subscription_performance_monthly
    where
        revenue_month = (select max(revenue_month) from marts.subscription_performance_monthly)
        and plan_type is distinct from '{ALL_PLANS}'
    group by revenue_month"""

#: By day, since the mart has months only: a subscription is active from its start to the day before its end, each day
#: with the fee that was known then.
SUBSCRIPTIONS_BY_DAY = f"""
    with subscriptions as (
        select subscription_id, start_date, end_date from core.fact_subscriptions
        where end_date is null or end_date > start_date
    ),
    fees as (
        select
            greatest(start_date, valid_from) as first_day, least(end_date, valid_to) as end_day, monthly_fee
        from subscriptions
        inner join core.int_subscription_fees using (subscription_id)
    ),
    changes as (
        select start_date as day, 1 as subscriptions, 0 as fee from subscriptions
        union all
        select end_date, -1, 0 from subscriptions where end_date is not null
        union all
        select first_day, 0, monthly_fee from fees where first_day < end_day
        union all
        select end_day, 0, -monthly_fee from fees where first_day < end_day and end_day < 'infinity'
    ),
    days as (
        select day, sum(subscriptions) as subscriptions, sum(fee) as fee
        from changes
        group by day
    )
    select *
    from (
        select
            day, sum(subscriptions) over (order by day) as active_subscriptions, sum(fee) over (order by day) as mrr
        from days
    ) as totals
    where day <= (select max(order_date) from marts.daily_revenue)
    order by day desc
    -- The days that are compared, and the last change before them.
    limit {DAYS_BACK + 1}"""

ATTENTION = """
    select
        (select count(*) from marts.order_for_reviews
         where order_date > %(as_of)s::date - 30 and review_status = 'open') as reviews,
        (select count(*) from marts.order_for_reviews
         where
            order_date > %(as_of)s::date - 30 and review_status = 'open'
            and review_priority = 'High') as urgent_reviews,
        (select count(*) from marts.inventory_status
         where suggested_order_quantity > 0) as reorders,
        (select count(*) from marts.inventory_status
         where product_status = 'Out of Stock') as sold_out"""


@dataclass(frozen=True)
class Change:
    """
    A comparison with an earlier day: the value of that day, and the difference.

    :param text: the difference; where there is none, why in few words
    :param reason: the same in a sentence; empty for a difference
    """

    label: str
    day: date
    before: str
    text: str
    direction: str  # up, down, same, none
    reason: str = ""


@dataclass(frozen=True)
class KeyFigure:
    """
    How a key figure is computed from the row of a day, formatted and compared.

    :param note_of: the note beside it, from the same row; None for nothing
    """

    name: str
    title: str
    value_of: Callable[[Row], Decimal | None]
    link: str
    subjects: tuple[str, ...]
    format: Format = Format.COUNT
    is_share: bool = False
    note_of: Callable[[Row], str | None] = lambda row: None


def _note_of_refunds(row: Row) -> str | None:
    """`20.00 refunded on this day · net 980.00`; None if the shop has no refunds."""
    if "refund" in shop().absent:
        return None
    refunded, net = (format_number(row[name], Format.MONEY) for name in ("refunded_amount", "net_revenue"))
    return f"{refunded} refunded on this day · net {net}"


def _note_of_guests(row: Row) -> str | None:
    """`3 by guests (25.00 %)`; None without guests."""
    if not row["guest_orders"]:
        return None
    share = format_number(_ratio(row["guest_orders"], row["daily_orders"], 100), Format.PERCENT)
    return f"{row['guest_orders']:,} by guests ({share})"


def _note_of_costs(row: Row) -> str | None:
    """How much of the day's revenue the margin is of; None if the cost of all of it is known."""
    known = row["known_cost_percent"]
    if known is None or known >= 100:
        return None
    if not known:
        return "No cost of what was sold on this day is known"
    return f"Of the {format_number(known, Format.PERCENT)} of the day’s revenue whose cost is known"


def _ratio(part: Any, whole: Any, factor: int = 1) -> Decimal | None:
    if part is None or not whole:
        return None
    return Decimal(part) * factor / Decimal(whole)


SALES_FIGURES = (
    KeyFigure("revenue", "Revenue", lambda row: row["daily_revenue"], "/revenue#trend",
             ("sales_fact", "fact_sales", "daily_revenue"), Format.MONEY, note_of=_note_of_refunds),
    KeyFigure("orders", "Orders", lambda row: row["daily_orders"], "/revenue#trend",
             ("sales_fact", "fact_sales", "daily_revenue"), note_of=_note_of_guests),
    KeyFigure("average_order_value", "Average order value",
             lambda row: _ratio(row["daily_revenue"], row["daily_orders"]), "/revenue#trend",
             ("sales_fact", "fact_sales", "daily_revenue"), Format.MONEY),
    KeyFigure("gross_margin", "Gross margin", lambda row: row["gross_margin_percent"], "/revenue#trend",
             ("sales_fact", "fact_sales", "daily_revenue", "product_category"), Format.PERCENT, is_share=True,
             note_of=_note_of_costs),
)  # fmt: skip
SUBSCRIPTION_FIGURES = (
    KeyFigure("subscriptions", "Active subscriptions", lambda row: row["active_subscriptions"],
             "/subscriptions#subscriptions",
             ("subscription_data", "fact_subscriptions", "subscription_performance_monthly")),
    KeyFigure("mrr", "Monthly recurring revenue", lambda row: row["mrr"], "/subscriptions#subscriptions",
             ("subscription_data", "fact_subscriptions", "subscription_performance_monthly"), Format.MONEY),
)  # fmt: skip
CONVERSION_FIGURE = KeyFigure(
    "conversion", "Conversion", lambda row: _ratio(row["buyers"], row["viewers"], 100), "/customers#conversion",
    ("kafka_stream", "fact_customer_events", "conversion_funnel_daily"), Format.PERCENT, is_share=True,
)  # fmt: skip


ALL_FIGURES = {figure.name: figure for figure in (*SALES_FIGURES, *SUBSCRIPTION_FIGURES, CONVERSION_FIGURE)}


def shown_figures() -> dict[str, KeyFigure]:
    """The figures whose sources the shop has; without its source, a figure would be empty for ever."""
    return {name: figure for name, figure in ALL_FIGURES.items() if all(map(shop().fills, figure.subjects))}


@dataclass(frozen=True)
class FigureOfDay:
    """
    A key figure on the as-of date.

    :param note: what a reader must know beside the value; empty for nothing
    :param history: the values of the last `SPARKLINE_DAYS` days
    """

    figure: KeyFigure
    as_of: date
    value: Decimal | None
    note: str
    changes: Sequence[Change]
    history: Sequence[Decimal | None]

    @property
    def exact(self) -> str:
        """The value with all its digits."""
        return format_number(rounded(self.value), self.figure.format)

    @property
    def headline(self) -> str:
        """The value as short as a headline has it."""
        return short_money(self.value) if self.figure.format is Format.MONEY else self.exact

    @property
    def history_text(self) -> str:
        """The values of the last days in a sentence, for a screen reader."""
        return describe(self.history, self.figure.format)


def rows_of_figures(
    as_of: date, sales: list[Row], conversion: list[Row], closing: list[Row], subscriptions: list[Row]
) -> Iterator[tuple[KeyFigure, Mapping[date, Row]]]:
    """
    Each figure of the shop with its rows by day.

    :param sales: of `SALES`; the others of `CONVERSION`, `SUBSCRIPTIONS` and `SUBSCRIPTIONS_BY_DAY`
    """
    subscriptions_by_day = fill_days(subscriptions, as_of)
    if closing:
        # The published value is shown; the values computed by day only serve the comparison.
        subscriptions_by_day[as_of] = closing[0]
    shown = shown_figures()
    for figures, rows_by_day in (
        (SALES_FIGURES, {row["day"]: row for row in sales}),
        (SUBSCRIPTION_FIGURES, subscriptions_by_day),
        ((CONVERSION_FIGURE,), {row["day"]: row for row in conversion}),
    ):
        for figure in figures:
            if figure.name in shown:
                yield figure, rows_by_day


def figure_of_day(
    figure: KeyFigure, rows_by_day: Mapping[date, Row], as_of: date, covered_first: date | None
) -> FigureOfDay:
    """
    A figure on the as-of date, compared with earlier days.

    :param covered_first: the first loaded day; what is earlier is not compared with. None if it is not known
    """

    def is_covered(day: date) -> bool:
        return covered_first is None or day >= covered_first

    def value_on(day: date) -> Decimal | None:
        row = rows_by_day.get(day) if is_covered(day) else None
        value = figure.value_of(row) if row is not None else None
        return None if value is None else Decimal(value)

    value = value_on(as_of)
    earlier_days = {label: as_of - timedelta(days=days) for label, days in COMPARED_DAYS.items()}
    return FigureOfDay(
        figure=figure,
        as_of=as_of,
        value=value,
        note=(figure.note_of(rows_by_day[as_of]) if as_of in rows_by_day else None) or "",
        changes=[
            change_between(figure, label, day, value, value_on(day))
            if is_covered(day)
            else _no_change(label, day, "not loaded", f"{format_day(day)} was not loaded.")
            for label, day in earlier_days.items()
        ],
        history=[value_on(as_of - timedelta(days=n)) for n in range(SPARKLINE_DAYS - 1, -1, -1)],
    )


def fill_days(rows: list[Row], as_of: date) -> dict[date, Row]:
    """Rows of the days with a change, newest first → a row for each day back from the as-of date."""
    rows_by_day: dict[date, Row] = {}
    newest_first = iter(rows)
    row = next(newest_first, None)
    for n in range(DAYS_BACK):
        day = as_of - timedelta(days=n)
        while row is not None and row["day"] > day:
            row = next(newest_first, None)
        if row is None:
            break
        rows_by_day[day] = row
    return rows_by_day


def describe(history: Sequence[Decimal | None], value_format: Format) -> str:
    """The sparkline as a text, for a screen reader."""
    known = [value for value in history if value is not None]
    if not known:
        return "No earlier days"
    low, high = (format_number(rounded(value), value_format) for value in (min(known), max(known)))
    return f"Last {SPARKLINE_DAYS} days: from {low} to {high}"


def change_between(figure: KeyFigure, label: str, day: date, value: Decimal | None, before: Decimal | None) -> Change:
    """The comparison of two values of a figure; of a share in percentage points, else in percent."""
    before_text = format_number(rounded(before), figure.format)
    if value is None:
        return _no_change(label, day, "no value", f"{figure.title} has no value on the last day.", before_text)
    if before is None:
        return _no_change(label, day, "no value then", f"{figure.title} has no value on {format_day(day)}.")
    if figure.is_share:
        difference, text = _difference(value - before, 2, "pp")
    elif before or not value:
        difference, text = _difference((value - before) * 100 / (abs(before) or 1), 1, "%")
    else:  # from nothing to something: no percentage
        return _no_change(label, day, "was 0", f"{figure.title} was 0 on {format_day(day)}.", before_text)
    direction = "up" if difference > 0 else "down" if difference < 0 else "same"
    return Change(label, day, before_text, text, direction)


def _no_change(label: str, day: date, text: str, reason: str, before: str = NO_VALUE) -> Change:
    return Change(label, day, before, text, "none", reason)


def _difference(value: Decimal, decimals: int, unit: str) -> tuple[Decimal, str]:
    """A difference, rounded, and its text: `+1.2 %`, `−0.50 pp`, `±0.0 %`."""
    shown = _to_places(value, decimals)
    sign = "+" if shown > 0 else "−" if shown < 0 else "±"
    return shown, f"{sign}{abs(shown):,.{decimals}f} {unit}"


def rounded(value: Decimal | None, places: int = 2) -> Decimal | None:
    """A value to the cent, rounded as Postgres does: half away from 0. `round` takes a half to the even digit."""
    return None if value is None else _to_places(value, places)


def _to_places(value: Decimal, places: int) -> Decimal:
    return Decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
