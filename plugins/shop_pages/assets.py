"""The files that pages load: style sheet, scripts, icons and the chart library."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from shop_pages.cached_response import CachedResponse

_STATIC = Path(__file__).parent / "static"

#: The charts' library: what plotly.js has for charts with two axes (npm's plotly.js-cartesian-dist-min).
PLOTLY = "plotly-cartesian.min.js"
#: Name of the file → media type.
ASSETS = {
    "pages.css": "text/css; charset=utf-8",
    "pages.js": "text/javascript; charset=utf-8",
    "theme.js": "text/javascript; charset=utf-8",
    "shop.svg": "image/svg+xml",
    "shop-dark.svg": "image/svg+xml",
    PLOTLY: "text/javascript; charset=utf-8",
}


@cache
def asset(name: str) -> CachedResponse:
    """A file, read and compressed once in each process."""
    return CachedResponse.compress((_STATIC / name).read_bytes(), ASSETS[name], level=6)


@cache
def style_ids() -> tuple[str, ...]:
    """
    The ids of the styles that Plotly adds to a page when it is loaded, unless the page has an element of the id.

    They are of its maps, which the pages do not have, and the pages' security policy forbids them.
    """
    return tuple(re.findall(r'getElementById\("([0-9a-f]{64})"\)', (_STATIC / PLOTLY).read_text()))
