"""Jinja templates of the pages: their filters, and what every page shows around its content."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from pathlib import Path
from typing import Any, SupportsFloat, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

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
from shop_pages.columns import currency, definition_of, value_in_words
from shop_pages.figures import Figure, FigureColumn, json_value
from shop_pages.formats import Format
from shop_pages.pages import PAGES
from shop_pages.pool import Row
from shop_pages.queries import Rows
from shop_pages.replica import ReplicaLag
from shop_pages.tables import PlacedTable, TableChoice, links_of
from shop_pages.words import heading_of, words_of

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
        "heading": heading_of,
        "words": words_of,
        "in_words": _in_words,
        "sparkline": sparkline,
    }
    environment.globals |= {
        "Format": Format,
        "count": formats.count,
        "zip": zip,
        "one_day": timedelta(days=1),
        "describe_part": formats.describe_part,
        "definition_of": definition_of,
        "style_ids": style_ids,
        "version": version,
        "own_choice": TableChoice(),
    }
    return environment


def _zone(context: Context) -> tzinfo:
    return cast("tzinfo", context["zone"]())


@jinja2.pass_context
def _timestamp(context: Context, value: datetime | None) -> str:
    return formats.timestamp(value, _zone(context))


@jinja2.pass_context
def _in_words(context: Context, value: Any, name: str, mart: str = "") -> str:
    return value_in_words(mart, name, value, _zone(context))


@jinja2.pass_context
def _auto_format(context: Context, value: Any, value_format: Format = Format.TEXT) -> str:
    return formats.auto_format(value, value_format, _zone(context) if isinstance(value, datetime) else UTC)


def render_html(request: Request, template: str, parts: Sequence[Rows], lag: ReplicaLag | None, **values: Any) -> str:
    """
    A page as text, with the navigation and, if its figures are not the latest, a warning.

    :param lag: what the replica that the pages read lacks
    """
    stale = [part for part in parts if part.problem]
    return templates().get_template(template).render(
        base=request.scope["root_path"],
        airflow=base_path(),
        navigation=NAVIGATION,
        asset=lambda name: f"{request.scope['root_path']}/static/{asset(name).digest}/{name}",
        stale_since=min((part.read_at for part in stale), default=None),
        stale_reason=stale[0].problem if stale else None,
        lag=lag,
        # Asked once a page, since a page may have a thousand times, and only by a page that shows it: the one that says
        # that the profile cannot be read does not.
        zone=cache(time_zone),
        currency=cache(currency),
        now=datetime.now(UTC),
        # The filters that the reader has chosen, for the links of the menu to the other pages of figures.
        menu_query=_chosen_filters(request),
        filtered_pages=PAGES,
        **values,
    )  # fmt: skip


#: The filters that all pages of figures have.
_MENU_FILTERS = ("first", "last", "category")


def _chosen_filters(request: Request) -> str:
    """`first=2024-06-01&last=2024-06-28` of the address of a page of figures; empty for none."""
    chosen = request.query_params
    if request.url.path.removeprefix(request.scope["root_path"]).strip("/").partition("/")[0] not in PAGES:
        return ""
    return urlencode({name: chosen[name] for name in _MENU_FILTERS if chosen.get(name)})


async def render(
    request: Request, template: str, status: int = 200, parts: Sequence[Rows] = (), **values: Any
) -> Response:
    """
    A page for this request only, which is not cached.

    :raises PageTooLarge: it has more than `PAGE_BYTES`
    """
    lag = request.app.state.replica.lag
    content = await off_the_loop(lambda: encode_page(render_html(request, template, parts, lag, **values)))
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
    lag = request.app.state.replica.lag
    cached = await cache.get_or_render(
        (
            template,
            request.scope["root_path"],
            key,
            shop().time_zone,
            shop().currency,
            *shop().absent,
            _chosen_filters(request),
            lag,
        ),
        parts,
        lambda: render_html(request, template, parts, lag, **values()),
        HTML,
    )
    return respond(request, cached)


def render_table(
    base: str,
    placed: PlacedTable,
    rows: Sequence[Row],
    choice: TableChoice,
    columns: Sequence[FigureColumn] | None = None,
) -> Markup:
    """
    A table whose headings lead to the whole one, sorted by them; that of a figure with the links to the facts.

    :param base: the address of the pages
    :param columns: those that are shown, if that is not all
    """
    table = placed.table
    parts = templates().get_template("parts.html").make_module(
        {
            "zone": cache(time_zone),
            "currency": cache(currency),
            "base": base,
            "airflow": base_path(),
            "now": datetime.now(UTC),
        }
    )  # fmt: skip
    links: Mapping[str, Callable[[Row], str]] = table.links
    figure = table if isinstance(table, Figure) else None
    if figure is not None:
        # The filters of the page that it stands on.
        query = urlencode(placed.address)
        page = PAGES[placed.path.split("/")[1]]
        links = {name: _filtered(link, query) for name, link in links_of(page, figure).items()}
    sort = placed.sort_links(choice)
    shown = columns or table.columns
    return parts.table(shown, rows, table.title, base, figure, links, sort)  # type: ignore[attr-defined]


def _filtered(link: Callable[[Row], str], query: str) -> Callable[[Row], str]:
    return lambda row: with_filters(link(row), query)


def with_filters(path: str, query: str) -> str:
    """A path of a page of figures with the filters of the page that it stands on; its own come first."""
    address = urlsplit(path)
    if address.path.strip("/").partition("/")[0] not in PAGES:
        return path
    own = dict(parse_qsl(address.query, keep_blank_values=True))
    anchor = f"#{address.fragment}" if address.fragment else ""
    return f"{address.path}?{urlencode(dict(parse_qsl(query, keep_blank_values=True)) | own)}{anchor}"


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
