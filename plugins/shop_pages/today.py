"""The page Today: key figures of the last day, how well they are checked, and what needs attention."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from ecommerce.audit.check_results import RESULTS_OF_RUN
from ecommerce.common.open_questions import OPEN_QUESTIONS
from ecommerce.common.shop import shop
from ecommerce.figures.key_figures import (
    ATTENTION,
    CONVERSION,
    SALES,
    SUBSCRIPTIONS,
    SUBSCRIPTIONS_BY_DAY,
    FigureOfDay,
    KeyFigure,
    figure_of_day,
    rows_of_figures,
)
from ecommerce.figures.movements import why_path
from ecommerce.figures.number_formats import Format
from shop_pages.absent_sources import absent_in_words
from shop_pages.covered_days import first_covered_date, read_covered_days
from shop_pages.data_age import DataAge, data_age
from shop_pages.formats import ago, count
from shop_pages.pool import Row, WarehouseUnavailable
from shop_pages.queries import Rows, Warehouse
from shop_pages.waiting import WaitingQuestion, waiting_questions
from shop_pages.words import heading_of, words_of

_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

_PUBLISHED = """
    select publication_id, run_id, max(published_at) as published_at
    from ops.publication
    where publication_id = (select max(publication_id) from ops.publication)
    group by publication_id, run_id"""

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
class Kpi:
    """
    A key figure of the last day, with how well it is checked.

    :param why: the path of the page that says what moved it
    """

    of_day: FigureOfDay
    why: str
    is_money: bool
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
        reader.rows(SALES),
        reader.rows(CONVERSION),
        reader.rows(SUBSCRIPTIONS),
        optional(inspector.rows(SUBSCRIPTIONS_BY_DAY)),
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
            reader.rows(ATTENTION, as_of=sales.rows[-1]["day"]),
            optional(inspector.rows(RESULTS_OF_RUN, run_id=latest["run_id"] if latest else "")),
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
            _kpi(figure_of_day(figure, rows_by_day, as_of, covered_first), checks, publication, now)
            for figure, rows_by_day in rows_of_figures(
                as_of, data.sales.rows, data.conversion.rows, data.closing.rows, data.subscriptions.rows
            )
        ],
        items=_attention_items(data.attention.rows[0], data.failed_checks.rows, checks, data.loads.rows),
        checks={status: sum(row["status"] == status for row in checks) for status in ("pass", "warn", "fail")},
        problems=data.problems,
        absent=absent_in_words(),
        waiting=waiting_questions(data.questions.rows),
    )


def _first(rows: Rows) -> Row | None:
    return rows.rows[0] if rows.rows else None


def _kpi(figure: FigureOfDay, checks: list[Row], publication: Row | None, now: datetime) -> Kpi:
    badge, badge_state, badge_title = _badge(figure.figure, checks, publication, now)
    compared = next((change for change in figure.changes if change.direction != "none"), figure.changes[0])
    why = why_path(figure.figure.name, figure.as_of, compared.label)
    return Kpi(figure, why, figure.figure.format is Format.MONEY, badge, badge_state, badge_title)


def _badge(figure: KeyFigure, checks: list[Row], publication: Row | None, now: datetime) -> tuple[str, str, str]:
    """Text, state and title of the badge: how many checks of this figure have passed, and when it was published."""
    if publication is None:
        return "not published yet", "unknown", "No publication of this figure is recorded."
    age = ago((now - publication["published_at"]).total_seconds())
    own_checks = [row for row in checks if _is_about(row["subject"], figure)]
    if not own_checks:
        return f"published {age}, unchecked", "unknown", "The run that published this figure has not checked it."
    not_passed = [row for row in own_checks if row["status"] != "pass"]
    passed = count(len(own_checks), "check") + " passed"
    if not_passed:
        passed = f"{len(own_checks) - len(not_passed)} of {passed}"
    title = "; ".join(
        f"{heading_of(row['check_name'])}, {words_of(row['subject'])}: {row['message']}"
        for row in not_passed or own_checks
    )
    return f"{passed} · {age}", _badge_state(not_passed), title


def _is_about(subject: str, figure: KeyFigure) -> bool:
    return not set(figure.subjects).isdisjoint(re.split(r"[^a-z_]+", subject))


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
        text, detail = (
            f"The last load of {heading_of(source).lower()} failed",
            "The marts still have its last good data.",
        )
        items.append(AttentionItem("bad", text, detail, f"/status#source-{source}"))
    items += _shop_items(attention)
    if rejected := sum(row["rows_quarantined"] for row in loads):
        text = f"{count(rejected, 'row')} rejected in the last loads"
        items.append(AttentionItem("info", text, "They are in quarantine, with the reasons.", "/status#quarantine"))
    return items


def _check_item(state: str, verb: str, row: Row) -> AttentionItem:
    return AttentionItem(
        state,
        f"Check {words_of(row['check_name'])} {verb}",
        f"{heading_of(row['subject'])}: {row['message']}",
        "/status#checks",
    )


def _shop_items(attention: Row) -> Iterator[AttentionItem]:
    """Products to order, and orders to review."""
    if attention["sold_out"]:
        text = f"{count(attention['sold_out'], 'product')} sold out"
        yield AttentionItem("bad", text, "Nothing is in stock.", "/operations#reorder")
    if attention["reorders"]:
        text = f"{count(attention['reorders'], 'product')} to order"
        yield AttentionItem("warn", text, "By what they sold in 90 days, less what is in stock.", "/stock#order")
    if attention["reviews"]:
        text = f"{count(attention['reviews'], 'order')} of 30 days to review"
        detail = f"{attention['urgent_reviews']:,} of them are urgent: they break several rules."
        state = "warn" if attention["urgent_reviews"] else "info"
        yield AttentionItem(state, text, detail, "/review")
