"""Decodes messages in Avro by the schema with which they were written; values that have a meaning become texts."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastavro import parse_schema, schemaless_reader
from fastavro.read import LOGICAL_READERS

from ecommerce.extract.exact_texts import AVRO, CONNECT, Undecodable, Writer

#: Before the names of the logical types that are read by the writers of texts. fastavro's own readers round decimals,
#: and fail for a time of no calendar, even in a field that nobody reads.
_AS_TEXT = "text of "
_PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")


def _reader(write: Writer) -> Any:
    return lambda value, writer_schema, _=None: write(value, writer_schema)


for (_kind, _name), _write in AVRO.items():
    LOGICAL_READERS[f"{_kind}-{_AS_TEXT}{_name}"] = _reader(_write)
for _name, _write in CONNECT.items():
    for _kind in ("int", "long"):
        LOGICAL_READERS[f"{_kind}-{_AS_TEXT}{_name}"] = _reader(_write)


class AvroSchema:
    """
    A schema in Avro.

    :param text: the schema as JSON
    :param references: the texts of the schemas that it names, each after those that it names itself
    :raises Undecodable: one of them is no schema
    :ivar name: of the record, with its namespace
    :ivar fields: name of a field → its type; of a record in a record `outer.inner`
    """

    def __init__(self, text: str, references: list[str]) -> None:
        named: dict[str, Any] = {}
        try:
            for reference in references:
                parse_schema(_with_texts(json.loads(reference)), named_schemas=named)
            schema = json.loads(text)
            self._parsed = parse_schema(_with_texts(schema), named_schemas=named)
        # Whatever a wrong schema does to fastavro.
        except Exception as error:
            raise Undecodable(f"it is no schema of Avro: {type(error).__name__}: {error}") from error
        self.name = _record_name(schema)
        self.fields = dict(_fields(schema))

    def decode(self, payload: bytes) -> Any:
        """
        The message's value.

        :raises Undecodable: the bytes are not of this schema
        """
        stream = io.BytesIO(payload)
        try:
            value = schemaless_reader(stream, self._parsed, None)
        except Undecodable:
            raise
        except (EOFError, IndexError) as error:
            raise Undecodable("the bytes are not of its schema: they end too early") from error
        # fastavro raises what its decoding runs into, such as UnicodeDecodeError.
        except Exception as error:
            raise Undecodable(f"the bytes are not of its schema: {type(error).__name__}") from error
        if rest := len(payload) - stream.tell():
            raise Undecodable(f"{rest} bytes are left over, so they are not of its schema")
        return value


def _with_texts(schema: Any) -> Any:
    """The schema with its logical types named so that the writers of texts read them, and no others."""
    if isinstance(schema, list):
        return [_with_texts(branch) for branch in schema]
    if schema == "float":
        return {"type": "float", "logicalType": _AS_TEXT}
    if not isinstance(schema, dict):
        return schema
    changed = {key: value for key, value in schema.items() if key != "logicalType"}
    kind = schema.get("type")
    if kind == "record":
        changed["fields"] = [{**field, "type": _with_texts(field["type"])} for field in schema["fields"]]
        # Defaults are for readers with another schema; this one is the writer's.
        for field in changed["fields"]:
            field.pop("default", None)
        return changed
    for part in ("items", "values"):
        if part in schema:
            changed[part] = _with_texts(schema[part])
    if isinstance(kind, (dict, list)):
        # {"type": {"type": "long", …}}: another form of the inner type.
        return _with_texts(kind)
    name = schema.get("logicalType") or schema.get("connect.name") or ""
    if (kind, name) in AVRO or (name in CONNECT and kind in ("int", "long")):
        changed["logicalType"] = f"{_AS_TEXT}{name}"
    return changed


def _record_name(schema: Any) -> str:
    if not isinstance(schema, dict):
        return ""
    name, namespace = str(schema.get("name", "")), schema.get("namespace")
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _fields(schema: Any, outer: str = "", seen: frozenset[str] = frozenset()) -> Iterator[tuple[str, str]]:
    """Names and types of a record's fields, those of records in it after it."""
    if isinstance(schema, list):
        for branch in schema:
            yield from _fields(branch, outer, seen)
    if not isinstance(schema, dict) or schema.get("type") != "record" or schema.get("name", "") in seen:
        return
    for field in schema.get("fields", ()):
        path = f"{outer}{field['name']}"
        yield path, _spelled(field["type"])
        yield from _fields(field["type"], f"{path}.", seen | {schema.get("name", "")})


def _spelled(kind: Any) -> str:
    """A type as people write it."""
    if isinstance(kind, list):
        return " or ".join(_spelled(branch) for branch in kind)
    if not isinstance(kind, Mapping):
        return str(kind)
    inner = kind.get("type")
    name = kind.get("logicalType") or kind.get("connect.name")
    if name == "decimal":
        return f"decimal({kind.get('precision')},{kind.get('scale', 0)})"
    if name:
        return str(name)
    if inner in ("record", "enum", "fixed"):
        return f"{inner} {kind.get('name')}"
    if inner in ("array", "map"):
        return f"{inner} of {_spelled(kind.get('items', kind.get('values')))}"
    return _spelled(inner)
