"""Change events become rows of texts: with a schema beside them, without one, and with what a registry has decoded."""

import base64
import json
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecommerce.common.shop import SourceLocation
from ecommerce.common.sources import SOURCES
from ecommerce.extract.debezium import ChangeEvents, RowChange
from ecommerce.extract.exact_texts import Undecodable
from ecommerce.extract.message_contents import json_document
from tests.integration.support import set_shop

FIELDS = {"customer_id": "id", "customer_name": "name", "customer_email": "email", "start_date": "joined"}
MS = 1709287200123
AT = "2024-03-01T10:00:00.123Z"


def events(source: str = "customer", **fields: str) -> ChangeEvents:
    location = SourceLocation(source=source, connection="k", topic="shop.public.customers", fields=fields or FIELDS)
    decode = partial(json_document, is_exact=True)
    return ChangeEvents(SOURCES[source], location, decode, decode)


def row(**values: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "name": "Ada",
        "email": "ada@example.org",
        "joined": 19783,
        "end_date": None,
        "status": "active",
    } | (values)


def envelope(op: str = "c", before: Any = None, after: Any = None, **more: Any) -> dict[str, Any]:
    return {"before": before, "after": after, "source": {"ts_ms": MS}, "op": op, "ts_ms": MS + 500} | more


def read(document: Any, key: Any = None, **fields: str) -> RowChange:
    key_bytes, value = (None if part is None else json.dumps(part).encode() for part in (key, document))
    return events(**fields).change(key_bytes, value, "2024-03-01T11:00:00+00:00")


ADA = ["7", "Ada", "ada@example.org", "2024-03-01", None, "active"]


@pytest.mark.parametrize("op", ["c", "u", "r"])
def test_row_that_is_there_is_what_the_event_says(op: str) -> None:
    assert read(envelope(op, row(name="before"), row())) == (ADA, AT, False)


@pytest.mark.parametrize(("before", "key"), [(row(), None), ({"id": 7}, {"id": 9}), (None, {"id": 7}), ({}, {"id": 7})])
def test_deleted_row_is_its_key(before: Any, key: Any) -> None:
    assert read(envelope("d", before), key) == (["7", *[None] * 5], AT, True)


def test_tombstone_is_a_deleted_row_at_the_brokers_time() -> None:
    assert read(None, {"id": 7}) == (["7", *[None] * 5], "2024-03-01T11:00:00+00:00", True)
    with_schema = {"schema": {"type": "struct", "fields": [{"field": "id", "type": "int64"}]}, "payload": {"id": 7}}
    assert read(None, with_schema).fields[0] == "7"
    # Without a key nobody knows which row: the rules reject a key that is missing.
    assert read(None).fields == [None] * 6


def schema_of(**fields: Any) -> dict[str, Any]:
    columns = [{"field": name, "type": "int32"} | kind for name, kind in fields.items()]
    row_type = {"type": "struct", "fields": columns}
    return {"type": "struct", "fields": [row_type | {"field": "before"}, row_type | {"field": "after"}]}


DECIMAL = {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "2"}}


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ({"name": "io.debezium.time.Date"}, 19783, "2024-03-01"),
        ({"name": "org.apache.kafka.connect.data.Date"}, -1, "1969-12-31"),
        ({"name": "io.debezium.time.Timestamp"}, MS, "2024-03-01"),
        ({"name": "io.debezium.time.MicroTimestamp"}, MS * 1000, "2024-03-01"),
        ({"name": "io.debezium.time.NanoTimestamp"}, MS * 10**6, "2024-03-01"),
        ({"name": "io.debezium.time.ZonedTimestamp"}, "2024-03-01T10:00:00Z", "2024-03-01"),
        ({"type": "string"}, "2024-03-01", "2024-03-01"),
        # Of no calendar, or of no unit that is known: for the rules to reject.
        ({}, MS, str(MS)),
        ({}, "soon, or a little later", "soon, or a little later"),
        ({}, None, None),
    ],
)
def test_day_is_what_its_schema_says(kind: dict[str, Any], value: Any, text: str | None) -> None:
    event = {"schema": schema_of(id={}, joined=kind), "payload": envelope("c", None, row(joined=value))}
    assert read(event).fields[3] == text


@given(st.integers(-(10**15), 10**15))
def test_decimal_of_a_schema_keeps_all_digits(unscaled: int) -> None:
    sent = base64.b64encode(unscaled.to_bytes(8, "big", signed=True)).decode()
    event = {"schema": schema_of(name=DECIMAL), "payload": envelope("c", None, row(name=sent))}
    text = read(event).fields[1] or ""
    assert int(text.replace(".", "")) == unscaled
    assert text[-3] == "."


def test_numbers_without_a_schema_stay_as_they_are_spelled() -> None:
    value = json.dumps(envelope("c", None, row())).replace('"Ada"', "12345678901234567.10").encode()
    assert events().change(None, value, None).fields[1] == "12345678901234567.10"


def test_time_is_the_shops_day(monkeypatch: pytest.MonkeyPatch) -> None:
    set_shop(monkeypatch, settings={"time_zone": "Europe/Berlin", "source_time_zone": "America/New_York"})
    zoned, plain = "2024-03-01T23:30:00Z", "2024-03-01T18:30:00"
    assert read(envelope("c", None, row(joined=zoned))).fields[3] == "2024-03-02"
    # What a clock in New York shows.
    assert read(envelope("c", None, row(joined=plain))).fields[3] == "2024-03-02"
    assert read(envelope("c", None, row(joined="9999-12-31T23:59:59Z"))).fields[3] == "9999-12-31T23:59:59Z"


@pytest.mark.parametrize(
    ("source", "ts", "text"),
    [
        ({"ts_ms": MS, "ts_us": MS * 1000 + 456, "ts_ns": MS * 10**6 + 456789}, {}, "2024-03-01T10:00:00.123456789Z"),
        ({"ts_ms": MS, "ts_us": MS * 1000 + 456}, {}, "2024-03-01T10:00:00.123456Z"),
        ({"ts_ms": 0}, {"ts_ms": MS}, AT),
        (None, {"ts_ms": MS}, AT),
    ],
)
def test_time_of_the_change_is_the_databases(source: Any, ts: dict[str, int], text: str) -> None:
    event = {"source": source, "op": "c", "after": row()} | ts
    assert read(event).changed_at == text


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"id": 7}, "it has no op"),
        ([], "it has no op"),
        (envelope("t"), "its op is 't', and there are c, u, r and d: no row is named"),
        (envelope("m", message={}), "its op is 'm'"),
        (envelope("u"), "the row is not in the event"),
        ({"op": "c", "after": row()}, "it does not say when the row was changed"),
        ({"op": "c", "after": row(), "ts_ms": "soon"}, "it does not say when"),
        (
            envelope("c", None, {"id": 7, "email": None, "joined": None}),
            "customer_name is missing: the row has no column",
        ),
        (envelope("c", None, row(name="__debezium_unavailable_value")), "customer_name was not sent"),
        (envelope("c", None, row(name=["a"])), "customer_name is not a single value but list"),
        (
            {
                "schema": schema_of(joined={"name": "io.debezium.time.Date"}),
                "payload": envelope("c", None, row(joined="x")),
            },
            "start_date is not what its schema says, io.debezium.time.Date: ValueError",
        ),
    ],
)
def test_what_is_no_change_of_a_row_is_undecodable(document: Any, reason: str) -> None:
    with pytest.raises(Undecodable) as error:
        read(document)
    assert reason in str(error.value)


def test_columns_that_the_shop_does_not_have_are_null() -> None:
    after = {"id": 7, "name": "Ada", "email": None, "joined": None}
    assert read(envelope("c", None, after)).fields == ["7", "Ada", None, None, None, None]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["schema", "payload", "fields", "field", "op", "after", "before", "source", "ts_ms", "id", "name"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(json_values, json_values)
def test_any_json_is_a_change_or_undecodable(key: Any, value: Any) -> None:
    with suppress(Undecodable):
        assert len(read(value, key).fields) == 6
