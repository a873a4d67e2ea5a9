"""Messages of the topic, and what the warehouse holds of them."""

import json
from collections.abc import Callable
from typing import Any

from tests.integration.support import Loader

Produce = Callable[..., None]


def event(customer: str, at: str, **values: Any) -> tuple[str, str]:
    """A message that is published when it happens."""
    fields = {"customer_id": customer, "product_id": "P1", "interaction_type": "view", "timestamp": at} | values
    return at, json.dumps(fields)


def held(loader: Loader) -> dict[str, int]:
    """How many times each customer is held."""
    return dict(loader.rows("select customer_id, count(*) from raw.kafka_stream group by 1"))


def positions(loader: Loader) -> dict[int, int]:
    return dict(loader.rows("select partition, next_offset from ops.kafka_offset order by 1"))


def once(*names: str) -> dict[str, int]:
    return dict.fromkeys(names, 1)
