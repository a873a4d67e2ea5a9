"""
Customers and products from the change events of their tables, through the loader that a run uses.

What an event may look like is in `tests/unit/extract/test_debezium.py`.
"""

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from ecommerce.common.errors import MassRemoval, QuarantineOverflow, ShopError, SourceError
from ecommerce.common.shop import shop
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import Window
from ecommerce.extract.change_reader import ChangeReader
from ecommerce.extract.readers import reader_of
from ecommerce.load.replay import Choice, reader_of_rejected, replay
from ecommerce.load.result import LoadResult
from ecommerce.load.shop_check import check_shop
from tests.integration.load.conftest import LARGEST, on_both_brokers
from tests.integration.load.events import next_offsets
from tests.integration.load.test_kafka_gaps import expire, gaps
from tests.integration.support import RUN, Loader, set_shop
from tests.schema_registry.server import SchemaRegistryServer

#: Column → column of the shop's own table.
FIELDS = {"customer_id": "id", "customer_name": "name", "customer_email": "email", "start_date": "joined"}
SETTINGS = {"connection": "shop_kafka", "fields": FIELDS}
#: The moment of a change: minutes after 2024-03-01 10:00.
START = datetime(2024, 3, 1, 10, tzinfo=UTC)

Send = Callable[..., None]

VERSIONS = """
select customer_id, customer_name, _is_deleted, extract(epoch from _valid_from - '2024-03-01 10:00Z')::integer / 60
from raw.customer
order by customer_id, _batch_id, _valid_from
"""


def millis(minute: float) -> int:
    return int((START + timedelta(minutes=minute)).timestamp() * 1000)


def row(key: int, name: str | None = "Ada", **values: Any) -> dict[str, Any]:
    return {
        "id": key,
        "name": name,
        "email": f"{key}@example.org",
        "joined": 19783,
        "end_date": None,
        "status": "a",
    } | (values)


def change(op: str, minute: float, before: Any = None, after: Any = None) -> dict[str, Any]:
    return {"op": op, "before": before, "after": after, "source": {"ts_ms": millis(minute)}, "ts_ms": millis(minute)}


@pytest.fixture
def send(shop_kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch) -> Send:
    """
    Produce changes of the table of customers into a topic that the profile names: (key, event); None: a tombstone.

    A message is published when the change happened; ``published`` gives another minute.
    """
    set_shop(monkeypatch, customer=SETTINGS | {"topic": topic}, kafka_stream="absent")
    producer = Producer({"bootstrap.servers": shop_kafka, "linger.ms": 0, "message.max.bytes": LARGEST})

    def send(*events: tuple[int | None, Any], partition: int = 0, published: float | None = None) -> None:
        for key, event in events:
            is_ready = isinstance(event, bytes)
            value = event if is_ready or event is None else json.dumps(event).encode()
            at = event["ts_ms"] if isinstance(event, dict) and "ts_ms" in event else millis(published or 0)
            if published is not None:
                at = millis(published)
            key_bytes = None if key is None else json.dumps({"id": key}).encode()
            producer.produce(topic, value, key_bytes, partition, timestamp=at)
        assert producer.flush(20) == 0

    return send


def load(loader: Loader, first: str = "2024-03-01", last: str | None = None, **more: Any) -> LoadResult:
    return loader.load("customer", first, last, **more)


@on_both_brokers
def test_versions_between_two_reads_are_kept(loader: Loader, send: Send) -> None:
    send(
        (1, change("r", 0, None, row(1, "Ada"))),
        (2, change("r", 0, None, row(2, "Bo"))),
        (1, change("u", 5, None, row(1, "Ada B"))),
        (1, change("u", 7, row(1, "Ada B"), row(1, "Ada C"))),
        # Of a column that the warehouse does not have.
        (1, change("u", 8, None, row(1, "Ada C", loyalty=5))),
        (2, change("d", 9, row(2, "Bo"))),
        (2, None),
        (3, change("c", 10, None, row(3, "Cy"))),
    )
    result = load(loader)
    assert loader.rows(VERSIONS) == [
        ("1", "Ada", False, 0), ("1", "Ada B", False, 5), ("1", "Ada C", False, 7),
        ("2", "Bo", False, 0), ("2", None, True, 9), ("3", "Cy", False, 10),
    ]  # fmt: skip
    assert (result.rows_read, result.rows_loaded, result.rows_removed, result.rows_unchanged) == (8, 5, 1, 3)
    assert loader.rows("select start_date::text, customer_email from raw.customer where customer_id = '3'") == [
        ("2024-03-01", "3@example.org")
    ]
    assert next_offsets(loader) == {0: 8, 1: 0, 2: 0}
    again = load(loader)
    assert (again.rows_read, again.rows_loaded) == (0, 0)

    # A row that is there again, and one that did not change.
    send((2, change("c", 20, None, row(2, "Bo"))), (3, change("r", 21, None, row(3, "Cy"))))
    assert load(loader).rows_loaded == 1
    assert loader.rows(VERSIONS)[3:] == [
        ("2", "Bo", False, 0), ("2", None, True, 9), ("2", "Bo", False, 20), ("3", "Cy", False, 10),
    ]  # fmt: skip


@on_both_brokers
def test_window_ends_the_read_and_nothing_before_it_is_left_out(loader: Loader, send: Send) -> None:
    day = 24 * 60
    send(
        (1, change("r", 0, None, row(1, "first"))),
        (1, change("u", day, None, row(1, "second"))),
        (1, change("u", 2 * day, None, row(1, "third"))),
    )
    assert load(loader, "2024-03-01").rows_loaded == 1
    # A day between is read along; an older one has nothing new.
    assert load(loader, "2024-03-03").rows_loaded == 2
    assert load(loader, "2024-03-02").rows_read == 0
    assert [name for _, name, *_ in loader.rows(VERSIONS)] == ["first", "second", "third"]


def history(chance: random.Random) -> Iterator[tuple[int, Any]]:
    """Changes of four rows, in the order of the log; some have the time of the one before, or an earlier one."""
    rows: dict[int, str] = {}
    minute = 0.0
    for number in range(40):
        minute += chance.choice([0, 0.5, 1, 3, -0.5])
        key = chance.randrange(4)
        if key not in rows:
            rows[key] = f"n{chance.randrange(3)}"
            yield key, change(chance.choice("cr"), minute, None, row(key, rows[key]))
        elif chance.random() < 0.25:
            yield key, change("d", minute, row(key, rows.pop(key)))
            if chance.random() < 0.5:
                yield key, None
        else:
            rows[key] = f"n{chance.randrange(3)}"
            yield key, change("u", minute, None, row(key, rows[key], email=f"{number % 2}@example.org"))


@pytest.mark.parametrize("seed", range(3))
def test_loads_at_any_time_give_the_same_history(loader: Loader, send: Send, seed: int) -> None:
    """All at once, or cut anywhere: the same versions, valid from the same times."""
    chance = random.Random(seed)
    events = [*history(chance)]
    versions = """
        select customer_id, customer_name, customer_email, _is_deleted, _valid_from
        from raw.customer
        order by customer_id, _valid_from
    """
    done = 0
    while done < len(events):
        size = chance.randrange(1, 12)
        send(*events[done : done + size], published=done)
        done += size
        load(loader, allow_mass_removal=True)
    in_parts = loader.rows(versions)
    loader.empty()
    load(loader, allow_mass_removal=True)
    assert len(in_parts) > 10
    assert loader.rows(versions) == in_parts
    names: dict[int, str | None] = {}
    changes = 0
    for key, event in events:
        name = None if event is None or event["op"] == "d" else json.dumps(event["after"])
        changes += names.get(key) != name
        names[key] = name
    assert len(in_parts) == changes


@on_both_brokers
def test_dirty_days_are_those_of_the_facts_since_the_first_change(loader: Loader, send: Send) -> None:
    orders = [
        {"order_id": f"O{day}", "product_id": "P1", "customer_id": "1", "order_date": f"2024-03-0{day}",
         "order_amount": "1", "created_at": f"2024-03-0{day} 12:00:00"} for day in (1, 2, 3)
    ]  # fmt: skip
    loader.load("sales_fact", "2024-03-01", "2024-03-03", rows=orders)
    send((1, change("r", 0, None, row(1, "Ada"))))
    loader.pop_dirty_dates()
    load(loader)
    assert loader.pop_dirty_dates() == {("customer", f"2024-03-0{day}") for day in (1, 2, 3)}
    day = 24 * 60
    send((1, change("u", day, None, row(1, "B"))), (1, change("u", 2 * day, None, row(1, "C"))))
    load(loader, "2024-03-01", "2024-03-03")
    assert loader.pop_dirty_dates() == {("customer", "2024-03-02"), ("customer", "2024-03-03")}


@on_both_brokers
def test_rejected_changes_are_replayed_and_late_ones_do_not_hide_newer(loader: Loader, send: Send) -> None:
    send(
        *((key, change("r", 0, None, row(key))) for key in range(1, 60)),
        (1, change("u", 1, None, row(1, "x" * 1001))),
        (2, change("u", 1, None, row(2, "y" * 1001))),
        (2, change("u", 2, None, row(2, "newer"))),
        (3, {"op": "t"}),
        (None, b"no JSON"),
        (4, change("u", 1, None, {"id": 4, "email": None, "joined": None})),
    )
    result = load(loader)
    assert (result.rows_loaded, result.rows_quarantined) == (60, 5)
    reasons = dict(loader.rows("select (payload ->> 'offset')::integer - 59, reason from ops.quarantine"))
    assert reasons[0] == "customer_name is longer than 1,000 bytes"
    assert reasons[3] == "it does not say when the row was changed (source.ts_ms)"
    assert reasons[4] == "the value is not JSON: JSONDecodeError"
    assert reasons[5] == "customer_name is missing: the row has no column name"
    # A rejected row has not gone; nor does the next load take it for replayed.
    assert loader.value("select count(*) from raw.customer where _is_deleted") == 0
    assert load(loader).rows_read == 0
    assert loader.value("select count(*) from ops.quarantine where replayed_at is not null") == 0

    loader.connection.execute(
        """
        update ops.quarantine
        set corrected = payload -> 'content' || jsonb_build_object('customer_name', 'corrected')
        where reason like 'customer_name is longer%'
        """
    )
    choice = Choice(SOURCES["customer"])
    (again,) = replay(
        loader.connection,
        choice,
        lambda source, window, condition: reader_of_rejected(source, window, condition, loader.connection),
        run=RUN,
    )
    assert (again.rows_read, again.rows_loaded, again.rows_replayed, again.rows_quarantined) == (5, 1, 2, 0)
    versions = loader.rows(VERSIONS)
    assert [v[1:] for v in versions if v[0] == "1"] == [("Ada", False, 0), ("corrected", False, 1)]
    # The change of minute 1 would come after that of minute 2.
    assert [v[1:] for v in versions if v[0] == "2"] == [("Ada", False, 0), ("newer", False, 2)]
    assert loader.value("select count(*) from ops.quarantine where replayed_at is null") == 3


@on_both_brokers
def test_many_deletions_fail_the_load_unless_allowed(loader: Loader, send: Send) -> None:
    send(*((key, change("r", 0, None, row(key))) for key in range(30)))
    load(loader)
    send(*((key, change("d", 1, row(key))) for key in range(20)))
    with pytest.raises(MassRemoval, match=r"would remove 20 of 30 current customer_ids"):
        load(loader)
    assert next_offsets(loader)[0] == 30
    assert load(loader, allow_mass_removal=True).rows_removed == 20
    # Rows that were deleted and are there again are no loss.
    send(*((key, change("d", 2, row(key))) for key in range(20, 30)))
    send(*((key, change("c", 3, None, row(key))) for key in range(20, 30)))
    assert load(loader).rows_removed == 10
    assert loader.value("select count(*) from raw.customer where not _is_deleted") == 40


@on_both_brokers
def test_killed_load_leaves_nothing_and_the_next_has_all(
    loader: Loader, send: Send, other_connection: psycopg.Connection
) -> None:
    pid = loader.connection.info.backend_pid
    send(*((key, change("r", 0, None, row(key))) for key in range(50)))
    whole = reader_of(SOURCES["customer"], window())
    assert isinstance(whole, ChangeReader)

    class Killed(ChangeReader):
        def read(self, resume: Any) -> Iterator[list[str | None]]:
            for number, values in enumerate(super().read(resume)):
                if number == 20:
                    other_connection.execute("select pg_terminate_backend(%s, 5000)", [pid])
                yield values

    with pytest.raises(psycopg.OperationalError):
        load(loader, reader=Killed(SOURCES["customer"], shop().location_of("customer"), window()))
    loader.connection = other_connection
    assert (loader.rows(VERSIONS), next_offsets(loader)) == ([], {})
    assert load(loader).rows_loaded == 50
    assert load(loader).rows_read == 0


def window() -> Window:
    return Window.of_days(START.date(), START.date())


@on_both_brokers
def test_changes_that_expired_unread_are_reported(loader: Loader, send: Send, shop_kafka: str, topic: str) -> None:
    send(*((key, change("r", 0, None, row(key))) for key in range(10)))
    load(loader)
    send(*((1, change("u", minute, None, row(1, f"n{minute}"))) for minute in range(1, 6)))
    expire(AdminClient({"bootstrap.servers": shop_kafka}), topic, 13)
    assert load(loader).rows_loaded == 2
    assert gaps(loader) == [(0, 10, 12, "retention")]
    assert load(loader).rows_read == 0
    assert gaps(loader) == [(0, 10, 12, "retention")]


def test_table_that_becomes_a_topic_goes_on(loader: Loader, send: Send) -> None:
    """What the table was read as, and what the snapshot says of it, are one version."""
    as_read = {
        "customer_id": "1",
        "customer_name": "Ada",
        "customer_email": "1@example.org",
        "start_date": "2024-03-01",
        "status": "a",
    }
    loader.load("customer", "2024-03-01", rows=[as_read])
    send((1, change("r", 0, None, row(1, "Ada"))))
    assert load(loader).rows_loaded == 0
    minutes = (datetime.now(UTC) - START).total_seconds() / 60 + 1
    send((1, change("u", minutes, None, row(1, "Ada B"))), published=1)
    assert load(loader).rows_loaded == 1
    # A time of the future is the time of the read (contract).
    assert loader.value("select max(_valid_from) <= now() from raw.customer")
    assert [name for _, name, *_ in loader.rows(VERSIONS)] == ["Ada", "Ada B"]


def test_erased_customer_does_not_come_back_by_a_change(loader: Loader, send: Send) -> None:
    """Neither in raw nor, if the change is rejected, in quarantine."""
    loader.connection.execute(
        """
        insert into ops.erasure (run_id, requested_by, erased_at, customers) values ('r', 'admin', now(), 1);
        insert into ops.erased_value (kind, value_hash, replacement, erasure_id)
        select kind, sha256((select salt from ops.erasure_salt) || convert_to(value, 'UTF8')), replacement,
            (select max(erasure_id) from ops.erasure)
        from (
            values ('customer_id', '7', 'erased-x'), ('e_mail', '7@example.org', null)
        ) as erased (kind, value, replacement)
        """
    )
    send(
        *((key, change("r", 0, None, row(key, f"name {key}"))) for key in range(40)),
        (7, change("u", 1, None, row(7, "Ada Lovelace", status="y" * 1001))),
    )
    load(loader)
    held = loader.rows(
        "select customer_id, customer_name, customer_email from raw.customer where customer_id like 'e%'"
    )
    assert held == [("erased-x", None, None)]
    assert loader.value("select count(*) from raw.customer where customer_id = '7'") == 0
    payload = loader.value("select payload::text from ops.quarantine")
    assert "Lovelace" not in payload
    assert "7@example.org" not in payload


AVRO_ROW = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "id", "type": "int"},
        {"name": "name", "type": "string"},
        {"name": "email", "type": ["null", "string"]},
        {"name": "joined", "type": {"type": "int", "connect.version": 1, "connect.name": "io.debezium.time.Date"}},
    ],
}
AVRO_CHANGE = {
    "type": "record",
    "name": "Envelope",
    "fields": [
        {"name": "before", "type": ["null", AVRO_ROW]},
        {"name": "after", "type": ["null", "Value"]},
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": "long"},
        {"name": "source", "type": {"type": "record", "name": "Source", "fields": [{"name": "ts_ms", "type": "long"}]}},
    ],
}
AVRO_KEY = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "int"}]}


@on_both_brokers
def test_changes_by_a_registry_are_loaded(
    loader: Loader, send: Send, shop_kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SchemaRegistryServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_SHOP_REGISTRY", json.dumps({"conn_type": "http", "host": server.url}))
        set_shop(monkeypatch, customer=SETTINGS | {"topic": topic, "registry": "shop_registry"})
        client = SchemaRegistryClient({"url": server.url})
        write, write_key = (AvroSerializer(client, json.dumps(schema)) for schema in (AVRO_CHANGE, AVRO_KEY))
        producer = Producer({"bootstrap.servers": shop_kafka, "linger.ms": 0})

        def send_avro(key: int, event: dict[str, Any] | None) -> None:
            value = write(event, SerializationContext(topic, MessageField.VALUE)) if event else None
            key_bytes = write_key({"id": key}, SerializationContext(topic, MessageField.KEY))
            producer.produce(topic, value, key_bytes, 0, timestamp=millis(4))
            assert producer.flush(20) == 0

        ada = {"id": 1, "name": "Ada", "email": None, "joined": 19783}
        send_avro(1, change("r", 0, None, ada))
        send_avro(1, change("u", 3, None, ada | {"name": "Ada B"}))
        send_avro(1, None)
        assert load(loader).rows_loaded == 2
        assert [v[:3] for v in loader.rows(VERSIONS)] == [("1", "Ada", False), ("1", "Ada B", False), ("1", None, True)]
        assert loader.rows("select distinct start_date::text from raw.customer where not _is_deleted") == [
            ("2024-03-01",)
        ]
        assert loader.value("select count(*) from ops.message_schema where source = 'customer'") == 1
        server.says = (500, "away")
        set_shop(monkeypatch, customer=SETTINGS | {"topic": topic, "registry": "shop_registry"})
        send_avro(2, change("r", 0, None, ada))
        with pytest.raises(SourceError, match="the schema registry at the connection"):
            load(loader)


@on_both_brokers
def test_products_keep_their_versions_too(
    loader: Loader, topic: str, shop_kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"product_id": "sku", "product_name": "title"}
    set_shop(monkeypatch, product={"connection": "shop_kafka", "topic": topic, "fields": fields}, kafka_stream="absent")
    producer = Producer({"bootstrap.servers": shop_kafka, "linger.ms": 0})
    for op, minute, title in (("r", 0, "Cup"), ("u", 1, "Mug"), ("u", 2, "Cup")):
        event = change(op, minute, None, {"sku": "P1", "title": title, "product_category_id": "K1"})
        producer.produce(topic, json.dumps(event), b'{"sku": "P1"}', 0, timestamp=millis(0))
    assert producer.flush(20) == 0
    result = loader.load("product", "2024-03-01")
    assert (result.rows_read, result.rows_loaded) == (3, 3)
    names = "select product_name from raw.product order by _valid_from"
    assert loader.rows(names) == [("Cup",), ("Mug",), ("Cup",)]


def test_topic_of_something_else_fails_the_load(loader: Loader, send: Send) -> None:
    send(*((key, {"id": key, "name": "flat"}) for key in range(20)))
    with pytest.raises(QuarantineOverflow, match="20x the value is no change event of Debezium: it has no op"):
        load(loader)
    assert (loader.rows(VERSIONS), next_offsets(loader)) == ([], {})


def test_shop_check_reads_changes_and_changes_nothing(loader: Loader, send: Send) -> None:
    send((1, change("r", 0, None, row(1))), (1, change("u", 1, None, row(1, "x" * 1001))), (1, change("d", 2, row(1))))
    report = check_shop(loader.connection, window())
    found = next(each for each in report.sources if each.source.name == "customer")
    assert (found.problem, found.rows, [each.rows for each in found.rejections]) == (None, 3, [1])
    assert found.example["customer_email"] == "1@example.org"
    assert (loader.rows(VERSIONS), next_offsets(loader)) == ([], {})


@pytest.mark.parametrize(
    ("locations", "mistake"),
    [
        ({"product_category": {"connection": "k", "topic": "t"}}, "product_category: it takes no topic; remove it"),
        ({"customer": {"connection": "k", "topic": "t", "table": "c"}}, "it has both a table and a topic; keep one"),
        ({"customer": {"connection": "p", "table": "c", "registry": "r"}}, "it takes no registry, which is of a topic"),
        ({"customer": {"connection": "p", "table": "c", "fields": FIELDS}}, "it takes no fields, which is of a topic"),
        ({"customer": {"connection": "k", "topic": "t", "fields": {"name": "n"}}}, "there is no column name"),
        ({"customer": {"connection": "k", "topic": "t", "registri": "r"}}, "did you mean registry?"),
    ],
)
def test_profile_with_a_mistake_says_what_to_write(
    monkeypatch: pytest.MonkeyPatch, locations: dict[str, Any], mistake: str
) -> None:
    set_shop(monkeypatch, **locations)
    with pytest.raises(ShopError) as error:
        shop()
    assert mistake in str(error.value)
