"""Decodes messages in Protobuf by the schema with which they were written; values become what their JSON form has."""

from __future__ import annotations

import base64
import binascii
import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from ecommerce.extract.exact_texts import Undecodable, decimal

#: Files that a registry does not have, since each implementation of Protobuf, or of the registry's clients, has them.
_BUILTIN = re.compile(r"(google/(?:protobuf|type)|confluent(?:/type)?s?)/[a-z_]+\.proto")
_MODULES = {"confluent": "confluent_kafka.schema_registry.confluent"}

_TYPE_NAMES = {
    getattr(FieldDescriptor, name): name.removeprefix("TYPE_").lower()
    for name in dir(FieldDescriptor)
    if name.startswith("TYPE_")
}


class ProtobufSchema:
    """
    A schema in Protobuf.

    :param text: a `FileDescriptorProto` in base64, as the registry gives it in the format `serialized`
    :param references: name of an imported file → its text; each after those that it imports itself
    :raises Undecodable: one of them is no schema, or imports a file that is not there
    :ivar name: of its first message, with its package
    :ivar fields: `Message.field` → its type; of a message in a message `Message.outer.inner`
    """

    def __init__(self, text: str, references: Mapping[str, str]) -> None:
        pool = DescriptorPool()
        try:
            for name, reference in references.items():
                _add(pool, _file(reference), name)
            self._file = pool.FindFileByName(_add(pool, _file(text), "the schema"))
        except (DecodeError, binascii.Error, ValueError, KeyError, TypeError, ImportError) as error:
            raise Undecodable(f"it is no schema of Protobuf: {type(error).__name__}: {error}") from error
        messages = list(self._file.message_types_by_name.values())
        self.name = messages[0].full_name if messages else ""
        self.fields = {name: kind for message in messages for name, kind in _fields(message, f"{message.name}.")}

    def decode(self, payload: bytes) -> Any:
        """
        The message's value: a mapping as its JSON form has it, with the names of the schema.

        :raises Undecodable: the bytes are not of this schema
        """
        indexes, start = _message_indexes(payload)
        message = GetMessageClass(self._message_type(indexes))()
        try:
            message.ParseFromString(payload[start:])
            return _as_mapping(message)
        except Undecodable:
            raise
        # Wrong UTF-8, and times that JSON cannot have, are ValueErrors or others, depending on the implementation.
        except Exception as error:
            raise Undecodable(f"the bytes are not of its schema: {type(error).__name__}") from error

    def _message_type(self, indexes: list[int]) -> Descriptor:
        """The type that is meant: the first index is of the file's messages, each further one of those in it."""
        try:
            first, *others = indexes
            found = _at(list(self._file.message_types_by_name.values()), first)
            for index in others:
                found = _at(found.nested_types, index)
        except IndexError:
            raise Undecodable(f"its schema has no message of the index {indexes}") from None
        return found


def _at(types: Any, index: int) -> Descriptor:
    if index < 0:
        raise IndexError(index)
    return types[index]


def _message_indexes(payload: bytes) -> tuple[list[int], int]:
    """
    Which message of the file it is, and where it begins.

    Confluent's wire format: the number of the indexes, then each, as zigzag varints; 0 stands for the first message.
    """
    count, position = _varint(payload, 0)
    if count == 0:
        return [0], position
    # Each takes a byte at least.
    if not 0 < count <= len(payload):
        raise Undecodable("its message indexes are damaged")
    indexes = []
    for _ in range(count):
        index, position = _varint(payload, position)
        indexes.append(index)
    return indexes, position


def _varint(payload: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if position >= len(payload) or shift > 63:
            raise Undecodable("its message indexes are damaged")
        byte = payload[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), position


def _file(text: str) -> FileDescriptorProto:
    try:
        return FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
    except (DecodeError, binascii.Error) as error:
        raise ValueError(
            "the registry does not give it in the format `serialized` (a FileDescriptorProto in base64)"
        ) from error


def _add(pool: DescriptorPool, file: FileDescriptorProto, name: str) -> str:
    """Add a file, after the built-in ones that it imports; its name in the pool."""
    for imported in file.dependency:
        _add_builtin(pool, imported)
    # A reference is imported by the name that it has in the registry, whatever its file says.
    file.name = name
    pool.Add(file)
    return name


def _add_builtin(pool: DescriptorPool, name: str) -> None:
    if not _BUILTIN.fullmatch(name):
        return
    try:
        pool.FindFileByName(name)
    except KeyError:
        package, _, rest = name.removesuffix(".proto").partition("/")
        module = importlib.import_module(f"{_MODULES.get(package, package)}.{rest.replace('/', '.')}_pb2")
        file = FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        for imported in file.dependency:
            _add_builtin(pool, imported)
        pool.Add(file)


def _as_mapping(message: Message) -> Any:
    """A message as its JSON form has it; days and decimals as texts."""
    fields = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    _write_texts(message.DESCRIPTOR, message, fields)
    return fields


def _write_texts(kind: Descriptor, message: Any, fields: dict[str, Any]) -> None:
    """Write the days and decimals of a message, and of messages in it, as texts; JSON has them as objects."""
    for field in kind.fields:
        inner = field.message_type
        if inner is None or inner.GetOptions().map_entry or isinstance(fields.get(field.name), (list, type(None))):
            continue
        value = getattr(message, field.name)
        if inner.full_name == "google.type.Date":
            fields[field.name] = f"{value.year:04d}-{value.month:02d}-{value.day:02d}"
        elif inner.full_name == "google.type.Decimal":
            fields[field.name] = value.value
        elif inner.full_name == "confluent.type.Decimal":
            fields[field.name] = decimal(value.value, value.scale)
        elif isinstance(fields[field.name], dict) and not inner.full_name.startswith("google.protobuf."):
            _write_texts(inner, value, fields[field.name])


def _fields(kind: Descriptor, outer: str = "", seen: frozenset[str] = frozenset()) -> Iterator[tuple[str, str]]:
    """Names and types of a message's fields, those of messages in it after it."""
    if kind.full_name in seen:
        return
    for field in kind.fields:
        named = field.message_type or field.enum_type
        type_name = named.full_name if named else _TYPE_NAMES[field.type]
        path = f"{outer}{field.name}"
        yield path, f"repeated {type_name}" if field.is_repeated else type_name
        if field.message_type and not field.message_type.full_name.startswith("google."):
            yield from _fields(field.message_type, f"{path}.", seen | {kind.full_name})
