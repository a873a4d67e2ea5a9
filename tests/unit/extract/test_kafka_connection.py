"""Every setting of the connection `shop_kafka` reaches the consumer; what exactly-once rests on is the loader's own."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer

from ecommerce.common.shop import shop
from ecommerce.common.sources import SOURCES
from ecommerce.extract import kafka_topic

PAGE = (Path(__file__).parents[3] / "docs" / "kafka.md").read_text()
EXTRAS = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]


def settings_of(extra: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the consumer is made of; librdkafka itself has taken it."""
    seen: dict[str, Any] = {}

    def consumer(settings: dict[str, Any]) -> Consumer:
        seen.update(settings)
        return Consumer(settings)

    monkeypatch.setattr(kafka_topic, "Consumer", consumer)
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_KAFKA", json.dumps({"conn_type": "kafka", "extra": extra}))
    source, location = SOURCES["kafka_stream"], shop().location_of("kafka_stream")
    kafka_topic.client_of(kafka_topic.ConsumerHook(location.connection), source, location).close()
    return seen


@pytest.mark.parametrize("extra", [extra for extra in EXTRAS if extra["sasl.mechanism"] != "OAUTHBEARER"])
def test_the_pages_examples_reach_the_consumer(extra: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    # The file with the authority's certificate is not on this machine.
    given = {name: value for name, value in extra.items() if name != "ssl.ca.location"} | {"log_level": 0}
    assert len(EXTRAS) == 4
    assert settings_of(given, monkeypatch).items() >= given.items()


def test_settings_of_the_loader_cannot_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    own: dict[str, Any] = {"enable.auto.commit": False, "enable.auto.offset.store": False, "enable.partition.eof": True}
    own |= {"auto.offset.reset": "error", "isolation.level": "read_committed"}
    given: dict[str, Any] = {name: not value if isinstance(value, bool) else "earliest" for name, value in own.items()}
    given |= {
        "isolation.level": "read_uncommitted",
        "bootstrap.servers": "127.0.0.1:9",
        "group.id": "mine",
        "log_level": 0,
    }
    seen = settings_of(given, monkeypatch)
    assert seen.items() >= own.items()
    assert seen["group.id"] == "mine"
