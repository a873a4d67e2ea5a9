"""The page Why."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import date
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from ecommerce.figures.key_figures import KeyFigure, shown_figures
from ecommerce.figures.movements import DIMENSIONS, SPLITS, before_day, name_of, why_path
from ecommerce.figures.number_formats import day as format_day
from ecommerce.figures.number_formats import signed
from shop_pages import formats
from shop_pages.cached_response import ResponseCache, respond
from shop_pages.filters import Days, read_days
from shop_pages.pool import WarehouseUnavailable
from shop_pages.rendering import parse_day, render, render_cached
from shop_pages.why import (
    COMPARISONS,
    csv_header,
    csv_rows,
    missing_day,
    read_left_out,
    read_movement,
    shown_effects,
)

router = APIRouter()


@dataclass(frozen=True)
class _Choice:
    """What the reader has chosen: a figure, a day, and the comparison."""

    figure: KeyFigure
    day: date
    label: str

    @property
    def before(self) -> date:
        return before_day(self.day, self.label)


def _choice_of(days: Days, figure: str, day: str, against: str) -> _Choice:
    """
    What an address says.

    :raises HTTPException: 404, there is no such figure, day or comparison
    """
    figures = shown_figures()
    if figure not in figures:
        raise HTTPException(404, f"There is no figure {figure[:100]!r}. There are: {', '.join(figures)}.")
    if against not in COMPARISONS:
        raise HTTPException(404, f"No day is called {against[:100]!r}. There are: {', '.join(COMPARISONS)}.")
    chosen = parse_day("day", day) or days.last
    if not days.earliest <= chosen <= days.last:
        first, last = format_day(days.earliest), format_day(days.last)
        raise HTTPException(404, f"There are no figures of {format_day(chosen)}: the days are {first} to {last}.")
    return _Choice(figures[figure], chosen, COMPARISONS[against])


@router.get("/why", name="why")
async def get_why(request: Request, figure: str = "revenue", day: str = "", against: str = "day_before") -> Response:
    """What makes the difference of a key figure to an earlier day: by category, product and more."""
    reader, inspector = request.app.state.reader, request.app.state.inspector
    days, day_parts = await read_days(reader)
    if days is None:
        return await render(request, "empty.html", page="today", title="Why", parts=day_parts)
    choice = _choice_of(days, figure, day, against)
    values: dict[str, Any] = {
        "page": "today",
        "title": f"Why did {choice.figure.title.lower()} move?",
        "choice": choice,
        "against": against,
        "days": days,
        "figures": shown_figures(),
        "comparisons": {label: why_path(choice.figure.name, choice.day, label) for label in COMPARISONS.values()},
        "split": SPLITS[choice.figure.name],
        "problem": "",
        "movement": None,
    }
    if choice.before < days.covered_first:
        values["problem"] = f"{format_day(choice.before)} was not loaded, so nothing can be compared with it."
        return await render(request, "why.html", parts=day_parts, **values)
    try:
        read, (left_out, left_out_parts) = await asyncio.gather(
            read_movement(reader, inspector, choice.figure, choice.day, choice.label),
            read_left_out(inspector, choice.figure, choice.day, choice.label),
        )
    except WarehouseUnavailable as error:
        values["problem"] = f"What moved it is not available now: {error}."
        return await render(request, "why.html", parts=day_parts, **values)

    def all_values() -> dict[str, Any]:
        return {
            **values,
            "movement": read.movement,
            "difference_to_marts": read.difference_to_marts,
            "left_out": left_out,
            "signed": lambda amount: signed(amount, choice.figure.format),
            "shown_effects": shown_effects,
            "name_of": name_of,
            "missing_day": missing_day,
        }

    key = (choice.figure.name, choice.day, choice.label, days)
    return await render_cached(request, "why.html", [*day_parts, *read.parts, *left_out_parts], key, all_values)


@router.get("/why.csv", name="why_csv")
async def get_why_csv(
    request: Request, figure: str = "revenue", day: str = "", against: str = "day_before", by: str = "category"
) -> Response:
    """All members of a dimension with their effects."""
    reader, inspector = request.app.state.reader, request.app.state.inspector
    cache: ResponseCache = request.app.state.responses
    days, _ = await read_days(reader)
    if days is None:
        raise HTTPException(404, "Nothing has been published yet.")
    choice = _choice_of(days, figure, day, against)
    split = SPLITS[choice.figure.name]
    if by not in split.dimensions:
        raise HTTPException(404, f"{choice.figure.title} is split by {', '.join(split.dimensions)}, not {by[:100]!r}.")
    if choice.before < days.covered_first:
        raise HTTPException(404, f"{format_day(choice.before)} was not loaded.")
    read = await read_movement(reader, inspector, choice.figure, choice.day, choice.label)
    effects = next(part for part in read.movement.dimensions if part.dimension is DIMENSIONS[by])
    cached = await cache.get_or_render(
        ("why.csv", choice.figure.name, choice.day, choice.label, by),
        [read.rows],
        lambda: formats.csv_text(csv_header(choice.figure), csv_rows(choice.figure, effects)),
        "text/csv; charset=utf-8",
    )
    name = f"why-{choice.figure.name}-{by}-{choice.day}-{choice.before}.csv"
    return respond(request, cached, {"Content-Disposition": f'attachment; filename="{name}"'})
