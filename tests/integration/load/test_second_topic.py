"""A second Kafka topic: one registry entry and one raw table, with offsets, gaps and a quarantine of its own."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from confluent_kafka import Producer

from ecommerce.common.shop import shop
from ecommerce.common.sources import SOURCES, TOPIC_KEY, TOPIC_LINEAGE, Column, Kind, Source, WriteDisposition
from ecommerce.load.batches import RunIdentity
from ecommerce.load.quarantine_reader import QuarantineReader
from ecommerce.load.replay import Choice, replay
from tests.integration.load.conftest import create_topic
from tests.integration.load.events import Produce, customer_counts, event, next_offsets, once
from tests.integration.support import Loader, set_topic

#: Produces a page view of a page at a time, into partition 0, with other values in its message.
View = Callable[..., None]


@pytest.fixture(params=[Kind.TEXT, Kind.COUNT], ids=["plain messages", "validated messages"])
def page_view(
    request: pytest.FixtureRequest, loader: Loader, shop_kafka: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Source]:
    """The entry, in the registry, and its raw table. A count is no text, so each message has to be validated."""
    topic = f"views-{os.urandom(6).hex()}"
    create_topic(shop_kafka, topic)
    source = Source(
        name="page_view",
        reader="kafka",
        write_disposition=WriteDisposition.APPEND,
        key=TOPIC_KEY,
        columns=(
            Column("page", required=True),
            Column("seconds", request.param),
            Column("viewed_at", Kind.INSTANT, required=True),
        ),
        lineage=TOPIC_LINEAGE,
        day="(viewed_at at time zone 'UTC')::date",
    )
    monkeypatch.setitem(SOURCES, source.name, source)
    set_topic(monkeypatch, topic, source.name)
    loader.connection.execute(
        f"""
        create table raw.page_view (
            page text not null,
            seconds {"text" if request.param is Kind.TEXT else "integer"},
            viewed_at timestamptz not null,
            _topic text not null,
            _partition integer not null,
            _offset bigint not null,
            _published_at timestamptz,
            _batch_id bigint not null,
            _loaded_at timestamptz not null,
            primary key (_topic, _partition, _offset)
        )
        """.encode()
    )
    yield source
    loader.connection.execute("drop table raw.page_view")


@pytest.fixture
def view(page_view: Source, shop_kafka: str) -> View:
    producer = Producer({"bootstrap.servers": shop_kafka, "linger.ms": 0})

    def view(page: str | None, at: str, value: str | None = None) -> None:
        message = value or json.dumps({"page": page, "seconds": "7", "viewed_at": at})
        published = int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp() * 1000)
        producer.produce(shop().location_of("page_view").topic or "", message, partition=0, timestamp=published)
        assert producer.flush(20) == 0

    return view


def pages(loader: Loader) -> list[str]:
    return [page for (page,) in loader.rows("select page from raw.page_view order by _offset")]


def offsets_of(loader: Loader, topic: str | None) -> dict[int, int]:
    return dict(loader.rows("select partition, next_offset from ops.kafka_offset where topic = %s", [topic]))


def test_second_topic_has_its_own_table_offsets_and_dirty_dates(
    loader: Loader, topic: str, produce: Produce, page_view: Source, view: View
) -> None:
    produce(event("C1", "2024-03-01T10:00:00"))
    view("/a", "2024-03-01T10:00:00")
    view("/b", "2024-03-01T11:00:00")
    result = loader.load("page_view", "2024-03-01")
    assert (result.source, result.rows_read, result.rows_loaded, result.days_marked) == ("page_view", 2, 2, 1)
    assert loader.pop_dirty_dates() == {("page_view", "2024-03-01")}
    assert loader.load("kafka_stream", "2024-03-01").rows_loaded == 1
    assert (pages(loader), customer_counts(loader)) == (["/a", "/b"], once("C1"))
    assert offsets_of(loader, shop().location_of("page_view").topic) == {0: 2, 1: 0, 2: 0}
    assert offsets_of(loader, topic) == {0: 1, 1: 0, 2: 0}
    # Nothing is new in either.
    assert loader.load("page_view", "2024-03-01").rows_read == 0
    assert loader.load("kafka_stream", "2024-03-01").rows_read == 0


def test_second_topic_resumes_by_its_own_raw_table(loader: Loader, page_view: Source, view: View) -> None:
    for day in (1, 2, 3):
        view(f"/{day}", f"2024-03-0{day}T10:00:00")
    assert loader.load("page_view", "2024-03-03").rows_loaded == 1
    assert loader.load("page_view", "2024-03-01").rows_loaded == 1
    assert pages(loader) == ["/1", "/3"]
    # The day between is missing, and the one behind it is read along and known.
    both = loader.load("page_view", "2024-03-01", "2024-03-03")
    assert (both.rows_loaded, both.rows_read, pages(loader)) == (1, 2, ["/1", "/2", "/3"])
    assert loader.load("page_view", "2024-03-01", "2024-03-03").rows_read == 0
    assert next_offsets(loader) == {0: 3, 1: 0, 2: 0}


def test_second_topic_replays_corrected_message(loader: Loader, page_view: Source, view: View) -> None:
    view(None, "2024-03-01T10:00:00")
    view("/b", "2024-03-01T11:00:00")
    first = loader.load("page_view", "2024-03-01")
    assert (first.rows_loaded, first.rows_quarantined) == (1, 1)
    assert loader.rows("select source, reason from ops.quarantine") == [("page_view", "page is missing")]
    # A rejected message counts as read.
    assert loader.load("page_view", "2024-03-01").rows_read == 0
    corrected = json.dumps({"page": "/a", "seconds": "7", "viewed_at": "2024-03-01T10:00:00"})
    loader.connection.execute("update ops.quarantine set corrected = %s", [corrected])
    (again,) = replay(
        loader.connection,
        Choice(page_view),
        lambda source, _, condition: QuarantineReader(source, loader.connection, condition),
        run=RunIdentity("a_dag", "a_replay"),
    )
    assert (again.rows_loaded, again.rows_replayed, pages(loader)) == (1, 1, ["/a", "/b"])
    assert loader.load("page_view", "2024-03-01").rows_read == 0
