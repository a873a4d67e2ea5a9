"""The page Today: key figures of the last day, how well they are checked, and what needs attention."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from ecommerce.common.open_questions import OPEN_QUESTIONS
from ecommerce.common.shop import shop
from shop_pages.absent_sources import absence_of_source, absent_in_words
from shop_pages.covered_days import first_covered_date, read_covered_days
from shop_pages.data_age import DataAge, data_age
from shop_pages.formats import NO_VALUE, Format, ago, count, format_value, short_money
from shop_pages.formats import day as format_day
from shop_pages.pages.shared import ALL_PLANS
from shop_pages.pool import Row, WarehouseUnavailable
from shop_pages.queries import Rows, Warehouse
from shop_pages.waiting import WaitingQuestion, waiting_questions

SPARKLINE_DAYS = 30
#: Days back from the as-of date that are read: more than the 52 weeks of the longest comparison.
_DAYS_BACK = 370
#: Days between a day and the one that it is compared with. A year before is the same weekday 52 weeks before, as in the
#: marts: the calendar's day of last year would compare a Sunday with a Saturday.
_COMPARED_DAYS = {"day before": 1, "week before": 7, "year before": 52 * 7}
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

_SALES = """
    select
        order_date as day, daily_revenue, refunded_amount, net_revenue, daily_orders, guest_orders,
        gross_margin_percent, known_cost_percent
    from marts.daily_revenue
    where order_date > (select max(order_date) from marts.daily_revenue) - 370
    order by order_date"""

_CONVERSION = """
    select event_date as day, viewers, buyers, view_to_purchase_percent
    from marts.conversion_funnel_daily
    where event_date > (select max(order_date) from marts.daily_revenue) - 370
    order by event_date"""

#: The closing values of the last month, which ends on the as-of date.
_SUBSCRIPTIONS = f"""
    select revenue_month, sum(active_subscriptions) as active_subscriptions, sum(closing_mrr) as mrr
    from marts.subscription_performance_monthly
    where
        revenue_month = (select max(revenue_month) from marts.subscription_performance_monthly)
        and plan_type is distinct from '{ALL_PLANS}'
    group by revenue_month"""

#: By day, since the mart has months only: a subscription is active from its start to the day before its end, each day
#: with the fee that was known then.
_SUBSCRIPTIONS_BY_DAY = """
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
    limit 371"""

_ATTENTION = """
    select
        (select count(*) from marts.order_for_reviews where order_date > %(as_of)s::date - 30) as reviews,
        (select count(*) from marts.order_for_reviews
         where order_date > %(as_of)s::date - 30 and review_priority = 'High') as urgent_reviews,
        (select count(*) from marts.inventory_status
         where product_status = 'Low Stock') as reorders,
        (select count(*) from marts.inventory_status
         where product_status = 'Out of Stock') as sold_out"""

_PUBLISHED = """
    select publication_id, run_id, max(published_at) as published_at
    from ops.publication
    where publication_id = (select max(publication_id) from ops.publication)
    group by publication_id, run_id"""

#: Checks of the run that published; of several results of a check, the last.
CHECKS_OF_RUN = """
    select distinct on (check_name, subject) check_name, subject, status, message, checked_at
    from ops.check_result
    where run_id = %(run_id)s
    order by check_name, subject, check_result_id desc"""

#: Checks that failed after the last publication and prevent the next one.
_FAILED_SINCE = """
    select distinct on (check_name, subject) check_name, subject, status, message, checked_at, run_id
    from ops.check_result
    where checked_at > %(published_at)s and status = 'fail'
    order by check_name, subject, check_result_id desc"""

#: The last load of each source that has ended.
_LOADS = """
    select distinct on (source) source, status, rows_quarantined
    from ops.load_batch
    where status <> 'running' and source <> all(string_to_array(%(absent)s, ','))
    order by source, batch_id desc"""


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
class Kpi:
    """
    One key figure, ready to be shown.

    :param note: what a reader must know beside the value; empty for nothing
    """

    name: str
    title: str
    value: str
    exact: str
    note: str
    changes: Sequence[Change]
    sparkline: Sequence[float | None]
    sparkline_text: str
    link: str
    badge: str
    badge_state: str  # good, warn, bad, unknown
    badge_title: str


@dataclass(frozen=True)
class AttentionItem:
    """Something that needs attention, with a link to it."""

    state: str
    text: str
    detail: str
    link: str


@dataclass(frozen=True)
class Today:
    """
    All values of the page.

    :param absent: which sources the shop does not have, as a sentence; empty if it has all
    """

    as_of: date | None
    age: DataAge | None
    published_at: datetime | None
    published_ago: str
    run_id: str | None
    kpis: Sequence[Kpi]
    items: Sequence[AttentionItem]
    checks: Mapping[str, int]
    problems: Sequence[str]
    absent: str
    waiting: Sequence[WaitingQuestion] = ()


@dataclass(frozen=True)
class _Measure:
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
    if absence_of_source("refund"):
        return None
    refunded, net = (format_value(row[name], Format.MONEY) for name in ("refunded_amount", "net_revenue"))
    return f"{refunded} refunded on this day · net {net}"


def _note_of_guests(row: Row) -> str | None:
    """`3 by guests (25.00 %)`; None without guests."""
    if not row["guest_orders"]:
        return None
    share = format_value(_ratio(row["guest_orders"], row["daily_orders"], 100), Format.PERCENT)
    return f"{row['guest_orders']:,} by guests ({share})"


def _note_of_costs(row: Row) -> str | None:
    """How much of the day's revenue the margin is of; None if the cost of all of it is known."""
    known = row["known_cost_percent"]
    if known is None or known >= 100:
        return None
    if not known:
        return "No cost of what was sold on this day is known"
    return f"Of the {format_value(known, Format.PERCENT)} of the day’s revenue whose cost is known"


def _ratio(part: Any, whole: Any, factor: int = 1) -> Decimal | None:
    if part is None or not whole:
        return None
    return Decimal(part) * factor / Decimal(whole)


_SALES_MEASURES = (
    _Measure("revenue", "Revenue", lambda row: row["daily_revenue"], "/revenue#trend",
             ("sales_fact", "fact_sales", "daily_revenue"), Format.MONEY, note_of=_note_of_refunds),
    _Measure("orders", "Orders", lambda row: row["daily_orders"], "/revenue#trend",
             ("sales_fact", "fact_sales", "daily_revenue"), note_of=_note_of_guests),
    _Measure("average_order_value", "Average order value",
             lambda row: _ratio(row["daily_revenue"], row["daily_orders"]), "/revenue#trend",
             ("sales_fact", "fact_sales", "daily_revenue"), Format.MONEY),
    _Measure("gross_margin", "Gross margin", lambda row: row["gross_margin_percent"], "/revenue#trend",
             ("sales_fact", "fact_sales", "daily_revenue", "product_category"), Format.PERCENT, is_share=True,
             note_of=_note_of_costs),
)  # fmt: skip
_SUBSCRIPTION_MEASURES = (
    _Measure("subscriptions", "Active subscriptions", lambda row: row["active_subscriptions"],
             "/subscriptions#subscriptions",
             ("subscription_data", "fact_subscriptions", "subscription_performance_monthly")),
    _Measure("mrr", "Monthly recurring revenue", lambda row: row["mrr"], "/subscriptions#subscriptions",
             ("subscription_data", "fact_subscriptions", "subscription_performance_monthly"), Format.MONEY),
)  # fmt: skip
_CONVERSION_MEASURE = _Measure(
    "conversion", "Conversion", lambda row: _ratio(row["buyers"], row["viewers"], 100), "/customers#conversion",
    ("kafka_stream", "fact_customer_events", "conversion_funnel_daily"), Format.PERCENT, is_share=True,
)  # fmt: skip


@dataclass(frozen=True)
class TodayRows:
    """
    The rows that the page shows.

    :param problems: why some of them could not be read
    """

    sales: Rows
    covered: Rows | None
    conversion: Rows
    closing: Rows
    subscriptions: Rows
    publication: Rows
    loads: Rows
    attention: Rows
    checks: Rows
    failed_checks: Rows
    questions: Rows
    problems: Sequence[str]

    @property
    def parts(self) -> Sequence[Rows]:
        """All results that the page depends on."""
        return [part for part in vars(self).values() if isinstance(part, Rows)]


async def read_today(reader: Warehouse, inspector: Warehouse) -> TodayRows:
    """
    Read the rows of the page.

    :raises WarehouseUnavailable: the marts cannot be read. Rows that only `inspector` can read are optional: if they
        are missing, `problems` says why
    """
    problems: list[str] = []
    no_rows = Rows([], datetime.now(UTC))

    async def optional(rows: Awaitable[Rows]) -> Rows:
        try:
            return await rows
        except WarehouseUnavailable as error:
            if str(error) not in problems:
                problems.append(str(error))
            return no_rows

    sales, conversion, closing, subscriptions, publication, loads, questions = await asyncio.gather(
        reader.rows(_SALES),
        reader.rows(_CONVERSION),
        reader.rows(_SUBSCRIPTIONS),
        optional(inspector.rows(_SUBSCRIPTIONS_BY_DAY)),
        optional(inspector.rows(_PUBLISHED)),
        optional(inspector.rows(_LOADS, absent=",".join(shop().absent))),
        optional(inspector.rows(OPEN_QUESTIONS)),
    )
    attention = checks = failed_checks = no_rows
    covered = None
    if sales.rows:
        latest = _first(publication)
        covered, attention, checks, failed_checks = await asyncio.gather(
            read_covered_days(reader),
            reader.rows(_ATTENTION, as_of=sales.rows[-1]["day"]),
            optional(inspector.rows(CHECKS_OF_RUN, run_id=latest["run_id"] if latest else "")),
            optional(inspector.rows(_FAILED_SINCE, published_at=latest["published_at"] if latest else _LONG_AGO)),
        )
    return TodayRows(
        sales=sales,
        covered=covered,
        conversion=conversion,
        closing=closing,
        subscriptions=subscriptions,
        publication=publication,
        loads=loads,
        attention=attention,
        checks=checks,
        failed_checks=failed_checks,
        questions=questions,
        problems=problems,
    )


def build_today(data: TodayRows, now: datetime) -> Today:
    """The page as it is at ``now``."""
    if not data.sales.rows:
        waiting = waiting_questions(data.questions.rows)
        return Today(None, None, None, "", None, (), (), {}, data.problems, absent_in_words(), waiting)
    as_of: date = data.sales.rows[-1]["day"]
    publication = _first(data.publication)
    covered_first = first_covered_date(data.covered)
    checks = data.checks.rows
    return Today(
        as_of=as_of,
        age=data_age(as_of, now),
        published_at=publication["published_at"] if publication else None,
        published_ago=ago((now - publication["published_at"]).total_seconds()) if publication else "",
        run_id=publication["run_id"] if publication else None,
        kpis=[
            _kpi(measure, rows_by_day, as_of, covered_first, checks, publication, now)
            for measure, rows_by_day in _measures(data, as_of)
        ],
        items=_attention_items(data.attention.rows[0], data.failed_checks.rows, checks, data.loads.rows),
        checks={status: sum(row["status"] == status for row in checks) for status in ("pass", "warn", "fail")},
        problems=data.problems,
        absent=absent_in_words(),
        waiting=waiting_questions(data.questions.rows),
    )


def _first(rows: Rows) -> Row | None:
    return rows.rows[0] if rows.rows else None


def _measures(data: TodayRows, as_of: date) -> Iterator[tuple[_Measure, Mapping[date, Row]]]:
    """Each key figure with its rows by day."""
    subscriptions = _fill_days(data.subscriptions.rows, as_of)
    if closing := _first(data.closing):
        # The published value is shown; the values computed by day only serve the comparison.
        subscriptions[as_of] = closing
    for measures, rows_by_day in (
        (_SALES_MEASURES, {row["day"]: row for row in data.sales.rows}),
        (_SUBSCRIPTION_MEASURES, subscriptions),
        ((_CONVERSION_MEASURE,), {row["day"]: row for row in data.conversion.rows}),
    ):
        for measure in measures:
            # Without its source, a figure would be empty for ever.
            if all(map(shop().fills, measure.subjects)):
                yield measure, rows_by_day


def _fill_days(rows: list[Row], as_of: date) -> dict[date, Row]:
    """Rows of the days with a change, newest first → a row for each day back from the as-of date."""
    rows_by_day: dict[date, Row] = {}
    newest_first = iter(rows)
    row = next(newest_first, None)
    for n in range(_DAYS_BACK):
        day = as_of - timedelta(days=n)
        while row is not None and row["day"] > day:
            row = next(newest_first, None)
        if row is None:
            break
        rows_by_day[day] = row
    return rows_by_day


def _kpi(
    measure: _Measure,
    rows_by_day: Mapping[date, Row],
    as_of: date,
    covered_first: date | None,
    checks: list[Row],
    publication: Row | None,
    now: datetime,
) -> Kpi:
    def is_covered(day: date) -> bool:
        return covered_first is None or day >= covered_first

    def value_on(day: date) -> Decimal | None:
        row = rows_by_day.get(day) if is_covered(day) else None
        value = measure.value_of(row) if row is not None else None
        return None if value is None else Decimal(value)

    value = value_on(as_of)
    earlier_days = {label: as_of - timedelta(days=days) for label, days in _COMPARED_DAYS.items()}
    history = [value_on(as_of - timedelta(days=n)) for n in range(SPARKLINE_DAYS - 1, -1, -1)]
    badge, badge_state, badge_title = _badge(measure, checks, publication, now)
    exact = format_value(_rounded(value), measure.format)
    return Kpi(
        name=measure.name,
        title=measure.title,
        value=short_money(value) if measure.format is Format.MONEY else exact,
        exact=exact,
        note=(measure.note_of(rows_by_day[as_of]) if as_of in rows_by_day else None) or "",
        changes=[
            _change(measure, label, day, value, value_on(day))
            if is_covered(day)
            else _no_change(label, day, "not loaded", f"{format_day(day)} was not loaded.")
            for label, day in earlier_days.items()
        ],
        sparkline=[None if amount is None else float(amount) for amount in history],
        sparkline_text=_describe(history, measure.format),
        link=measure.link,
        badge=badge,
        badge_state=badge_state,
        badge_title=badge_title,
    )


def _describe(history: Sequence[Decimal | None], value_format: Format) -> str:
    """The sparkline as a text, for a screen reader."""
    known = [value for value in history if value is not None]
    if not known:
        return "No earlier days"
    low, high = (format_value(_rounded(value), value_format) for value in (min(known), max(known)))
    return f"Last {SPARKLINE_DAYS} days: from {low} to {high}"


def _change(measure: _Measure, label: str, day: date, value: Decimal | None, before: Decimal | None) -> Change:
    before_text = format_value(_rounded(before), measure.format)
    if value is None:
        return _no_change(label, day, "no value", f"{measure.title} has no value on the last day.", before_text)
    if before is None:
        return _no_change(label, day, "no value then", f"{measure.title} has no value on {format_day(day)}.")
    if measure.is_share:
        difference, text = _difference(value - before, 2, "pp")
    elif before or not value:
        difference, text = _difference((value - before) * 100 / (abs(before) or 1), 1, "%")
    else:  # from nothing to something: no percentage
        return _no_change(label, day, "was 0", f"{measure.title} was 0 on {format_day(day)}.", before_text)
    direction = "up" if difference > 0 else "down" if difference < 0 else "same"
    return Change(label, day, before_text, text, direction)


def _no_change(label: str, day: date, text: str, reason: str, before: str = NO_VALUE) -> Change:
    return Change(label, day, before, text, "none", reason)


def _difference(value: Decimal, decimals: int, unit: str) -> tuple[Decimal, str]:
    """A difference, rounded, and its text: `+1.2 %`, `−0.50 pp`, `±0.0 %`."""
    rounded = round(value, decimals)
    sign = "+" if rounded > 0 else "−" if rounded < 0 else "±"
    return rounded, f"{sign}{abs(rounded):,.{decimals}f} {unit}"


def _badge(measure: _Measure, checks: list[Row], publication: Row | None, now: datetime) -> tuple[str, str, str]:
    """Text, state and title of the badge: how many checks of this figure have passed, and when it was published."""
    if publication is None:
        return "not published yet", "unknown", "No publication of this figure is recorded."
    age = ago((now - publication["published_at"]).total_seconds())
    own_checks = [row for row in checks if _is_about(row["subject"], measure)]
    if not own_checks:
        return f"published {age}, unchecked", "unknown", "The run that published this figure has not checked it."
    not_passed = [row for row in own_checks if row["status"] != "pass"]
    passed = count(len(own_checks), "check") + " passed"
    if not_passed:
        passed = f"{len(own_checks) - len(not_passed)} of {passed}"
    title = "; ".join(f"{row['check_name']}, {row['subject']}: {row['message']}" for row in not_passed or own_checks)
    return f"{passed} · {age}", _badge_state(not_passed), title


def _is_about(subject: str, measure: _Measure) -> bool:
    return not set(measure.subjects).isdisjoint(re.split(r"[^a-z_]+", subject))


def _badge_state(not_passed: list[Row]) -> str:
    if not not_passed:
        return "good"
    return "bad" if any(row["status"] == "fail" for row in not_passed) else "warn"


def _attention_items(
    attention: Row, failed_checks: list[Row], checks: list[Row], loads: list[Row]
) -> list[AttentionItem]:
    items = [_check_item("bad", "failed", row) for row in failed_checks]
    items += [_check_item("warn", "warns", row) for row in checks if row["status"] == "warn"]
    for source in (row["source"] for row in loads if row["status"] == "failed"):
        text, detail = f"The last load of {source} failed", "The marts still have its last good data."
        items.append(AttentionItem("bad", text, detail, f"/status#source-{source}"))
    items += _shop_items(attention)
    if rejected := sum(row["rows_quarantined"] for row in loads):
        text = f"{count(rejected, 'row')} rejected in the last loads"
        items.append(AttentionItem("info", text, "They are in quarantine, with the reasons.", "/status#quarantine"))
    return items


def _check_item(state: str, verb: str, row: Row) -> AttentionItem:
    return AttentionItem(
        state, f"Check {row['check_name']} {verb}", f"{row['subject']}: {row['message']}", "/status#checks"
    )


def _shop_items(attention: Row) -> Iterator[AttentionItem]:
    """Products to order again, and orders to review."""
    if attention["sold_out"]:
        text = f"{count(attention['sold_out'], 'product')} sold out"
        yield AttentionItem("bad", text, "Nothing is in stock.", "/operations#reorder")
    if attention["reorders"]:
        text = f"{count(attention['reorders'], 'product')} to order again"
        yield AttentionItem("warn", text, "Stock is at or below the reorder point.", "/operations#reorder")
    if attention["reviews"]:
        text = f"{count(attention['reviews'], 'order')} of 30 days to review"
        detail = f"{attention['urgent_reviews']:,} of them are urgent: they break several rules."
        state = "warn" if attention["urgent_reviews"] else "info"
        yield AttentionItem(state, text, detail, "/review")


def _rounded(value: Decimal | None) -> Decimal | None:
    return None if value is None else round(value, 2)
