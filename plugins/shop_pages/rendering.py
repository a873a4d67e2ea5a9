"""Jinja templates of the pages: their filters, and what every page shows around its content."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from pathlib import Path
from typing import Any, SupportsFloat, cast

import jinja2
from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from jinja2.runtime import Context
from markupsafe import Markup

from ecommerce.common.days import time_zone
from ecommerce.common.shop import shop
from ecommerce.common.sources import CALENDAR
from ecommerce.common.version import version
from shop_pages import formats
from shop_pages.airflow_access import base_path
from shop_pages.assets import asset, style_ids
from shop_pages.cached_response import ResponseCache, encode_page, off_the_loop, respond
from shop_pages.figures import Figure, FigureColumn, json_value
from shop_pages.formats import Format
from shop_pages.pages import PAGES
from shop_pages.pool import Row
from shop_pages.queries import Rows

HTML = "text/html; charset=utf-8"

#: Address → heading, in the order of the navigation.
NAVIGATION = {
    "today": "Today",
    **{name: page.title for name, page in PAGES.items()},
    "status": "Data status",
    "models": "dbt docs",
}


def parse_day(name: str, text: str) -> date | None:
    """
    A day of an address; None for an empty text.

    :raises HTTPException: 400, it is no day, or none of the calendar: what the pages compute from it would be no day
    """
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise HTTPException(400, f"The {name} {text[:100]!r} is not a day such as 2024-01-31.") from None
    if not CALENDAR[0] <= day.isoformat() <= CALENDAR[1]:
        raise HTTPException(400, f"The {name} {day} is outside the calendar, {CALENDAR[0]} to {CALENDAR[1]}.")
    return day


@cache
def templates() -> jinja2.Environment:
    """The templates: every text in them is escaped, and an unknown name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "format_value": formats.format_value,
        "auto_format": _auto_format,
        "first_or_empty": lambda values: next(iter(values), ()),
        "reverse_pairs": lambda pairs: reversed(list(pairs)),
        "capitalized": lambda text: text[:1].upper() + text[1:],
        "day": formats.day,
        "ago": formats.ago,
        "seconds": formats.seconds,
        "timestamp": _timestamp,
        "sparkline": sparkline,
    }
    environment.globals |= {
        "Format": Format,
        "count": formats.count,
        "zip": zip,
        "one_day": timedelta(days=1),
        "describe_part": formats.describe_part,
        "style_ids": style_ids,
        "version": version,
    }
    return environment


def _zone(context: Context) -> tzinfo:
    return cast("tzinfo", context["zone"]())


@jinja2.pass_context
def _timestamp(context: Context, value: datetime | None) -> str:
    return formats.timestamp(value, _zone(context))


@jinja2.pass_context
def _auto_format(context: Context, value: Any, value_format: Format = Format.TEXT) -> str:
    return formats.auto_format(value, value_format, _zone(context) if isinstance(value, datetime) else UTC)


def render_html(request: Request, template: str, parts: Sequence[Rows] = (), **values: Any) -> str:
    """A page as text, with the navigation and, if any of its rows are an earlier result, a warning."""
    stale = [part for part in parts if part.problem]
    return templates().get_template(template).render(
        base=request.scope["root_path"],
        airflow=base_path(),
        navigation=NAVIGATION,
        asset=lambda name: f"{request.scope['root_path']}/static/{asset(name).digest}/{name}",
        stale_since=min((part.read_at for part in stale), default=None),
        stale_reason=stale[0].problem if stale else None,
        # Asked once a page, since a page may have a thousand times, and only by a page that shows it: the one that says
        # that the profile cannot be read does not.
        zone=cache(time_zone),
        now=datetime.now(UTC),
        **values,
    )  # fmt: skip


async def render(
    request: Request, template: str, status: int = 200, parts: Sequence[Rows] = (), **values: Any
) -> Response:
    """
    A page for this request only, which is not cached.

    :raises PageTooLarge: it has more than `PAGE_BYTES`
    """
    content = await off_the_loop(lambda: encode_page(render_html(request, template, parts, **values)))
    return HTMLResponse(content, status_code=status)


async def render_cached(
    request: Request, template: str, parts: Sequence[Rows], key: Hashable, values: Callable[[], dict[str, Any]]
) -> Response:
    """
    A page that is the same for all users: rendered once, as long as its rows are the same.

    :param parts: the rows that it shows
    :param key: what else it depends on: the filters. What the shop's profile says need not be in it
    :param values: the template's values; called only if the page is not cached
    """
    cache: ResponseCache = request.app.state.responses
    cached = await cache.get_or_render(
        (template, request.scope["root_path"], key, shop().time_zone, *shop().absent),
        parts,
        lambda: render_html(request, template, parts, **values()),
        HTML,
    )
    return respond(request, cached)


def render_table(figure: Figure, columns: Sequence[FigureColumn], rows: Sequence[Row], base: str) -> Markup:
    """A figure's table, each row with the link to the facts behind it."""
    parts = templates().get_template("parts.html").make_module({"zone": cache(time_zone)})
    return parts.table(columns, rows, figure.title, base, figure, figure.links)  # type: ignore[attr-defined]


def embed_json(value: Any) -> Markup:
    """JSON for a data block of the page, escaped so that no text in it can end the block."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, default=json_value)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))  # noqa: S704


def escape_texts(value: Any) -> Any:
    """A chart with its texts escaped, since Plotly reads HTML tags in them; its templates stay as they are."""
    if isinstance(value, str):
        return value.replace("&", "&amp;").replace("<", "&lt;")
    if isinstance(value, Mapping):
        return {name: part if name.endswith("template") else escape_texts(part) for name, part in value.items()}
    return [escape_texts(part) for part in value] if isinstance(value, list) else value


def sparkline(values: Sequence[SupportsFloat | None], width: int = 120, height: int = 32) -> dict[str, Any]:
    """The SVG lines of a sparkline: interrupted at days without a value, level if all values are the same."""
    points = _scale([None if value is None else float(value) for value in values], width, height)
    segments: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            segments.append([])
        else:
            segments[-1].append(point)
    return {
        "lines": [" ".join(f"{x},{y}" for x, y in segment) for segment in segments if segment],
        "width": width,
        "height": height,
    }


def _scale(values: Sequence[float | None], width: int, height: int) -> list[tuple[float, float] | None]:
    """Values → points of the picture, with a margin of three pixels."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    step = (width - 6) / max(len(values) - 1, 1)

    def y_of(value: float) -> float:
        return height / 2 if high == low else height - 3 - (value - low) / (high - low) * (height - 6)

    return [
        None if value is None else (round(3 + n * step, 1), round(y_of(value), 1)) for n, value in enumerate(values)
    ]
