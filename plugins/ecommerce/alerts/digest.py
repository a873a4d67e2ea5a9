"""
The digest: the morning's figures, what moved them and why, and what needs someone.

Its queries read `marts`, `core` and `ops`. Whoever has the rows builds the same digest: the task that publishes, and
the page that shows a preview.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from ecommerce.common.open_questions import OPEN_QUESTIONS, waiting_in_words
from ecommerce.figures.key_figures import (
    ATTENTION,
    CONVERSION,
    SALES,
    SUBSCRIPTIONS,
    SUBSCRIPTIONS_BY_DAY,
    FigureOfDay,
    Row,
    figure_of_day,
    rows_of_figures,
    shown_figures,
)
from ecommerce.figures.movements import SPLITS, Movement, before_day, explain
from ecommerce.figures.number_formats import count

#: The figures of which the digest says what moved them.
_EXPLAINED = ("revenue", "orders", "average_order_value", "gross_margin")
#: Rows of a list of what needs someone.
_LISTED = 5

#: What the digest is about; without rows, nothing is published.
DAYS_OF_DIGEST = """
    select max(order_date) as as_of, (select first_covered_date from marts.covered_days) as covered_first
    from marts.daily_revenue
    having max(order_date) is not null"""

_INCIDENTS = f"""
    select incident, severity, message, opened_at, count(*) over () as all_rows
    from ops.alert
    where closed_at is null
    order by severity = 'warn', opened_at desc
    limit {_LISTED}"""

_REVIEWS = f"""
    select
        order_id, order_amount, reasons
    from marts.order_for_reviews
    where order_date > %(as_of)s::date - 30 and review_status = 'open'
    order by risk_score desc, order_amount desc, order_id
    limit {_LISTED}"""

_REORDERS = f"""
    select product_id, product_name, stock_level, suggested_order_quantity
    from marts.inventory_status
    where suggested_order_quantity > 0
    order by days_of_stock nulls last, suggested_order_quantity desc, product_id
    limit {_LISTED}"""


@dataclass(frozen=True)
class Need:
    """
    Something that needs someone.

    :param items: the first of it, one line each
    :param page: the path of the page on which it is done, below the pages' own
    """

    text: str
    items: Sequence[str]
    page: str


@dataclass(frozen=True)
class Digest:
    """The figures of a day, what moved them, and what needs someone."""

    as_of: date
    figures: Sequence[FigureOfDay]
    movements: Sequence[Movement]
    needs: Sequence[Need]


def queries_of_digest(as_of: date, covered_first: date | None) -> dict[str, tuple[str, dict[str, Any]]]:
    """
    The queries of a digest by name, each with its values.

    :param as_of: the last published day
    :param covered_first: the first loaded day, None if it is not known
    """
    figures = shown_figures()
    queries: dict[str, tuple[str, dict[str, Any]]] = {
        "sales": (SALES, {}),
        "conversion": (CONVERSION, {}),
        "closing": (SUBSCRIPTIONS, {}),
        "subscriptions": (SUBSCRIPTIONS_BY_DAY, {}),
        "incidents": (_INCIDENTS, {}),
        "questions": (OPEN_QUESTIONS, {}),
        "reviews": (_REVIEWS, {"as_of": as_of}),
        "attention": (ATTENTION, {"as_of": as_of}),
        "reorders": (_REORDERS, {}),
    }
    if label := _comparison(as_of, covered_first):
        days = {"day": as_of, "before": before_day(as_of, label)}
        # By their text: two figures may be split by one query.
        queries |= {SPLITS[name].query: (SPLITS[name].query, days) for name in _EXPLAINED if name in figures}
    return queries


def _comparison(as_of: date, covered_first: date | None) -> str | None:
    """The day to explain the difference to: the same weekday of the week before; of a new shop the day before."""
    labels = ("week before", "day before")
    return next((label for label in labels if covered_first is None or before_day(as_of, label) >= covered_first), None)


def build_digest(as_of: date, covered_first: date | None, rows: Mapping[str, list[Row]]) -> Digest:
    """
    The digest.

    :param rows: of the `queries_of_digest`
    """
    figures = rows_of_figures(as_of, rows["sales"], rows["conversion"], rows["closing"], rows["subscriptions"])
    label = _comparison(as_of, covered_first)
    return Digest(
        as_of=as_of,
        figures=[figure_of_day(figure, by_day, as_of, covered_first) for figure, by_day in figures],
        movements=[
            explain(name, as_of, label, rows[SPLITS[name].query])
            for name in _EXPLAINED
            if label and SPLITS[name].query in rows
        ],
        needs=list(_needs(rows)),
    )


def _needs(rows: Mapping[str, list[Row]]) -> Iterator[Need]:
    if incidents := rows["incidents"]:
        yield Need(
            count(incidents[0]["all_rows"], "open incident"),
            [f"{row['incident']}: {row['message']}" for row in incidents],
            "/status#incidents",
        )
    if questions := rows["questions"]:
        yield Need(
            f"{count(len(questions), 'check waits', 'checks wait')} for a person",
            [waiting_in_words(row) for row in questions[:_LISTED]],
            "/status",
        )
    (attention,) = rows["attention"]
    if attention["reviews"]:
        urgent = f", {attention['urgent_reviews']:,} of them urgent" if attention["urgent_reviews"] else ""
        yield Need(
            f"{count(attention['reviews'], 'order')} of 30 days to review{urgent}",
            [f"{row['order_id']}, {row['order_amount']:,.2f}: {'; '.join(row['reasons'])}" for row in rows["reviews"]],
            "/review",
        )
    if attention["reorders"]:
        yield Need(
            f"{count(attention['reorders'], 'product')} to order",
            [
                f"{row['product_name'] or row['product_id']}: {row['suggested_order_quantity']:,.0f}"
                f" ({row['stock_level']:,.0f} in stock)"
                for row in rows["reorders"]
            ],
            "/stock#order",
        )
    if attention["sold_out"]:
        yield Need(f"{count(attention['sold_out'], 'product')} sold out", [], "/operations#reorder")
