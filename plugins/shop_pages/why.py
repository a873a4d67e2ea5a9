"""The page Why: what makes the difference of a key figure between two days."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from ecommerce.figures.decomposition import Decomposition, Effect
from ecommerce.figures.key_figures import COMPARED_DAYS, CONVERSION_FIGURE, SALES_FIGURES, KeyFigure, rounded
from ecommerce.figures.movements import SPLITS, DimensionEffects, Movement, before_day, explain, why_path
from ecommerce.figures.number_formats import Format, count, format_number
from ecommerce.figures.number_formats import day as format_day
from shop_pages.drill import CANCELLED
from shop_pages.pool import Row
from shop_pages.queries import Rows, Warehouse
from shop_pages.status import REJECTED_WITH_DAY

#: The source of the order lines.
SALES = "sales_fact"

#: Rejected rows that the page counts by day.
COUNTED_WAITING_ROWS = 20_000

#: Members that a table of the page shows one by one; the CSV file has all that were read one by one.
SHOWN_MEMBERS = 8

#: `against` of an address → the label of the comparison.
COMPARISONS = {label.replace(" ", "_"): label for label in COMPARED_DAYS}

_PUBLISHED_SALES = """
    select order_date as day, daily_revenue, daily_orders, gross_margin_percent
    from marts.daily_revenue
    where order_date in (%(before)s::date, %(day)s::date)"""

_PUBLISHED_CONVERSION = """
    select event_date as day, viewers, buyers
    from marts.conversion_funnel_daily
    where event_date in (%(before)s::date, %(day)s::date)"""


#: Of both days: the lines that would count, had they not been cancelled; the refunds; and the rows of order lines that
#: wait in quarantine, by the day that Data status counts them on.
_LEFT_OUT = f"""
    with all_waiting as (
        select count(*) as lines
        from (
            select from ops.quarantine_shown
            where source = '{SALES}' and replayed_at is null
            limit {COUNTED_WAITING_ROWS + 1}
        ) as waiting
    ),
    waiting as (
        select day, count(*) as lines
        from ({REJECTED_WITH_DAY}) as rejected
        where
            source = '{SALES}' and day in (%(before)s::date, %(day)s::date)
            -- To find the day of each takes time.
            and (select lines from all_waiting) <= {COUNTED_WAITING_ROWS}
        group by day
    )
    select
        days.day, cancelled.lines as cancelled_lines, cancelled.amount as cancelled_amount,
        refunded.refunds, refunded.amount as refunded_amount, coalesce(waiting.lines, 0) as waiting_lines,
        (select lines from all_waiting) > {COUNTED_WAITING_ROWS} as has_too_many_waiting
    from (values (%(before)s::date), (%(day)s::date)) as days (day)
    cross join lateral (
        select count(*) as lines, coalesce(sum(order_amount), 0) as amount
        from core.fact_sales
        where date_key = days.day and order_amount > 0 and is_cancelled
    ) as cancelled
    cross join lateral (
        select count(*) as refunds, coalesce(sum(refund_amount), 0) as amount
        from core.fact_refunds
        where date_key = days.day
    ) as refunded
    left join waiting on days.day = waiting.day"""


@dataclass(frozen=True)
class LeftOut:
    """
    What a day has besides the lines that count, and the other day has more or less of.

    :param path: the list of it
    """

    text: str
    path: str


async def read_left_out(
    inspector: Warehouse, figure: KeyFigure, day: date, label: str
) -> tuple[list[LeftOut], list[Rows]]:
    """
    What was cancelled, refunded or waits in quarantine where that differs between the days, and what was read for it.

    Nothing of a figure that is not of sales.

    :raises WarehouseUnavailable: it cannot be read
    """
    if figure not in SALES_FIGURES:
        return [], []
    before = before_day(day, label)
    rows = await inspector.rows(_LEFT_OUT, day=day, before=before)
    by_day = {row["day"]: row for row in rows.rows}
    return left_out(by_day[day], by_day[before]), [rows]


@dataclass(frozen=True)
class _Kind:
    """
    What may be left out: its columns in `_LEFT_OUT`, and how the page says it.

    :param amount: empty if what it amounts to is not known
    """

    one: str
    what: str
    number: str
    amount: str
    path: str
    remark: str = ""

    def of(self, row: Row, words: str = "") -> str:
        """`15 lines cancelled (2,775.90)`; without words `15 (2,775.90)`."""
        amount = f" ({format_number(row[self.amount], Format.MONEY)})" if self.amount and row[self.number] else ""
        return f"{words or format_number(row[self.number], Format.COUNT)}{amount}"

    def is_equal(self, row: Row, other: Row) -> bool:
        """Whether two days have the same of it."""
        return all(row[name] == other[name] for name in (self.number, self.amount) if name)


_KINDS = (
    _Kind(
        "line", " cancelled", "cancelled_lines", "cancelled_amount",
        f"/rows/daily_revenue?order_date={{day}}#{CANCELLED}",
    ),
    _Kind(
        "refund", "", "refunds", "refunded_amount", "/rows/daily_revenue?order_date={day}#fact_refunds",
        "; refunds lower the net revenue, not this figure",
    ),
    _Kind("row", " rejected, waiting in quarantine", "waiting_lines", "", f"/status/{SALES}/{{day}}#rejected"),
)  # fmt: skip


def left_out(row: Row, before: Row) -> list[LeftOut]:
    """The sentences about a day beside an earlier one: `15 lines cancelled (2,775.90); 27 Jun 2024: 0`."""
    found = [
        LeftOut(
            f"{kind.of(row, f'{count(row[kind.number], kind.one)}{kind.what}')};"
            f" {format_day(before['day'])}: {kind.of(before)}{kind.remark}",
            # The list of the day that has any.
            kind.path.format(day=row["day"] if row[kind.number] else before["day"]),
        )
        for kind in _KINDS
        if not kind.is_equal(row, before)
    ]
    if row["has_too_many_waiting"]:
        text = f"More than {COUNTED_WAITING_ROWS:,} order lines of all days are rejected, waiting in quarantine"
        found.append(LeftOut(text, f"/rejected?source={SALES}"))
    return found


def why_revenue_moved(day: date) -> list[tuple[str, str]]:
    """The links from a day of the revenue: the label of each comparison, and the path."""
    return [(label, why_path("revenue", day, label)) for label in COMPARED_DAYS]


@dataclass(frozen=True)
class ReadMovement:
    """
    A movement with the rows that it was computed from.

    :param published: the published figure on both days; None for a figure that the marts do not have by day
    """

    movement: Movement
    rows: Rows
    published: Rows | None

    @property
    def parts(self) -> Sequence[Rows]:
        """All results that it depends on."""
        return [self.rows, *([self.published] if self.published else [])]

    @property
    def difference_to_marts(self) -> str:
        """A sentence, if the facts say otherwise than the marts; else empty: a build that no publication followed."""
        if self.published is None:
            return ""
        figure, total = self.movement.figure, self.movement.total
        rows = {row["day"]: row for row in self.published.rows}
        other = []
        for day, computed in ((self.movement.before_day, total.before), (self.movement.day, total.after)):
            value = figure.value_of(rows[day]) if day in rows else None
            published = rounded(value)
            if published != computed and (published or computed):
                other.append(f"{format_number(published, figure.format)} on {format_day(day)}")
        if not other:
            return ""
        return f"The facts are newer than the marts, which were published with {' and '.join(other)}."


async def read_movement(
    reader: Warehouse, inspector: Warehouse, figure: KeyFigure, day: date, label: str
) -> ReadMovement:
    """
    Read the members of a figure on both days.

    :raises WarehouseUnavailable: they cannot be read
    """
    days = {"day": day, "before": before_day(day, label)}
    query = _PUBLISHED_SALES if figure in SALES_FIGURES else _PUBLISHED_CONVERSION
    if figure in (*SALES_FIGURES, CONVERSION_FIGURE):
        rows, published = await asyncio.gather(
            inspector.rows(SPLITS[figure.name].query, **days), reader.rows(query, **days)
        )
    else:
        rows, published = await inspector.rows(SPLITS[figure.name].query, **days), None
    movement = rows.derive((figure.name, day, label), lambda found: explain(figure.name, day, label, found))
    return ReadMovement(movement, rows, published)


def csv_header(figure: KeyFigure) -> list[str]:
    """The columns of the CSV file."""
    parts = ["rate_effect", "share_effect"] if SPLITS[figure.name].base else []
    return ["member", "members", "before", "after", "effect", *parts]


def csv_rows(figure: KeyFigure, effects: DimensionEffects) -> list[list[object]]:
    """All members, the largest effects first."""
    return [
        [effect.name, effect.members, effect.before, effect.after, effect.effect, *_parts(figure, effect)]
        for effect in effects.decomposition.effects
    ]


def _parts(figure: KeyFigure, effect: Effect) -> list[object]:
    return [effect.rate_effect, effect.share_effect] if SPLITS[figure.name].base else []


def missing_day(effect: Effect, movement: Movement) -> str:
    """`none on 1 Mar 2024`, of a member that has something on one of the days only."""
    day = movement.before_day if effect.is_new else movement.day if effect.is_gone else None
    return f"none on {format_day(day)}" if day else ""


def shown_effects(decomposition: Decomposition) -> list[Effect]:
    """The rows of a table."""
    return decomposition.largest(SHOWN_MEMBERS)
