"""What the shop does not have, in the words of the pages."""

from __future__ import annotations

from ecommerce.common.shop import shop
from ecommerce.common.sources import FILLED_BY

#: Source → what a shop without it does not have.
_PLAIN_WORDS = {
    "kafka_stream": "customer events",
    "product": "product list",
    "product_category": "product categories",
    "refund": "refunds",
    "customer": "customer list",
    "subscription_data": "subscriptions",
    "weather_data": "weather",
}


def absent_in_words() -> str:
    """All that the shop does not have, as "This shop has no subscriptions, weather."; empty if it has everything."""
    words = [_PLAIN_WORDS.get(source, source) for source in shop().absent]
    return f"This shop has no {', '.join(words)}." if words else ""


def absence_of(mart: str) -> str | None:
    """Why a mart is empty, as "This shop has no subscriptions."; None: not for want of a source."""
    if shop().fills(mart):
        return None
    source = FILLED_BY[mart]
    return f"This shop has no {_PLAIN_WORDS.get(source, source)}."
