"""What SQL names are called on the pages: the one place where `fact_sales` becomes `Order lines`."""

from __future__ import annotations

import re

#: What tables are called whose names say less.
TABLES = {
    "fact_sales": "Order lines",
    "fact_refunds": "Refunds",
    "fact_customer_events": "Customer events",
    "fact_subscriptions": "Subscriptions",
    "fact_weather": "Weather",
}
#: A table with its schema.
_SCHEMA = re.compile(r"\b(?:raw|staging|core|marts_build|marts|ops|quality)\.(?=\w)")
#: A name of several words, such as `order_amount`.
_NAME = re.compile(r"(?<![\w/])[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?![\w/])")


def heading_of(name: str) -> str:
    """A table, a column, a check in words: `Daily revenue` of `daily_revenue`, `Batch id` of `_batch_id`."""
    if name in TABLES:
        return TABLES[name]
    words = words_of(name.strip("_"))
    return words[:1].upper() + words[1:]


def words_of(text: str) -> str:
    """A text whose SQL names are words: `order lines` of `core.fact_sales`, `a source, product category` …"""
    without_schemas = _SCHEMA.sub("", text)
    return _NAME.sub(lambda found: _words(found[0]), without_schemas)


def _words(name: str) -> str:
    return TABLES[name].lower() if name in TABLES else name.replace("_", " ")
