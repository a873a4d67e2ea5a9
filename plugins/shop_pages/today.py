"""The first page: how yesterday went, how far the figures can be trusted, and what needs someone's attention."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from shop_pages.formats import NOTHING, ago, count, short_money, written
from shop_pages.formats import Kind as Written
from shop_pages.queries import Row, Rows, Warehouse, WarehouseAway

#: Days that a sparkline shows.
SPARK = 30
#: Rows back from the as-of date: a year, a leap day and a few days.
_BACK = 370
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

_SALES = """
    select order_date as day, daily_revenue, daily_orders, daily_gross_profit
    from marts.daily_revenue
    where order_date > (select max(order_date) from marts.daily_revenue) - 370
    order by order_date"""

_CONVERSION = """
    select event_date as day, viewers, buyers, view_to_purchase_percent
    from marts.conversion_funnel_daily
    where event_date > (select max(order_date) from marts.daily_revenue) - 370
    order by event_date"""

#: What the last month closed with; it ends on the as-of date.
_SUBSCRIPTIONS = """
    select revenue_month, sum(active_subscriptions) as active_subscriptions, sum(closing_mrr) as mrr
    from marts.subscription_performance_monthly
    where revenue_month = (select max(revenue_month) from marts.subscription_performance_monthly)
    group by revenue_month"""

#: By day, since the mart has months: a subscription is there from its start to the day before its end.
_SUBSCRIPTIONS_BY_DAY = """
    with kept as (
        select start_date, end_date, monthly_fee from core.fact_subscriptions
        where end_date is null or end_date > start_date
    ),
    moves as (
        select start_date as day, 1 as subscriptions, monthly_fee as fee from kept
        union all
        select end_date, -1, -monthly_fee from kept where end_date is not null
    ),
    days as (select day, sum(subscriptions) as subscriptions, sum(fee) as fee from moves group by day)
    select
        day, sum(subscriptions) over (order by day) as active_subscriptions, sum(fee) over (order by day) as mrr
    from days
    order by day desc"""

_ATTENTION = """
    select
        (select count(*) from marts.order_for_reviews where order_date > %(as_of)s::date - 30) as reviews,
        (select count(*) from marts.order_for_reviews
         where order_date > %(as_of)s::date - 30 and review_priority = 'High') as urgent_reviews,
        (select count(*) from marts.inventory_status
         where inventory_status = 'Needs Reorder' and product_status <> 'Discontinued') as reorders,
        (select count(*) from marts.inventory_status
         where inventory_status = 'Out of Stock' and product_status <> 'Discontinued') as sold_out"""

_PUBLISHED = """
    select publication_id, run_id, max(published_at) as published_at
    from ops.publication
    where publication_id = (select max(publication_id) from ops.publication)
    group by publication_id, run_id"""

#: Of the run that published; a check that was judged more than once counts as it was judged last.
CHECKS_OF_RUN = """
    select distinct on (check_name, subject) check_name, subject, status, message, checked_at
    from ops.check_result
    where run_id = %(run_id)s
    order by check_name, subject, check_result_id desc"""

#: Failed since the last publication: what keeps the next one from coming.
_FAILED_SINCE = """
    select distinct on (check_name, subject) check_name, subject, status, message, checked_at, run_id
    from ops.check_result
    where checked_at > %(published_at)s and status = 'fail'
    order by check_name, subject, check_result_id desc"""

_LOADS = """
    select
        count(*) filter (where status = 'failed') as failed,
        coalesce(sum(rows_quarantined), 0) as quarantined
    from (
        select distinct on (source) source, status, rows_quarantined
        from ops.load_batch
        where status <> 'running'
        order by source, batch_id desc
    ) as latest"""


@dataclass(frozen=True)
class Change:
    """To an earlier day: what it was then, and by how much it changed."""

    label: str
    day: date
    before: str
    text: str
    direction: str  # up, down, same, none


@dataclass(frozen=True)
class Kpi:
    """One figure of the page."""

    name: str
    title: str
    value: str
    exact: str
    changes: Sequence[Change]
    spark: Sequence[float | None]
    spark_text: str
    link: str
    badge: str
    badge_state: str  # good, warn, bad, unknown
    badge_title: str


@dataclass(frozen=True)
class Note:
    """Something that needs attention, with the way to it."""

    state: str
    text: str
    detail: str
    link: str


@dataclass(frozen=True)
class Today:
    """All of the page."""

    as_of: date | None
    behind: str
    published_at: datetime | None
    run_id: str | None
    kpis: Sequence[Kpi]
    notes: Sequence[Note]
    checks: Mapping[str, int]
    gaps: Sequence[str]


@dataclass(frozen=True)
class _Measure:
    """How a KPI is computed from a day's row, written, and compared."""

    name: str
    title: str
    of: Callable[[Row], Decimal | None]
    link: str
    subjects: tuple[str, ...]
    kind: Written = Written.COUNT
    is_share: bool = False


def _ratio(part: Any, whole: Any, factor: int = 1) -> Decimal | None:
    if part is None or not whole:
        return None
    return Decimal(part) * factor / Decimal(whole)


_SALES_MEASURES = (
    _Measure("revenue", "Revenue", lambda row: row["daily_revenue"], "/revenue#trend",
             ("sales_fact", "fact_sales", "daily_revenue"), Written.MONEY),
    _Measure("orders", "Orders", lambda row: row["daily_orders"], "/revenue#trend",
             ("sales_fact", "fact_sales", "daily_revenue")),
    _Measure("average_order_value", "Average order value",
             lambda row: _ratio(row["daily_revenue"], row["daily_orders"]), "/revenue#trend",
             ("sales_fact", "fact_sales", "daily_revenue"), Written.MONEY),
    _Measure("gross_margin", "Gross margin",
             lambda row: _ratio(row["daily_gross_profit"], row["daily_revenue"], 100), "/revenue#categories",
             ("sales_fact", "fact_sales", "daily_revenue", "product_category"), Written.PERCENT, is_share=True),
)  # fmt: skip
_SUBSCRIPTION_MEASURES = (
    _Measure("subscriptions", "Active subscriptions", lambda row: row["active_subscriptions"],
             "/customers#subscriptions",
             ("subscription_data", "fact_subscriptions", "subscription_performance_monthly")),
    _Measure("mrr", "Monthly recurring revenue", lambda row: row["mrr"], "/customers#subscriptions",
             ("subscription_data", "fact_subscriptions", "subscription_performance_monthly"), Written.MONEY),
)  # fmt: skip
_CONVERSION_MEASURE = _Measure(
    "conversion", "Conversion", lambda row: _ratio(row["buyers"], row["viewers"], 100), "/customers#conversion",
    ("kafka_stream", "fact_customer_events", "conversion_funnel_daily"), Written.PERCENT, is_share=True,
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """
    What the page is made of.

    :param gaps: why something of it could not be read
    """

    sales: Rows
    conversion: Rows
    closing: Rows
    by_day: Rows
    published: Rows
    loads: Rows
    attention: Rows
    checks: Rows
    failed: Rows
    gaps: Sequence[str]

    @property
    def parts(self) -> Sequence[Rows]:
        """All rows of it."""
        return [part for part in vars(self).values() if isinstance(part, Rows)]


async def read(reader: Warehouse, inspector: Warehouse) -> Reading:
    """
    Read what the page is made of.

    :raises WarehouseAway: the marts cannot be read; what only `inspector` knows may be missing, and is named in `gaps`
    """
    gaps: list[str] = []
    nothing = Rows([], datetime.now(UTC))

    async def optional(rows: Any) -> Rows:
        try:
            return await rows
        except WarehouseAway as error:
            if str(error) not in gaps:
                gaps.append(str(error))
            return nothing

    sales, conversion, closing, by_day, published, loads = await asyncio.gather(
        reader.rows(_SALES),
        reader.rows(_CONVERSION),
        reader.rows(_SUBSCRIPTIONS),
        optional(inspector.rows(_SUBSCRIPTIONS_BY_DAY)),
        optional(inspector.rows(_PUBLISHED)),
        optional(inspector.rows(_LOADS)),
    )
    attention = checks = failed = nothing
    if sales.rows:
        last = published.rows[0] if published.rows else None
        attention, checks, failed = await asyncio.gather(
            reader.rows(_ATTENTION, as_of=sales.rows[-1]["day"]),
            optional(inspector.rows(CHECKS_OF_RUN, run_id=last["run_id"] if last else "")),
            optional(inspector.rows(_FAILED_SINCE, published_at=last["published_at"] if last else _LONG_AGO)),
        )
    return Reading(sales, conversion, closing, by_day, published, loads, attention, checks, failed, gaps)


def shown_at(now: datetime, reading: Reading) -> Today:
    """The page as it is at a moment, made of what was read."""
    if not reading.sales.rows:
        return Today(None, "", None, None, (), (), {}, reading.gaps)
    as_of: date = reading.sales.rows[-1]["day"]
    last = reading.published.rows[0] if reading.published.rows else None
    checks = reading.checks.rows
    by_date = {row["day"]: row for row in reading.sales.rows}
    funnel = {row["day"]: row for row in reading.conversion.rows}
    subscriptions = _carried(reading.by_day.rows, as_of)
    if reading.closing.rows:
        # What was published is what is shown; what is computed by day only tells the change.
        subscriptions[as_of] = reading.closing.rows[0]
    kpis = [
        _kpi(measure, rows, as_of, checks, last, now)
        for measures, rows in (
            (_SALES_MEASURES, by_date),
            (_SUBSCRIPTION_MEASURES, subscriptions),
            ((_CONVERSION_MEASURE,), funnel),
        )
        for measure in measures
    ]
    loads = reading.loads.rows[0] if reading.loads.rows else None
    return Today(
        as_of=as_of,
        behind=_behind(as_of, now),
        published_at=last["published_at"] if last else None,
        run_id=last["run_id"] if last else None,
        kpis=kpis,
        notes=_notes(reading.attention.rows[0], reading.failed.rows, checks, loads),
        checks={status: sum(row["status"] == status for row in checks) for status in ("pass", "warn", "fail")},
        gaps=reading.gaps,
    )


def year_before(day: date) -> date:
    """The same day a year earlier; the 28th for a leap day."""
    try:
        return day.replace(year=day.year - 1)
    except ValueError:
        return day.replace(year=day.year - 1, day=28)


def _carried(rows: list[Row], as_of: date) -> dict[date, Row]:
    """Rows of the days on which something moved, newest first → a row for each day back from the as-of date."""
    found: dict[date, Row] = {}
    newest_first = iter(rows)
    row = next(newest_first, None)
    for n in range(_BACK):
        day = as_of - timedelta(days=n)
        while row is not None and row["day"] > day:
            row = next(newest_first, None)
        if row is None:
            break
        found[day] = row
    return found


def _kpi(
    measure: _Measure, rows: Mapping[date, Row], as_of: date, checks: list[Row], published: Row | None, now: datetime
) -> Kpi:
    def on(day: date) -> Decimal | None:
        row = rows.get(day)
        value = measure.of(row) if row is not None else None
        return None if value is None else Decimal(value)

    value = on(as_of)
    changes = [
        _change(measure, label, day, value, on(day))
        for label, day in (
            ("day before", as_of - timedelta(days=1)),
            ("week before", as_of - timedelta(days=7)),
            ("year before", year_before(as_of)),
        )
    ]
    days = [as_of - timedelta(days=n) for n in range(SPARK - 1, -1, -1)]
    spark = [None if (shown := on(day)) is None else float(shown) for day in days]
    known = [on(day) for day in days if on(day) is not None]
    badge, state, title = _badge(measure, checks, published, now)
    return Kpi(
        name=measure.name,
        title=measure.title,
        value=short_money(value) if measure.kind is Written.MONEY else written(_rounded(value), measure.kind),
        exact=written(_rounded(value), measure.kind),
        changes=changes,
        spark=spark,
        spark_text=(
            f"Last {SPARK} days: from {written(_rounded(min(known)), measure.kind)}"  # type: ignore[type-var]
            f" to {written(_rounded(max(known)), measure.kind)}"  # type: ignore[type-var]
            if known
            else "No earlier days"
        ),
        link=measure.link,
        badge=badge,
        badge_state=state,
        badge_title=title,
    )


def _change(measure: _Measure, label: str, day: date, now: Decimal | None, before: Decimal | None) -> Change:
    shown = written(_rounded(before), measure.kind)
    if now is None or before is None:
        return Change(label, day, shown, NOTHING, "none")
    if measure.is_share:
        difference = now - before
        text = _signed(f"{difference:+.2f} pp")
    else:
        if before == 0:
            return Change(label, day, shown, NOTHING if now else "±0.0 %", "none" if now else "same")
        difference = (now - before) * 100 / abs(before)
        text = _signed(f"{difference:+,.1f} %")
    rounded = round(difference, 2 if measure.is_share else 1)
    direction = "up" if rounded > 0 else "down" if rounded < 0 else "same"
    return Change(label, day, shown, text if rounded else text.replace("+", "±").replace("−", "±"), direction)


def _badge(measure: _Measure, checks: list[Row], published: Row | None, now: datetime) -> tuple[str, str, str]:
    if published is None:
        return "not published yet", "unknown", "No publication is recorded for these figures."
    words = set(measure.subjects)
    mine = [row for row in checks if words & set(re.split(r"[^a-z_]+", row["subject"]))]
    age = ago((now - published["published_at"]).total_seconds())
    if not mine:
        return f"published {age}, unchecked", "unknown", "The run that published it judged nothing of this figure."
    bad = [row for row in mine if row["status"] != "pass"]
    passed = (f"{len(mine) - len(bad)} of " if bad else "") + f"{count(len(mine), 'check')} passed"
    state = "bad" if any(row["status"] == "fail" for row in bad) else "warn" if bad else "good"
    title = "; ".join(f"{row['check_name']}, {row['subject']}: {row['message']}" for row in bad or mine)
    return f"{passed} · {age}", state, title


def _notes(attention: Row, failed: list[Row], checks: list[Row], loads: Row | None) -> list[Note]:
    notes = []
    for row in failed:
        notes.append(
            Note("bad", f"Check {row['check_name']} failed", f"{row['subject']}: {row['message']}", "/status#checks")
        )
    for row in checks:
        if row["status"] == "warn":
            notes.append(
                Note(
                    "warn", f"Check {row['check_name']} warns", f"{row['subject']}: {row['message']}", "/status#checks"
                )
            )
    if loads and loads["failed"]:
        text = f"The last load of {count(loads['failed'], 'source')} failed"
        notes.append(Note("bad", text, "Readers keep what was published before.", "/status#calendar"))
    if attention["sold_out"]:
        text = f"{count(attention['sold_out'], 'product')} sold out"
        notes.append(Note("bad", text, "Nothing is on the shelf.", "/operations#reorder"))
    if attention["reorders"]:
        text = f"{count(attention['reorders'], 'product')} to order again"
        notes.append(Note("warn", text, "Stock is at or below the reorder point.", "/operations#reorder"))
    if attention["reviews"]:
        text = f"{count(attention['reviews'], 'order')} of 30 days to review"
        detail = f"{attention['urgent_reviews']:,} of them with both a high discount and high shipping."
        notes.append(Note("warn" if attention["urgent_reviews"] else "info", text, detail, "/operations#reviews"))
    if loads and loads["quarantined"]:
        text = f"{count(int(loads['quarantined']), 'row')} refused in the last loads"
        notes.append(Note("info", text, "They are kept with their reasons.", "/status#quarantine"))
    return notes


def _behind(as_of: date, now: datetime) -> str:
    days = (now.astimezone(UTC).date() - as_of).days
    if days <= 0:
        return "the day under way"
    return "yesterday" if days == 1 else f"{days:,} days ago"


def _signed(text: str) -> str:
    """With a minus that is as wide as a plus."""
    return text.replace("-", "−")


def _rounded(value: Decimal | None) -> Decimal | None:
    return None if value is None else round(value, 2)
