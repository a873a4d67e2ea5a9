"""
Gives a topic's messages the form that `kafka_messages` reads: a JSON object with the source's columns as texts.

Messages that have it already are taken as they are. Others are in a format of a schema registry, or have other names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ecommerce.common.shop import SourceLocation
from ecommerce.common.sources import Source
from ecommerce.extract.exact_texts import Undecodable

if TYPE_CHECKING:
    from ecommerce.extract.schema_registry import SchemaRegistry


class Contents(NamedTuple):
    """What messages say: JSON objects, None where there is none; and number of a message → the reason to reject it."""

    values: Sequence[bytes | None]
    rejections: Mapping[int, str]


class MessageContents:
    """
    Reads the contents of a topic's messages, by the location in the shop's profile.

    :ivar registry: the schemas, if the profile names a registry
    """

    def __init__(self, source: Source, location: SourceLocation) -> None:
        self.registry: SchemaRegistry | None = None
        self._document: Callable[[bytes], Any] = json_document
        if location.registry:
            # Imported only where there is one: it takes a second.
            from ecommerce.extract.schema_registry import SchemaRegistry

            self.registry = SchemaRegistry(source, location)
            self._document = self.registry.decode
        self._paths = {column.name: location.path_of(column.name) for column in source.columns}
        self._is_plain = self.registry is None and not location.fields

    def of(self, values: Sequence[bytes | None]) -> Contents:
        """
        The contents of messages.

        :raises SourceError: the schema registry cannot be asked
        """
        if self._is_plain:
            return Contents(values, {})
        contents: list[bytes | None] = []
        rejections = {}
        for number, value in enumerate(values):
            try:
                contents.append(None if value is None else encoded(self._fields(value)))
            except Undecodable as error:
                contents.append(None)
                rejections[number] = str(error)
        return Contents(contents, rejections)

    def _fields(self, value: bytes) -> dict[str, Any]:
        document = self._document(value)
        if not isinstance(document, Mapping):
            raise Undecodable(f"the value is no record but {type(document).__name__}")
        fields = {name: value_at(document, path) for name, path in self._paths.items()}
        # Without a schema only texts are taken, and `kafka_messages` says what is none.
        return {name: text_of(field, name) for name, field in fields.items()} if self.registry else fields


def json_document(value: bytes, *, is_exact: bool = False) -> Any:
    """
    The value of a message in JSON.

    :param is_exact: numbers are texts, as the message spells them
    :raises Undecodable: it is none
    """
    numbers: Any = {"parse_int": str, "parse_float": str, "parse_constant": str} if is_exact else {}
    try:
        return json.loads(value, **numbers)
    except (ValueError, RecursionError) as error:
        # ValueError: bad UTF-8, bad JSON, or a number of thousands of digits, which Python does not parse.
        raise Undecodable(f"the value is not JSON: {type(error).__name__}") from error


def value_at(document: Any, path: Sequence[str]) -> Any:
    """The value at a path; None if it is not there."""
    for name in path:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document


def text_of(value: Any, name: str) -> str | None:
    """
    A field of a schema as text.

    :raises Undecodable: it is no single value
    """
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
    raise Undecodable(f"{name} is not a single value but {type(value).__name__}")


def encoded(fields: Mapping[str, Any]) -> bytes:
    """The columns as a JSON object; those without a value are left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return msgspec.json.encode(given)
    except UnicodeEncodeError:
        # Lone surrogates: `kafka_messages` finds them, and says so.
        return json.dumps(given).encode()
