"""The files that pages load: style sheet, scripts, icons and the chart library."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from pathlib import Path

from shop_pages.cached_response import CachedResponse

_STATIC = Path(__file__).parent / "static"

#: Name → file and media type. Plotly comes from its PyPI package.
ASSETS = {
    "pages.css": (_STATIC / "pages.css", "text/css; charset=utf-8"),
    "pages.js": (_STATIC / "pages.js", "text/javascript; charset=utf-8"),
    "theme.js": (_STATIC / "theme.js", "text/javascript; charset=utf-8"),
    "shop.svg": (_STATIC / "shop.svg", "image/svg+xml"),
    "shop-dark.svg": (_STATIC / "shop-dark.svg", "image/svg+xml"),
    "plotly.min.js": (None, "text/javascript; charset=utf-8"),
}


@cache
def asset(name: str) -> CachedResponse:
    """A file, read and compressed once in each process."""
    return CachedResponse.compress(_content(name), ASSETS[name][1], level=6)


def _content(name: str) -> bytes:
    path, _ = ASSETS[name]
    return (files("plotly") / "package_data" / name if path is None else path).read_bytes()


@cache
def style_ids() -> tuple[str, ...]:
    """
    The ids of the styles that Plotly adds to a page when it is loaded, unless the page has an element of the id.

    They are of its maps, which the pages do not have, and the pages' security policy forbids them.
    """
    return tuple(re.findall(r'getElementById\("([0-9a-f]{64})"\)', _content("plotly.min.js").decode()))
