"""Where the API server serves the shop's pages; alerts and the digest link to them."""

from __future__ import annotations

from collections.abc import Callable

#: Path of the pages below Airflow's own.
PAGES_PREFIX = "/shop"


def pages_address(base_url: str) -> Callable[[str], str] | None:
    """
    Path of a page, below the pages' own → its address in Airflow's UI.

    :param base_url: of Airflow's UI; without it there are no links
    """
    if not base_url:
        return None
    base = f"{base_url.rstrip('/')}/plugin/shop{PAGES_PREFIX}"
    return lambda path: f"{base}{path}"
