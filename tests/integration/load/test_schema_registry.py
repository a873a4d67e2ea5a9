"""
Messages in the formats of a schema registry, from a real topic through the loader that a run uses.

Confluent's own serializers write them, so the wire format is theirs. Each format and type is in
`tests/unit/extract/test_schema_registry.py`.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, timestamp_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from ecommerce.common.errors import QuarantineOverflow, SourceError
from ecommerce.common.sources import SOURCES
from ecommerce.extract import schema_registry
from ecommerce.load.quarantine_reader import QuarantineReader
from ecommerce.load.replay import Choice, replay
from tests.integration.load.conftest import on_both_brokers
from tests.integration.load.events import Produce, customer_counts, event, next_offsets, once
from tests.integration.support import RUN, Loader, set_shop
from tests.schema_registry.server import SchemaRegistryServer

DAY = "2024-03-01"
AT = datetime(2024, 3, 1, 10, 0, 0, 123000, tzinfo=UTC)
#: Column → field of the messages here: all other names, one in a record.
FIELDS = {"customer_id": "user.id", "product_id": "sku", "interaction_type": "kind", "timestamp": "at"}

USER: dict[str, Any] = {"type": "record", "name": "User", "fields": [{"name": "id", "type": "int"}]}
EVENT: dict[str, Any] = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "user", "type": USER},
        {"name": "sku", "type": ["null", "string"]},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["view", "purchase"]}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}

Serialize = Callable[[Any], bytes]


@pytest.fixture
def registry(topic: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SchemaRegistryServer]:
    """A registry that the shop's profile names for its topic."""
    with SchemaRegistryServer() as server:
        connect(monkeypatch, server.url)
        monkeypatch.setattr(schema_registry, "RETRIES", 0)
        location = {"connection": "shop_kafka", "topic": topic, "registry": "shop_registry", "fields": FIELDS}
        set_shop(monkeypatch, kafka_stream=location)
        yield server


def connect(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_REGISTRY", json.dumps({"conn_type": "http", "host": url}))


def avro(registry: SchemaRegistryServer, schema: Any = None) -> Serialize:
    """Confluent's serializer, which registers the schema."""
    client = SchemaRegistryClient({"url": registry.url})
    serialize = AvroSerializer(client, json.dumps(schema or EVENT))
    return lambda value: serialize(value, SerializationContext("t", MessageField.VALUE)) or b""


def json_schema(registry: SchemaRegistryServer) -> Serialize:
    schema = {"type": "object", "title": "Event", "properties": {"sku": {"type": "string"}}}
    serialize = JSONSerializer(json.dumps(schema), SchemaRegistryClient({"url": registry.url}))

    def write(value: Any) -> bytes:
        as_json = value | {"at": value["at"].isoformat()}
        return serialize(as_json, SerializationContext("t", MessageField.VALUE)) or b""

    return write


def protobuf(registry: SchemaRegistryServer) -> Serialize:
    """Its message is the second of the file, so that its index is written."""
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="shop", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    field = descriptor_pb2.FieldDescriptorProto
    user = file.message_type.add(name="User")
    user.field.add(name="id", number=1, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    kind = file.enum_type.add(name="Kind")
    kind.value.add(name="view", number=0)
    kind.value.add(name="purchase", number=1)
    message = file.message_type.add(name="Event")
    for number, (name, of, named) in enumerate(
        [
            ("user", field.TYPE_MESSAGE, ".shop.User"),
            ("sku", field.TYPE_STRING, None),
            ("kind", field.TYPE_ENUM, ".shop.Kind"),
            ("at", field.TYPE_MESSAGE, ".google.protobuf.Timestamp"),
        ],
        start=1,
    ):
        message.field.add(name=name, number=number, type=of, type_name=named, label=field.LABEL_OPTIONAL)
    pool = DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    event_class = GetMessageClass(pool.FindMessageTypeByName("shop.Event"))
    serialize = ProtobufSerializer(
        event_class, SchemaRegistryClient({"url": registry.url}), {"use.deprecated.format": False}
    )
    return lambda value: serialize(event_class(**value), SerializationContext("t", MessageField.VALUE)) or b""


def sent(customer: int, **values: Any) -> dict[str, Any]:
    return {"user": {"id": customer}, "sku": "P1", "kind": "view", "at": AT} | values


def produce_all(produce: Produce, *values: bytes | None) -> None:
    produce(*((f"{DAY}T10:00:00", value) for value in values))


@on_both_brokers
@pytest.mark.parametrize("serializer", [avro, json_schema, protobuf])
def test_messages_of_each_format_are_loaded_once(
    loader: Loader, registry: SchemaRegistryServer, produce: Produce, serializer: Callable[..., Serialize]
) -> None:
    write = serializer(registry)
    produce_all(produce, *(write(sent(number)) for number in range(30)), write(sent(30, kind="purchase")))
    asked = len(registry.asked)
    result = loader.load("kafka_stream", DAY)
    assert (result.rows_read, result.rows_loaded, result.rows_quarantined) == (31, 31, 0)
    assert customer_counts(loader) == once(*map(str, range(31)))
    kinds = "select interaction_type, product_id, timestamp, count(*) from raw.kafka_stream group by 1, 2, 3 order by 4"
    assert loader.rows(kinds) == [("purchase", "P1", AT, 1), ("view", "P1", AT, 30)]
    assert next_offsets(loader) == {0: 31, 1: 0, 2: 0}
    # Once, in Protobuf twice: as text, which says the kind, and compiled.
    assert len(registry.asked) - asked == (2 if serializer is protobuf else 1)
    assert loader.load("kafka_stream", DAY).rows_read == 0


@on_both_brokers
def test_undecodable_messages_keep_their_bytes_and_are_replayed(
    loader: Loader, registry: SchemaRegistryServer, produce: Produce, topic: str
) -> None:
    """A schema that comes later, a message without the prefix, and one that is cut; good ones load meanwhile."""
    write = avro(registry)
    good = write(sent(1))
    # Of a schema that another registry has under the next id.
    unknown = b"\0" + (2).to_bytes(4, "big") + good[5:]
    produce_all(produce, *[write(sent(number)) for number in range(2, 22)], unknown, b'{"user": 1}', good[:-2], None)
    result = loader.load("kafka_stream", DAY)
    assert (result.rows_read, result.rows_loaded, result.rows_quarantined) == (24, 20, 4)
    rejected = loader.rows("select reason, payload -> 'value' from ops.quarantine order by payload ->> 'offset'")
    assert [reason for reason, _ in rejected] == [
        "schema 2: the registry does not have it: Schema 2 not found",
        "the value does not begin with a zero byte and the id of a schema",
        "schema 1: the bytes are not of its schema: they end too early",
        "the message has no value (a tombstone)",
    ]
    kept = "select decode(payload #>> '{value,base64}', 'base64') from ops.quarantine where reason like 'schema 2%'"
    assert bytes(loader.value(kept)) == unknown
    assert [value for _, value in rejected][1] == '{"user": 1}'
    # They count as read.
    assert loader.load("kafka_stream", DAY).rows_read == 0

    registry.register("t-value", json.dumps(EVENT | {"doc": "the same in other words"}))
    corrected = event("C7", f"{DAY}T10:00:00")[1]
    loader.connection.execute("update ops.quarantine set corrected = %s where reason like '%%zero byte%%'", [corrected])
    (again,) = replay(
        loader.connection,
        Choice(SOURCES["kafka_stream"]),
        lambda source, _, condition: QuarantineReader(source, loader.connection, condition),
        run=RUN,
    )
    assert (again.rows_loaded, again.rows_replayed, again.rows_quarantined) == (2, 2, 0)
    assert customer_counts(loader) == once("C7", *map(str, range(1, 22)))


@on_both_brokers
@pytest.mark.parametrize("says", [(503, "busy"), (401, '{"error_code": 401, "message": "Unauthorized"}'), None])
def test_registry_that_does_not_answer_fails_the_load_and_loads_nothing(
    loader: Loader,
    registry: SchemaRegistryServer,
    produce: Produce,
    monkeypatch: pytest.MonkeyPatch,
    says: tuple[int, str] | None,
) -> None:
    write = avro(registry)
    produce_all(produce, *(write(sent(number)) for number in range(3)))
    registry.says = says
    if says is None:
        connect(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(SourceError, match=r"kafka_stream: the schema registry at .*'shop_registry' cannot be asked"):
        loader.load("kafka_stream", DAY)
    assert (customer_counts(loader), next_offsets(loader)) == ({}, {})
    assert loader.value("select count(*) from ops.quarantine") == 0
    error = loader.value("select error from ops.load_batch where status = 'failed'")
    assert "shop_registry" in error
    registry.says = None
    connect(monkeypatch, registry.url)
    assert loader.load("kafka_stream", DAY).rows_loaded == 3


def test_topic_that_is_all_in_another_format_fails_the_load(
    loader: Loader, registry: SchemaRegistryServer, produce: Produce
) -> None:
    produce_all(produce, *(b'{"user": {"id": 1}}' for _ in range(20)))
    with pytest.raises(QuarantineOverflow, match="20x the value does not begin with a zero byte"):
        loader.load("kafka_stream", DAY)
    assert next_offsets(loader) == {}


NOTED = "select column_name, change, expected, found, policy from ops.schema_change order by 1"


@on_both_brokers
def test_changes_of_the_schema_are_noted_once(loader: Loader, registry: SchemaRegistryServer, produce: Produce) -> None:
    """A new field, a removed one and a widened one; messages of both schemas load."""
    produce_all(produce, avro(registry)(sent(1)))
    loader.load("kafka_stream", DAY)
    # The first schema is what the profile was written for.
    assert loader.rows(NOTED) == []
    wider = json.loads(json.dumps(EVENT).replace('"int"', '"long"'))
    wider["fields"][1] = {"name": "sku", "type": "string"}
    wider["fields"].append({"name": "channel", "type": "string", "default": "web"})
    produce_all(produce, avro(registry)(sent(2)), avro(registry, wider)(sent(2**40) | {"channel": "app"}))
    assert loader.load("kafka_stream", DAY).rows_loaded == 2
    assert customer_counts(loader) == once("1", "2", str(2**40))
    assert loader.rows(NOTED) == [
        ("channel", "new", None, "string", "ignore"),
        ("sku", "retyped", "null or string", "string", "ignore"),
        ("user.id", "retyped", "int", "long", "ignore"),
    ]
    narrower = wider | {"fields": wider["fields"][:-1]}
    produce_all(produce, avro(registry, narrower)(sent(4)), avro(registry)(sent(5)))
    assert loader.load("kafka_stream", DAY).rows_loaded == 2
    assert ("channel", "missing", "string", None, "ignore") in loader.rows(NOTED)
    noted = loader.rows(NOTED)
    # Of another record: neither is a version of the other.
    other = EVENT | {"name": "Other", "fields": [*EVENT["fields"], {"name": "x", "type": ["null", "int"]}]}
    produce_all(produce, avro(registry, other)(sent(7) | {"x": None}))
    assert loader.load("kafka_stream", DAY).rows_loaded == 1
    assert loader.rows(NOTED) == noted
    produce_all(produce, avro(registry, wider)(sent(6) | {"channel": "app"}))
    assert loader.load("kafka_stream", DAY).rows_loaded == 1
    assert loader.rows(NOTED) == noted
    assert loader.rows("select schema_id, fields ->> 'user.id' from ops.message_schema order by 1") == [
        (1, "int"), (2, "long"), (3, "long"), (4, "int"),
    ]  # fmt: skip


def test_dry_run_notes_no_schema(loader: Loader, registry: SchemaRegistryServer, produce: Produce) -> None:
    produce_all(produce, avro(registry)(sent(1)))
    assert loader.load("kafka_stream", DAY, dry_run=True).rows_loaded == 1
    assert loader.value("select count(*) from ops.message_schema") == 0


def test_json_without_a_registry_may_have_other_names(
    loader: Loader, topic: str, produce: Produce, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_shop(monkeypatch, kafka_stream={"connection": "shop_kafka", "topic": topic, "fields": FIELDS})
    good = {"user": {"id": "C1"}, "sku": "P1", "kind": "view", "at": f"{DAY}T10:00:00Z"}
    produce_all(produce, json.dumps(good).encode(), json.dumps(good | {"user": {"id": 1}}).encode())
    assert loader.load("kafka_stream", DAY).rows_loaded == 1
    assert customer_counts(loader) == once("C1")
    assert loader.rows("select reason from ops.quarantine") == [("customer_id is not a text but int",)]
