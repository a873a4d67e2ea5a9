"""Reading a topic from a broker with TLS and SASL, by the connection `shop_kafka`."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from ecommerce.common.errors import SourceError
from tests.integration.load.events import Produce, customer_counts, event, next_offsets, once
from tests.integration.load.secured import SecuredBroker
from tests.integration.support import Loader

MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@pytest.fixture
def front(shop_kafka: str, request: pytest.FixtureRequest) -> SecuredBroker:
    return SecuredBroker(getattr(request, "param", "SCRAM-SHA-512"), "reader", "a secret, with: signs", shop_kafka)


@pytest.fixture
def settings(front: SecuredBroker, tmp_path: Path) -> Iterator[dict[str, str]]:
    with front.running(tmp_path) as settings:
        yield settings


def connect(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    extra = {**settings, "log_level": "0"}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_KAFKA", json.dumps({"conn_type": "kafka", "extra": extra}))


def refused(loader: Loader) -> str:
    with pytest.raises(SourceError) as error:
        loader.load("kafka_stream", "2024-03-01")
    assert next_offsets(loader) == {}
    return str(error.value)


@pytest.mark.parametrize("front", MECHANISMS, indirect=True)
def test_topic_is_read_over_tls_with_sasl_user(
    loader: Loader,
    produce: Produce,
    front: SecuredBroker,
    settings: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for partition in range(3):
        produce(event(f"c{partition}", "2024-03-01T10:00:00"), partition=partition)
    connect(monkeypatch, settings)
    assert loader.load("kafka_stream", "2024-03-01").rows_loaded == 3
    assert customer_counts(loader) == once("c0", "c1", "c2")
    assert loader.load("kafka_stream", "2024-03-01").rows_read == 0
    assert set(front.asked) == {front.mechanism}
    assert front.admitted == len(front.asked)


@pytest.mark.parametrize("front", MECHANISMS, indirect=True)
def test_wrong_password_is_named_in_error(
    loader: Loader,
    topic: str,
    front: SecuredBroker,
    settings: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    impatient: None,
) -> None:
    connect(monkeypatch, settings | {"sasl.password": "another"})
    sentence = refused(loader)
    assert "at the connection 'shop_kafka' cannot be read: " in sentence
    assert "Authentication failed" in sentence
    assert "another" not in sentence
    assert front.admitted == 0


def test_untrusted_certificate_is_named_in_error(
    loader: Loader,
    topic: str,
    settings: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    impatient: None,
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    connect(monkeypatch, settings | {"ssl.ca.location": str(other)})
    assert "certificate verify failed" in refused(loader)


def test_plaintext_connection_to_tls_broker_fails(
    loader: Loader, topic: str, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    connect(monkeypatch, {"bootstrap.servers": settings["bootstrap.servers"]})
    assert "Local: Broker transport failure" in refused(loader)
