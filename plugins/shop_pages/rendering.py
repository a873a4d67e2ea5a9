"""Templates and assets: how an answer is written, and the files that pages load."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from markupsafe import Markup

from shop_pages import formats, limits
from shop_pages.cached_response import KeptPages, Written, answer
from shop_pages.figures import Figure, plain
from shop_pages.formats import Kind
from shop_pages.pages import PAGES
from shop_pages.queries import Row, Rows

HTML = "text/html; charset=utf-8"

_HERE = Path(__file__).parent

#: Address → heading, in the order of the navigation.
NAVIGATION = {
    "today": "Today",
    **{name: page.title for name, page in PAGES.items()},
    "status": "Data status",
    "models": "dbt docs",
}


def parse_day(name: str, text: str) -> date | None:
    """
    A day of an address; None where there is none.

    :raises HTTPException: 400, it is no day
    """
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise HTTPException(400, f"The {name} {text!r} is not a day such as 2024-01-31.") from None


# -- assets ------------------------------------------------------------------------------------------------------------


#: Name → where it comes from. Plotly's is the one of its PyPI package.
ASSETS = {
    "pages.css": (_HERE / "static" / "pages.css", "text/css; charset=utf-8"),
    "pages.js": (_HERE / "static" / "pages.js", "text/javascript; charset=utf-8"),
    "theme.js": (_HERE / "static" / "theme.js", "text/javascript; charset=utf-8"),
    "shop.svg": (_HERE / "static" / "shop.svg", "image/svg+xml"),
    "shop-dark.svg": (_HERE / "static" / "shop-dark.svg", "image/svg+xml"),
    "plotly.min.js": (None, "text/javascript; charset=utf-8"),
}


@cache
def asset(name: str) -> Written:
    """A file, read and compressed once a process."""
    path, media_type = ASSETS[name]
    content = (files("plotly") / "package_data" / name if path is None else path).read_bytes()
    return Written.of(content, media_type, level=6)


# -- templates ---------------------------------------------------------------------------------------------------------


@cache
def templates() -> jinja2.Environment:
    """Every text in them is escaped, and a name that is not given is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "written": formats.written,
        "plainly": plainly,
        # For a thousand dots of a page: a filter costs Jinja a tenth of what a method of the text does.
        "first_word": lambda text: text.partition(" ")[0],
        "first_of": lambda values: next(iter(values), ()),
        "reverse_of": lambda pairs: reversed(list(pairs)),
        "day": formats.day,
        "ago": formats.ago,
        "seconds": formats.seconds,
        "moment": lambda value: formats.moment(value, limits.shop_time_zone()),
        "spark": spark,
    }
    environment.globals |= {
        "Kind": Kind,
        "count": formats.count,
        "one_day": timedelta(days=1),
        "PAGE_ROWS": limits.PAGE_ROWS,
        "ROW_CAP": limits.ROW_CAP,
    }
    return environment


def page_of(request: Request, template: str, parts: Sequence[Rows] = (), **values: Any) -> str:
    """A template with what every page has: the navigation, and whether something of it is of an earlier time."""
    stale = [part for part in parts if part.problem]
    return templates().get_template(template).render(
        base=request.scope["root_path"],
        airflow=limits.base_path(),
        navigation=NAVIGATION,
        asset=lambda name: f"{request.scope['root_path']}/static/{asset(name).digest}/{name}",
        stale_since=min((part.read_at for part in stale), default=None),
        stale_because=stale[0].problem if stale else None,
        zone=limits.shop_time_zone().key,
        now=datetime.now(UTC),
        **values,
    )  # fmt: skip


def render(request: Request, template: str, status: int = 200, parts: Sequence[Rows] = (), **values: Any) -> Response:
    """A page of this moment and this user, which no one keeps."""
    return HTMLResponse(page_of(request, template, parts, **values), status_code=status)


def kept(
    request: Request, template: str, parts: Sequence[Rows], key: Hashable, values: Callable[[], dict[str, Any]]
) -> Response:
    """
    A page that is the same for everyone, written once for all who ask while its rows are the same.

    :param parts: the rows that it is made of
    :param key: what else it is made of: what was chosen
    :param values: as of `render`; not asked where the page is kept
    """
    pages: KeptPages = request.app.state.pages
    written = pages.of(
        (template, request.scope["root_path"], key),
        parts,
        lambda: page_of(request, template, parts, **values()),
        HTML,
    )
    return answer(request, written)


def table(figure: Figure, rows: Sequence[Row], base: str) -> Markup:
    """A figure's table, each row with the way to what is behind it."""
    return templates().get_template("parts.html").module.table(figure.columns, rows, figure.title, base, figure)  # type: ignore[attr-defined]


def plainly(value: Any, kind: Kind = Kind.TEXT) -> str:
    """A value as its column is written, or, where nobody says how, as what it is."""
    if kind is Kind.TEXT and isinstance(value, datetime):
        return formats.written(value, Kind.MOMENT)
    if kind is Kind.TEXT and isinstance(value, bool):
        return formats.written(value, Kind.FLAG)
    return formats.written(value, kind)


def embedded(value: Any) -> Markup:
    """JSON for a data block of the page; nothing in it can end the block."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, default=plain)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))  # noqa: S704


def literal(value: Any) -> Any:
    """Texts as they are: Plotly reads tags in them, and a product's name is none."""
    if isinstance(value, str):
        return value.replace("&", "&amp;").replace("<", "&lt;")
    if isinstance(value, Mapping):
        return {name: part if name.endswith("template") else literal(part) for name, part in value.items()}
    return [literal(part) for part in value] if isinstance(value, list) else value


def spark(values: list[float | None], width: int = 120, height: int = 32) -> dict[str, Any]:
    """The lines of a sparkline: broken where a day has no figure, level where all are the same."""
    known = [value for value in values if value is not None]
    if not known:
        return {"lines": [], "last": None, "width": width, "height": height}
    low, high = min(known), max(known)
    step = (width - 6) / max(len(values) - 1, 1)
    points = [
        None if value is None else (
            round(3 + n * step, 1),
            round(height / 2 if high == low else height - 3 - (value - low) / (high - low) * (height - 6), 1),
        )
        for n, value in enumerate(values)
    ]  # fmt: skip
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return {
        "lines": [" ".join(f"{x},{y}" for x, y in run) for run in runs if run],
        "last": points[-1],
        "width": width,
        "height": height,
    }
