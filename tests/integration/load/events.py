"""Helpers of the tests of a topic: events to produce, and the messages and offsets that the warehouse has."""

import json
from collections.abc import Callable
from typing import Any

from tests.integration.support import Loader

Produce = Callable[..., None]


def event(customer: str, at: str, **values: Any) -> tuple[str, str]:
    """An event's time and message; it is published when it happens."""
    fields = {"customer_id": customer, "product_id": "P1", "interaction_type": "view", "timestamp": at} | values
    return at, json.dumps(fields)


def customer_counts(loader: Loader) -> dict[str, int]:
    """How many messages of each customer raw has."""
    return dict(loader.rows("select customer_id, count(*) from raw.kafka_stream_all group by 1"))


def next_offsets(loader: Loader) -> dict[int, int]:
    return dict(loader.rows("select partition, next_offset from ops.kafka_offset order by 1"))


def once(*names: str) -> dict[str, int]:
    return dict.fromkeys(names, 1)
