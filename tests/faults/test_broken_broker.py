"""The broker freezes or is killed while its topic is read; the next try reads on, and no message is lost or doubled."""

import time
from collections.abc import Iterator

import pytest

from tests.faults.broker import Broker
from tests.faults.invariants import check
from tests.faults.place import Place
from tests.faults.tries import Outcome


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(tmp_path_factory.mktemp("broker"))
    yield broker
    broker.kill()


@pytest.fixture
def topic(place: Place, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The place, with its topic at the broker of these tests."""
    monkeypatch.setattr(place, "bootstrap", broker.bootstrap)
    place.empty()
    place.fill()
    broker.wait_until_saved(time.time())
    return place


def _is_made_good(topic: Place, point: str, outcome: Outcome) -> None:
    if point == "mid_copy":
        # What was fetched before the broker went needs it no more.
        assert outcome.is_success, outcome.log
    else:
        assert (outcome.exit_code, (outcome.error or "").partition(":")[0]) == (1, "SourceError"), outcome.log
        assert [status for status, *_ in topic.batches()] == ["failed"]
        assert topic.raw("kafka_stream").total() == 0
    topic.retry("kafka_stream")
    check(topic, "kafka_stream")


@pytest.mark.parametrize("point", ["before_read", "topic_asked", "mid_copy"])
def test_a_broker_that_freezes(topic: Place, broker: Broker, point: str) -> None:
    reading = topic.start("kafka_stream", fault=f"{point}:stop", patience=1.0)
    reading.wait_until_stopped()
    broker.freeze()
    reading.resume()
    outcome = reading.wait()
    broker.thaw()
    _is_made_good(topic, point, outcome)


@pytest.mark.parametrize("point", ["before_read", "topic_asked", "mid_copy"])
def test_a_broker_that_is_killed(topic: Place, broker: Broker, point: str) -> None:
    reading = topic.start("kafka_stream", fault=f"{point}:stop", patience=1.0)
    reading.wait_until_stopped()
    broker.kill()
    reading.resume()
    outcome = reading.wait()
    broker.start()
    topic.wait_for_messages()
    _is_made_good(topic, point, outcome)
