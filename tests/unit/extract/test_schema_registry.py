"""Messages of a schema registry become JSON objects of texts, or say why they cannot be decoded."""

import base64
import io
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import fastavro
import pytest
from google.protobuf import descriptor_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.type import date_pb2, decimal_pb2
from hypothesis import given
from hypothesis import strategies as st

from ecommerce.common.errors import SourceError
from ecommerce.common.shop import SourceLocation
from ecommerce.common.sources import SOURCES
from ecommerce.extract import schema_registry
from ecommerce.extract.avro_schemas import AvroSchema
from ecommerce.extract.exact_texts import Undecodable
from ecommerce.extract.message_contents import Contents, MessageContents
from ecommerce.extract.protobuf_schemas import ProtobufSchema
from tests.schema_registry.server import SchemaRegistryServer

EVENT = SOURCES["kafka_stream"]
Field = descriptor_pb2.FieldDescriptorProto


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[SchemaRegistryServer]:
    with SchemaRegistryServer(first_id=70_000) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SHOP_REGISTRY", json.dumps({"conn_type": "http", "host": server.url}))
        monkeypatch.setattr(schema_registry, "RETRIES", 0)
        yield server


def contents(**fields: str) -> MessageContents:
    location = SourceLocation(
        source="kafka_stream", connection="shop_kafka", topic="t", registry="shop_registry", fields=fields
    )
    return MessageContents(EVENT, location)


def framed(schema_id: int, payload: bytes) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + payload


def record(**fields: Any) -> str:
    return json.dumps(
        {"type": "record", "name": "Event", "fields": [{"name": n, "type": kind} for n, kind in fields.items()]}
    )


def avro(schema: str, value: Any) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, json.loads(schema), value)
    return stream.getvalue()


def only(found: Contents) -> dict[str, str]:
    assert found.rejections == {}
    (value,) = found.values
    return json.loads(value or b"null")


def of(kind: str, logical: str, **attributes: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": logical} | attributes


NOON = 1709294400
TYPES: list[tuple[Any, Any, Any, str | None]] = [
    # Type, the type and value that are written, the text.
    ("string", "string", "ü\u2028", "ü\u2028"),
    ("int", "int", -(2**31), "-2147483648"),
    ("long", "long", 2**63 - 1, "9223372036854775807"),
    ("boolean", "boolean", True, "true"),
    ("double", "double", 0.1, "0.1"),
    ("float", "float", 0.1, "0.1"),
    (["null", "float"], ["null", "float"], 16777216.0, "16777216"),
    (["null", "string"], ["null", "string"], None, None),
    (["null", "string", "long"], ["null", "string", "long"], 7, "7"),
    ({"type": "enum", "name": "Kind", "symbols": ["A", "view"]}, None, "view", "view"),
    ({"type": "string", "avro.java.string": "String"}, "string", "x", "x"),
    (of("string", "uuid"), "string", "no uuid at all", "no uuid at all"),
    (of("int", "date"), "int", 19783, "2024-03-01"),
    (of("int", "date"), "int", 2**31 - 1, "2147483647"),
    (of("long", "timestamp-millis"), "long", NOON * 1000 + 7, "2024-03-01T12:00:00.007Z"),
    (of("long", "timestamp-micros"), "long", NOON * 10**6 + 7, "2024-03-01T12:00:00.000007Z"),
    (of("long", "timestamp-nanos"), "long", NOON * 10**9 + 7, "2024-03-01T12:00:00.000000007Z"),
    (of("long", "timestamp-millis"), "long", 2**63 - 1, "9223372036854775807"),
    (of("long", "local-timestamp-millis"), "long", NOON * 1000, "2024-03-01T12:00:00"),
    (of("long", "local-timestamp-micros"), "long", -1, "1969-12-31T23:59:59.999999"),
    (["null", of("long", "timestamp-millis")], ["null", "long"], 0, "1970-01-01T00:00:00Z"),
    ({"type": of("long", "timestamp-millis")}, "long", 0, "1970-01-01T00:00:00Z"),
    (of("bytes", "decimal", precision=18, scale=2), "bytes", (-123456).to_bytes(4, "big", signed=True), "-1234.56"),
    # More digits than its precision allows: fastavro alone rounds them.
    (of("bytes", "decimal", precision=4, scale=2), "bytes", b"\x7f\xff\xff\xff\xff", "5497558138.87"),
    (of("fixed", "decimal", name="F", size=4, precision=9, scale=3), None, b"\x00\x00\x04\xd2", "1.234"),
    ({"type": "int", "connect.name": "io.debezium.time.Date"}, "int", 19783, "2024-03-01"),
    ({"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"}, "long", 1, "1970-01-01T00:00:00.000001"),
    # Unknown logical types are what they are without it (Avro 1.12, "Logical Types").
    (of("long", "shop-points"), "long", 5, "5"),
]


@pytest.mark.parametrize(("kind", "written", "value", "text"), TYPES)
def test_avro_value_becomes_text(
    registry: SchemaRegistryServer, kind: Any, written: Any, value: Any, text: str | None
) -> None:
    schema_id = registry.register("t-value", record(other="bytes", customer_id=kind))
    plain = {name: v for name, v in kind.items() if name != "logicalType"} if isinstance(kind, dict) else kind
    payload = avro(record(other="bytes", customer_id=written or plain), {"other": b"\0", "customer_id": value})
    assert only(contents().of([framed(schema_id, payload)])).get("customer_id") == text


@pytest.mark.parametrize(
    ("kind", "value", "name"),
    [
        ({"type": "array", "items": "string"}, ["a"], "list"),
        ("bytes", b"a", "bytes"),
        ({"type": "map", "values": "int"}, {"a": 1}, "dict"),
    ],
)
def test_avro_value_that_is_not_single_is_rejected(
    registry: SchemaRegistryServer, kind: Any, value: Any, name: str
) -> None:
    schema = record(customer_id=kind)
    found = contents().of([framed(registry.register("t-value", schema), avro(schema, {"customer_id": value}))])
    assert found.rejections == {0: f"customer_id is not a single value but {name}"}


def test_fields_of_other_names_and_in_records_are_found(registry: SchemaRegistryServer) -> None:
    user = {"type": "record", "name": "User", "fields": [{"name": "id", "type": "long"}]}
    schema = record(user=["null", user], at=of("long", "timestamp-millis"))
    schema_id = registry.register("t-value", schema)
    mapped = contents(customer_id="user.id", timestamp="at", product_id="user.id.deeper")
    at = datetime(2024, 3, 1, 12, tzinfo=UTC)
    assert only(mapped.of([framed(schema_id, avro(schema, {"user": {"id": 7}, "at": at}))])) == {
        "customer_id": "7",
        "timestamp": "2024-03-01T12:00:00Z",
    }
    assert only(mapped.of([framed(schema_id, avro(schema, {"user": None, "at": at}))])).keys() == {"timestamp"}
    assert mapped.registry
    assert mapped.registry.used[schema_id].fields == {
        "user": "null or record User", "user.id": "long", "at": "timestamp-millis",
    }  # fmt: skip


def test_avro_schema_that_names_others_is_resolved(registry: SchemaRegistryServer) -> None:
    """Each after those that it names itself: Event names User, and User names Id."""
    id_ = '{"type": "record", "name": "shop.Id", "fields": [{"name": "value", "type": "string"}]}'
    user = '{"type": "record", "name": "shop.User", "fields": [{"name": "id", "type": "shop.Id"}]}'
    registry.register("id", id_)
    registry.register("user", user, references=[{"name": "shop.Id", "subject": "id", "version": 1}])
    schema_id = registry.register(
        "t-value", record(user="shop.User"), references=[{"name": "shop.User", "subject": "user", "version": 1}]
    )
    inner = json.loads(user) | {"fields": [{"name": "id", "type": json.loads(id_)}]}
    payload = avro(record(user=inner), {"user": {"id": {"value": "C1"}}})
    assert only(contents(customer_id="user.id.value").of([framed(schema_id, payload)])) == {"customer_id": "C1"}


def test_schema_is_asked_for_once(registry: SchemaRegistryServer) -> None:
    schema = record(customer_id="string")
    schema_id = registry.register("t-value", schema)
    good, unknown = framed(schema_id, avro(schema, {"customer_id": "C1"})), framed(3, b"")
    read = contents()
    found = read.of([good, unknown, good, unknown, None])
    read.of([good, unknown])
    assert found.values == [b'{"customer_id":"C1"}', None, b'{"customer_id":"C1"}', None, None]
    assert found.rejections == dict.fromkeys((1, 3), "schema 3: the registry does not have it: Schema 3 not found")
    assert registry.asked == [f"/schemas/ids/{schema_id}", "/schemas/ids/3"]


@pytest.mark.parametrize("value", [b"", b"\0", b"\0\0\0\0", b'{"customer_id": "C1"}', b"\1\0\0\0\1abc"])
def test_message_without_the_prefix_is_rejected(registry: SchemaRegistryServer, value: bytes) -> None:
    found = contents().of([value])
    assert found.rejections == {0: "the value does not begin with a zero byte and the id of a schema"}
    assert registry.asked == []


@pytest.mark.parametrize(
    ("schema", "kind", "reason"),
    [
        ('{"type": "no type"}', "AVRO", "it is no schema of Avro: UnknownType"),
        ("{", "AVRO", "it is no schema of Avro: JSONDecodeError"),
        ("{", "JSON", "it is no JSON: JSONDecodeError"),
        ("bm8gZGVzY3JpcHRvcg==", "PROTOBUF", "the registry does not give it in the format `serialized`"),
        ("{}", "THRIFT", "it is in THRIFT; there are AVRO, JSON and PROTOBUF"),
    ],
)
def test_message_of_a_schema_that_cannot_be_used_is_rejected(
    registry: SchemaRegistryServer, schema: str, kind: str, reason: str
) -> None:
    found = contents().of([framed(registry.register("t-value", schema, kind), b"\0")])
    assert reason in found.rejections[0]


def test_message_of_another_schema_is_rejected(registry: SchemaRegistryServer) -> None:
    schema_id = registry.register("t-value", record(customer_id="string", product_id="string"))
    short = avro(record(customer_id="string"), {"customer_id": "C1"})
    long = avro(record(a="string", b="string", c="string"), {"a": "a", "b": "b", "c": "c"})
    found = contents().of([framed(schema_id, short), framed(schema_id, long)])
    assert found.rejections[0] == f"schema {schema_id}: the bytes are not of its schema: they end too early"
    assert found.rejections[1] == f"schema {schema_id}: 2 bytes are left over, so they are not of its schema"


SCHEMA = AvroSchema(
    record(
        a=["null", "string", of("long", "timestamp-millis"), of("bytes", "decimal", precision=9, scale=2)],
        b={"type": "array", "items": of("int", "date")},
        c={"type": "enum", "name": "E", "symbols": ["X"]},
    ),
    [],
)


@given(st.binary(max_size=40))
def test_any_bytes_are_decoded_or_undecodable_in_avro(payload: bytes) -> None:
    with suppress(Undecodable):
        assert SCHEMA.decode(payload).keys() == {"a", "b", "c"}


def test_json_schema_payload_is_json_with_exact_numbers(registry: SchemaRegistryServer) -> None:
    user = {"type": "object", "properties": {"id": {"type": ["null", "integer"]}}}
    at = {"type": "string", "format": "date-time"}
    schema = {"type": "object", "title": "Event", "properties": {"timestamp": at, "user": user}}
    schema_id = registry.register("t-value", json.dumps(schema), "JSON")
    read = contents(customer_id="user.id")
    payload = b'{"user": {"id": 12345678901234567890.10}, "timestamp": "2024-03-01T12:00:00Z", "product_id": true}'
    assert only(read.of([framed(schema_id, payload)])) == {
        "customer_id": "12345678901234567890.10", "product_id": "true", "timestamp": "2024-03-01T12:00:00Z",
    }  # fmt: skip
    assert read.registry
    assert read.registry.used[schema_id].fields == {
        "timestamp": "date-time", "user": "object", "user.id": "null or integer",
    }  # fmt: skip
    assert read.of([framed(schema_id, b"{"), framed(schema_id, b"[]")]).rejections == {
        0: f"schema {schema_id}: the value is not JSON: JSONDecodeError",
        1: "the value is no record but list",
    }


def proto_file() -> descriptor_pb2.FileDescriptorProto:
    """A file with a message `Event`, and one `Other` with `Inner` in it."""
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="shop", syntax="proto3")
    file.dependency.extend(
        [
            "google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto",
            "google/type/date.proto", "google/type/decimal.proto", "user.proto",
        ]
    )  # fmt: skip
    kind = file.enum_type.add(name="Kind")
    kind.value.add(name="UNKNOWN", number=0)
    kind.value.add(name="view", number=1)
    event = file.message_type.add(name="Event")
    for number, (name, field_type, type_name) in enumerate(
        [
            ("interaction_type", Field.TYPE_ENUM, ".shop.Kind"),
            ("at", Field.TYPE_MESSAGE, ".google.protobuf.Timestamp"),
            ("on", Field.TYPE_MESSAGE, ".google.type.Date"),
            ("amount", Field.TYPE_MESSAGE, ".google.type.Decimal"),
            ("points", Field.TYPE_INT64, ""),
            ("weight", Field.TYPE_FLOAT, ""),
            ("user", Field.TYPE_MESSAGE, ".shop.User"),
            ("is_new", Field.TYPE_BOOL, ""),
            ("note", Field.TYPE_MESSAGE, ".google.protobuf.StringValue"),
            ("tags", Field.TYPE_STRING, ""),
        ],
        start=1,
    ):
        label = Field.LABEL_REPEATED if name == "tags" else Field.LABEL_OPTIONAL
        event.field.add(name=name, number=number, type=field_type, type_name=type_name or None, label=label)
    inner = file.message_type.add(name="Other").nested_type.add(name="Inner")
    inner.field.add(name="customer_id", number=1, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    return file


def user_file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="user.proto", package="shop", syntax="proto3")
    user = file.message_type.add(name="User")
    user.field.add(name="id", number=1, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    return file


def serialized(file: descriptor_pb2.FileDescriptorProto) -> str:
    return base64.b64encode(file.SerializeToString()).decode()


@pytest.fixture(scope="module")
def message_of() -> Callable[..., Any]:
    """A message of the file by its name."""
    pool = DescriptorPool()
    for module in (timestamp_pb2, wrappers_pb2, date_pb2, decimal_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.Add(user_file())
    pool.Add(proto_file())
    return lambda name, **fields: GetMessageClass(pool.FindMessageTypeByName(f"shop.{name}"))(**fields)


@pytest.fixture
def proto_id(registry: SchemaRegistryServer) -> int:
    registry.register("user", serialized(user_file()), "PROTOBUF")
    reference = {"name": "user.proto", "subject": "user", "version": 1}
    return registry.register("t-value", serialized(proto_file()), "PROTOBUF", [reference])


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("at", {"seconds": NOON, "nanos": 7}, "2024-03-01T12:00:00.000000007Z"),
        ("at", {"seconds": NOON}, "2024-03-01T12:00:00Z"),
        ("on", {"year": 2024, "month": 2, "day": 29}, "2024-02-29"),
        ("amount", {"value": "12.3400"}, "12.3400"),
        ("points", -(2**63), "-9223372036854775808"),
        ("points", 0, "0"),
        ("weight", 0.1, "0.1"),
        ("is_new", False, "false"),
        ("note", {"value": "hello"}, "hello"),
        ("interaction_type", 1, "view"),
        ("interaction_type", 0, "UNKNOWN"),
        # A number that this version of the schema has no name for.
        ("interaction_type", 9, "9"),
    ],
)
def test_protobuf_value_becomes_text(
    proto_id: int, message_of: Callable[..., Any], field: str, value: Any, text: str
) -> None:
    payload = message_of("Event", **{field: value}).SerializeToString()
    assert only(contents(product_id=field).of([framed(proto_id, b"\0" + payload)]))["product_id"] == text


def test_protobuf_message_that_is_not_there_has_no_value(proto_id: int, message_of: Callable[..., Any]) -> None:
    read = contents(timestamp="at", customer_id="user.id", interaction_type="note", product_id="on")
    payload = message_of("Event", points=1).SerializeToString()
    assert only(read.of([framed(proto_id, b"\0" + payload)])) == {}
    with_user = message_of("Event", user={"id": "C1"}).SerializeToString()
    assert only(read.of([framed(proto_id, b"\0" + with_user)])) == {"customer_id": "C1"}
    assert contents(product_id="tags").of([framed(proto_id, b"\0" + payload)]).rejections == {
        0: "product_id is not a single value but list"
    }
    assert read.registry
    fields = read.registry.used[proto_id].fields
    assert {name: fields[f"Event.{name}"] for name in ("at", "user.id", "points", "tags")} == {
        "at": "google.protobuf.Timestamp", "user.id": "string", "points": "int64", "tags": "repeated string",
    }  # fmt: skip
    assert read.registry.used[proto_id].name == "shop.Event"


def zigzag(number: int) -> bytes:
    value, out = (number << 1) ^ (number >> 63), bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def test_message_indexes_choose_the_message(proto_id: int, message_of: Callable[..., Any]) -> None:
    inner = message_of("Other.Inner", customer_id="C1").SerializeToString()
    indexes = zigzag(2) + zigzag(1) + zigzag(0)
    assert only(contents().of([framed(proto_id, indexes + inner)]))["customer_id"] == "C1"
    # The first message by its index, and not by the short form.
    event = message_of("Event", user={"id": "C2"}).SerializeToString()
    by_index = framed(proto_id, zigzag(1) + zigzag(0) + event)
    assert only(contents(customer_id="user.id").of([by_index]))["customer_id"] == "C2"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "its message indexes are damaged"),
        (b"\x80", "its message indexes are damaged"),
        (b"\x80" * 12, "its message indexes are damaged"),
        (zigzag(-1), "its message indexes are damaged"),
        (zigzag(2**31), "its message indexes are damaged"),
        (zigzag(1) + zigzag(5), "its schema has no message of the index [5]"),
        (zigzag(1) + zigzag(-1), "its schema has no message of the index [-1]"),
        (b"\0\xff\xff\xff", "the bytes are not of its schema: DecodeError"),
    ],
)
def test_protobuf_message_that_is_damaged_is_rejected(proto_id: int, payload: bytes, reason: str) -> None:
    assert contents().of([framed(proto_id, payload)]).rejections == {0: f"schema {proto_id}: {reason}"}


PROTO = ProtobufSchema(serialized(proto_file()), {"user.proto": serialized(user_file())})


@given(st.binary(max_size=40))
def test_any_bytes_are_decoded_or_undecodable_in_protobuf(payload: bytes) -> None:
    with suppress(Undecodable):
        assert isinstance(PROTO.decode(payload), dict)


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ((500, '{"error_code": 50001, "message": "Error in the backend"}'), "Error in the backend"),
        ((503, "busy"), "HTTP status code 503"),
        ((403, '{"error_code": 40301, "message": "not yours"}'), "not yours"),
        # Of a server that is no registry, or of a wrong path.
        ((404, "<html>not found</html>"), "HTTP status code 404"),
        ((404, '{"error_code": 404, "message": "HTTP 404 Not Found"}'), "HTTP 404 Not Found"),
        ((302, ""), "HTTP status code 302"),
        ((200, "<html>welcome</html>"), "Expecting value"),
    ],
)
def test_registry_that_does_not_answer_is_an_error(
    registry: SchemaRegistryServer, monkeypatch: pytest.MonkeyPatch, says: tuple[int, str], reason: str
) -> None:
    registry.says = says
    with pytest.raises(SourceError, match=r"kafka_stream: the schema registry at the connection 'shop_registry'") as e:
        contents().of([framed(1, b"")])
    assert reason in str(e.value)


def test_registry_that_is_away_is_an_error(registry: SchemaRegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_REGISTRY", json.dumps({"conn_type": "http", "host": "http://127.0.0.1:9"}))
    with pytest.raises(SourceError, match=r"cannot be asked: .*refused.* Nothing was loaded"):
        contents().of([framed(1, b"")])


def test_user_and_settings_of_the_connection_reach_the_registry(
    registry: SchemaRegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.user = ("reader", "secret")
    schema = record(customer_id="string")
    message = framed(registry.register("t-value", schema), avro(schema, {"customer_id": "C1"}))
    with pytest.raises(SourceError, match="Unauthorized"):
        contents().of([message])
    account = {"conn_type": "http", "host": registry.url, "login": "reader", "password": "secret"}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_REGISTRY", json.dumps(account))
    assert only(contents().of([message])) == {"customer_id": "C1"}
    by_extra = {"conn_type": "http", "host": registry.url, "extra": {"basic.auth.user.info": "reader:secret"}}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_REGISTRY", json.dumps(by_extra))
    assert only(contents().of([message])) == {"customer_id": "C1"}
    wrong = {"conn_type": "http", "host": registry.url, "extra": {"no.such.setting": "1"}}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_REGISTRY", json.dumps(wrong))
    with pytest.raises(SourceError, match=r"cannot be used: Unrecognized properties: no\.such\.setting"):
        contents().of([message])
    monkeypatch.delenv("AIRFLOW_CONN_SHOP_REGISTRY")
    with pytest.raises(SourceError, match=r"there is no connection 'shop_registry'"):
        contents().of([message])


def test_json_without_a_registry_may_have_other_names() -> None:
    location = SourceLocation(
        source="kafka_stream", connection="k", topic="t", fields={"customer_id": "user.id", "timestamp": "at"}
    )
    found = MessageContents(EVENT, location).of([b'{"user": {"id": "C1"}, "at": 7, "x": "\\ud800"}', b"{", None])
    assert [json.loads(value) if value else None for value in found.values] == [
        {"customer_id": "C1", "timestamp": 7}, None, None,
    ]  # fmt: skip
    assert found.rejections == {1: "the value is not JSON: JSONDecodeError"}
    lone = MessageContents(EVENT, location).of([b'{"user": {"id": "\\ud800"}}'])
    assert json.loads(lone.values[0] or b"") == {"customer_id": "\ud800"}


def test_plain_json_is_taken_as_it_is() -> None:
    location = SourceLocation(source="kafka_stream", connection="k", topic="t")
    values = [b"{", None, b"\0\0\0\0\1"]
    assert MessageContents(EVENT, location).of(values) == (values, {})
