"""The files that pages load: style sheet, scripts, icons and the chart library."""

from __future__ import annotations

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
    path, media_type = ASSETS[name]
    content = (files("plotly") / "package_data" / name if path is None else path).read_bytes()
    return CachedResponse.compress(content, media_type, level=6)
