"""A broker that freezes or is killed during a read: the next try loses and doubles no message."""

import time

import pytest

from tests.faults.broker import AnyBroker, Broker
from tests.faults.invariants import check
from tests.faults.place import Place
from tests.faults.tries import Outcome

pytestmark = pytest.mark.slow
_on_both_brokers = pytest.mark.parametrize("broker", ["noida-db", "Apache Kafka"], indirect=True)


def _is_made_good(place: Place, point: str, outcome: Outcome) -> None:
    if point == "mid_copy":
        # What was fetched before the broker went needs it no more.
        assert outcome.is_success, outcome.log
    else:
        assert (outcome.exit_code, (outcome.error or "").partition(":")[0]) == (1, "SourceError"), outcome.log
        assert [status for status, *_ in place.batches()] == ["failed"]
        assert place.raw("kafka_stream").total() == 0
    place.retry("kafka_stream")
    check(place, "kafka_stream")


@_on_both_brokers
@pytest.mark.parametrize("point", ["before_read", "offsets_resolved", "mid_copy"])
def test_frozen_broker_loses_and_doubles_nothing(place: Place, broker: AnyBroker, point: str) -> None:
    reading = place.start("kafka_stream", fault=f"{point}:stop", patience=1.0)
    reading.wait_until_stopped()
    broker.freeze()
    reading.resume()
    outcome = reading.wait()
    broker.heal()
    _is_made_good(place, point, outcome)


@_on_both_brokers
@pytest.mark.parametrize("point", ["before_read", "offsets_resolved", "mid_copy"])
def test_killed_broker_loses_and_doubles_nothing(place: Place, broker: AnyBroker, point: str) -> None:
    reading = place.start("kafka_stream", fault=f"{point}:stop", patience=1.0)
    reading.wait_until_stopped()
    broker.wait_until_saved(place.sent_at)
    broker.kill()
    reading.resume()
    outcome = reading.wait()
    broker.heal()
    place.wait_for_messages()
    _is_made_good(place, point, outcome)


def test_broker_with_nothing_new_writes_down_what_it_was_given_before(broker: Broker) -> None:
    """The tests that kill it wait for that; it may have written just before they began to."""
    # Longer than it takes to write.
    time.sleep(2)
    broker.wait_until_saved(time.time())
