"""What the shop does not have, in the words of the pages."""

from __future__ import annotations

from ecommerce.common.shop import shop
from ecommerce.common.sources import FILLED_BY

#: Source → what a shop without it does not have.
_PLAIN_WORDS = {
    "kafka_stream": "customer interactions",
    "product": "product list",
    "product_category": "product categories and stock",
    "refund": "refunds",
    "customer": "customer list",
    "subscription_data": "subscriptions",
    "weather_data": "weather",
}


def absent_in_words() -> str:
    """All that the shop does not have, as "This shop has no subscriptions or weather."; empty if it has everything."""
    words = [_PLAIN_WORDS.get(source, source) for source in shop().absent]
    *others, last = words or [""]
    return f"This shop has no {', '.join(others)}{' or ' if others else ''}{last}." if words else ""


def absence_of_source(source: str) -> str | None:
    """ "This shop has no refunds."; None: the shop has the source."""
    return None if shop().has(source) else f"This shop has no {_PLAIN_WORDS.get(source, source)}."


def absence_of(table: str) -> str | None:
    """Why a table of core or marts is empty, as "This shop has no refunds."; None: not for want of a source."""
    source = FILLED_BY.get(table)
    return absence_of_source(source) if source else None
