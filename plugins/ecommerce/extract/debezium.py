"""
Reads change events as Debezium sends them: what a row of the shop's table became, when, or that it was deleted.

An event is an envelope (`before`, `after`, `op`, `source`), in JSON or decoded by the schema of a registry. JSON may
have its schema beside it (`schema`, `payload`), which says what a number means; see "Data change events" in Debezium's
documentation of its connectors.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from ecommerce.common.shop import SourceLocation, shop
from ecommerce.common.sources import Kind, Source
from ecommerce.extract.exact_texts import CONNECT, Undecodable, day, decimal, moment
from ecommerce.extract.message_contents import text_of, value_at

#: What happened to the row: created, updated, read by a snapshot; deleted.
_ROW_IS_THERE, _ROW_IS_GONE = ("c", "u", "r"), "d"
#: What stands for a long value of Postgres that has not changed and so is not in its log.
_NOT_SENT = "__debezium_unavailable_value"
#: Names of a time in the envelope, most exact first, with the digits of a second.
_TIMES = (("ts_ns", 9), ("ts_us", 6), ("ts_ms", 3))
#: More days since 1970 are milliseconds or less.
_MOST_DAYS = 100_000

Decode = Callable[[bytes], Any]


class RowChange(NamedTuple):
    """
    A change of a row.

    :param fields: the source's columns as texts; of a deleted row only its key
    :param changed_at: when the shop's database changed it, in UTC
    """

    fields: list[str | None]
    changed_at: str
    is_deleted: bool


class ChangeEvents:
    """
    Reads the change events of a source.

    :param decode: bytes of a value → what they say; ``decode_key``: those of a key
    """

    def __init__(self, source: Source, location: SourceLocation, decode: Decode, decode_key: Decode) -> None:
        self._columns = [
            (column, location.path_of(column.name), column.name in location.fields) for column in source.columns
        ]
        self._key = source.key
        self._decode, self._decode_key = decode, decode_key

    def change(self, key: bytes | None, value: bytes | None, published: str | None) -> RowChange:
        """
        What a message says.

        :param published: the broker's time of it
        :raises Undecodable: it is no change of a row, or does not say which row, or when
        :raises SourceError: the schema registry cannot be asked
        """
        if value is None:
            # A tombstone: it follows the deletion, or is all that compaction has left of it.
            if published is None:
                raise Undecodable("the message has no value (a tombstone) and no time")
            return RowChange(self._key_fields(key, {}, {}), published, True)
        event, types = _unwrapped(self._decode(value))
        if not isinstance(event, Mapping) or "op" not in event:
            raise Undecodable("the value is no change event of Debezium: it has no op")
        changed_at = _time_of(event)
        if event["op"] == _ROW_IS_GONE:
            return RowChange(self._key_fields(key, event.get("before"), types.get("before", {})), changed_at, True)
        if event["op"] not in _ROW_IS_THERE:
            raise Undecodable(f"its op is {event['op']!r}, and there are c, u, r and d: no row is named")
        row = event.get("after")
        if not isinstance(row, Mapping):
            raise Undecodable("the row is not in the event (after)")
        return RowChange(self._fields(row, types.get("after", {})), changed_at, False)

    def _fields(self, row: Mapping[str, Any], types: Mapping[str, Any]) -> list[str | None]:
        fields = []
        for column, path, is_mapped in self._columns:
            if path[0] not in row and (column.required or is_mapped):
                # An event has all columns of the table: one that is not there was dropped or renamed.
                raise Undecodable(f"{column.name} is missing: the row has no column {path[0]}")
            value = value_at(row, path)
            if value == _NOT_SENT:
                raise Undecodable(f"{column.name} was not sent, since it has not changed; see REPLICA IDENTITY FULL")
            fields.append(_text(value, column.name, column.kind, types.get(path[0], {}) if len(path) == 1 else {}))
        return fields

    def _key_fields(self, key: bytes | None, before: Any, types: Mapping[str, Any]) -> list[str | None]:
        """The columns of a deleted row's key, by what the row was, or by the message's key."""
        if not isinstance(before, Mapping) or not before:
            before, types = _unwrapped(self._decode_key(key)) if key is not None else ({}, {})
        # A schema of the key is that of the row alone.
        fields = {
            column.name: _text(value_at(before, path), column.name, column.kind, types.get(path[0], {}))
            for column, path, _ in self._columns
            if column.name in self._key
        }
        return [fields.get(column.name) for column, *_ in self._columns]


def _unwrapped(document: Any) -> tuple[Any, Mapping[str, Any]]:
    """The event, and name of a field → its schema, of `before` and `after` that of their fields; empty without one."""
    if not (isinstance(document, Mapping) and document.keys() == {"schema", "payload"}):
        return document, {}
    return document["payload"], _types(document["schema"])


def _types(schema: Any) -> Mapping[str, Any]:
    fields = schema.get("fields") if isinstance(schema, Mapping) else None
    return {
        str(field.get("field")): _types(field) if field.get("type") == "struct" and "fields" in field else field
        for field in (fields if isinstance(fields, list) else [])
        if isinstance(field, Mapping)
    }


def _time_of(event: Mapping[str, Any]) -> str:
    """When the row was changed, by the database; else when Debezium has seen it."""
    source = event.get("source")
    for place in (source if isinstance(source, Mapping) else {}, event):
        for name, digits in _TIMES:
            try:
                number = int(place.get(name) or 0)
            except (TypeError, ValueError):
                continue
            # Snapshots of some connectors have 0.
            if number > 0:
                return moment(number, digits)
    raise Undecodable("it does not say when the row was changed (source.ts_ms)")


def _text(value: Any, name: str, kind: Kind, schema: Any) -> str | None:
    """A value of the row as text: by its schema, or by the column's kind."""
    if value is None:
        return None
    connect = str(schema.get("name") or "") if isinstance(schema, Mapping) else ""
    try:
        if connect in CONNECT:
            value = CONNECT[connect](int(value), {})
        elif connect == "org.apache.kafka.connect.data.Decimal":
            value = decimal(base64.b64decode(value), int((schema.get("parameters") or {}).get("scale", 0)))
    except (TypeError, ValueError) as error:
        raise Undecodable(f"{name} is not what its schema says, {connect}: {type(error).__name__}") from error
    text = text_of(value, name)
    return _as_day(text) if kind is Kind.DATE and text is not None else text


def _as_day(text: str) -> str:
    """A day: from days since 1970, Debezium's form without a schema; of a time, the shop's day of it."""
    if text.lstrip("-").isdecimal() and abs(int(text)) < _MOST_DAYS:
        return day(int(text))
    if len(text) <= len("2024-01-31"):
        return text
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    if at.tzinfo is None:
        at = at.replace(tzinfo=ZoneInfo(shop().source_time_zone))
    try:
        return at.astimezone(ZoneInfo(shop().time_zone)).date().isoformat()
    except OverflowError:
        return text
