"""What is marked on axes of time: known incidents, problems of checks, and up to which day was published."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from typing import Any

from ecommerce.audit.checks_file import read_checks
from ecommerce.common.days import time_zone
from ecommerce.common.errors import CheckSettingsError
from shop_pages.figures import Plot
from shop_pages.formats import day
from shop_pages.pool import Row, WarehouseUnavailable
from shop_pages.queries import Warehouse
from shop_pages.words import words_of

#: Days of the longest load whose problems are marked: one of a year says nothing of a day.
_LONGEST = 31
#: Problems of checks with the days of the data that they are about; publications, each with the last day of its data.
_MARKS = """
    (
        select
            'problem' as kind, window_start as first, greatest(window_start, window_end - 1) as last,
            check_name as name, subject, null::bigint as publication_id,
            opened_at as happened_at, closed_at is not null as is_closed
        from ops.alert
        where
            check_name is not null and window_start is not null
            and window_start <= %(last)s and window_end > %(first)s
            and window_end - window_start <= %(longest)s
        order by opened_at desc
        limit 20
    )
    union all
    (
        select
            'publication', as_of_date, as_of_date, null, null, max(publication_id), max(published_at), false
        from ops.publication
        where as_of_date between %(first)s and %(last)s
        group by as_of_date
        order by as_of_date desc
        limit 20
    )"""


@dataclass(frozen=True)
class DayMark:
    """
    Something that happened to some days, or after them.

    :param kind: `incident`, a known one; `problem`, of a check; `publication`, which ended with this day
    :param text: what the pointer shows
    """

    kind: str
    first: date
    last: date
    text: str


async def read_marks(inspector: Warehouse, first: date, last: date) -> Sequence[DayMark]:
    """The marks of these days; without an answer of the warehouse those of the file of checks alone."""
    known = await asyncio.to_thread(_known_incidents, first, last)
    try:
        rows = (await inspector.rows(_MARKS, first=first, last=last, longest=_LONGEST)).rows
    except WarehouseUnavailable:
        return known
    zone = time_zone()
    return [*known, *(DayMark(row["kind"], row["first"], row["last"], _text(row, zone)) for row in rows)]


def _text(row: Row, zone: tzinfo) -> str:
    if row["kind"] == "publication":
        published = day(row["happened_at"].astimezone(zone).date())
        return f"Publication {row['publication_id']} of {published}: data up to {day(row['first'])}"
    return (
        f"{'Closed' if row['is_closed'] else 'Open'} problem: check {words_of(row['name'])}, {words_of(row['subject'])}"
    )


def _known_incidents(first: date, last: date) -> list[DayMark]:
    """Those of checks.yml, such as Black Friday. A mistake in that file stops runs, and no page."""
    try:
        known = read_checks().known_incidents
    except CheckSettingsError:
        return []
    days = [(incident.name, incident.days[0], incident.days[-1]) for incident in known]
    return [
        DayMark("incident", start, end, f"Known incident: {name}")
        for name, start, end in days
        if start <= last and end >= first
    ]


def marks_of(marks: Sequence[DayMark], plot: Plot) -> list[dict[str, Any]]:
    """The marks as the chart has them: those within its axis, cut to it. A day is half a day wide on both sides."""
    points = [x for trace in plot["data"] for x in trace.get("x") or [] if isinstance(x, str)]
    if not points:
        return []
    start, end = date.fromisoformat(min(points)), date.fromisoformat(max(points))
    day_before = timedelta(days=1)
    return [
        {
            "kind": mark.kind,
            "first": str(mark.first) if mark.kind == "publication" else f"{max(mark.first, start) - day_before} 12:00",
            "end": f"{min(mark.last, end)} 12:00",
            "text": mark.text,
        }
        for mark in marks
        if mark.last >= start and mark.first <= end
    ]
