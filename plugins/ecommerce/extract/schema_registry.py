"""
Decodes messages by the schemas of a registry, in Confluent's wire format: a zero byte, the schema's id, the payload.

The registry of Confluent, and those that answer like it (Apicurio's `ccompat`, Karapace, Redpanda), say by the id which
kind of schema it is: Avro, JSON Schema or Protobuf.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk.exceptions import AirflowNotFoundException
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from ecommerce.common.errors import SourceError
from ecommerce.common.shop import SourceLocation
from ecommerce.common.shown_text import one_line
from ecommerce.common.sources import Source
from ecommerce.extract.avro_schemas import AvroSchema
from ecommerce.extract.exact_texts import Undecodable
from ecommerce.extract.message_contents import json_document
from ecommerce.extract.protobuf_schemas import ProtobufSchema
from ecommerce.extract.reader_protocol import MessageSchema

log = logging.getLogger(__name__)

#: Seconds to wait for the registry's answer, and further tries; the extra of its connection can change both.
TIMEOUT, RETRIES = 10, 2
#: The byte before the schema's id, and how long both are together.
MAGIC, PREFIX = 0, 5
#: Schemas that a schema names, with those that they name.
_MOST_REFERENCES = 200

#: The registry's errors that say that a schema, subject or version is not there (Confluent's API reference).
_NOT_THERE = (40401, 40402, 40403)


class DecodingSchema(MessageSchema, Protocol):
    """A schema that decodes what was written by it."""

    def decode(self, payload: bytes) -> Any:
        """
        The value of a message without its prefix.

        :raises Undecodable: the bytes are not of this schema
        """


class JsonSchema:
    """
    A schema of JSON: the payload is JSON by itself. The warehouse validates its values, whatever the schema allows.

    :raises Undecodable: it is no schema
    """

    def __init__(self, text: str) -> None:
        try:
            schema = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Undecodable(f"it is no JSON: {type(error).__name__}") from error
        self.name = str(schema.get("title", "")) if isinstance(schema, dict) else ""
        self.fields = dict(_json_fields(schema, "", 0))

    def decode(self, payload: bytes) -> Any:
        """The value; numbers as the message spells them."""
        return json_document(payload, is_exact=True)


def _json_fields(schema: Any, outer: str, depth: int) -> Iterator[tuple[str, str]]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    for name, kind in (properties if isinstance(properties, dict) else {}).items():
        spelled = kind.get("format") or kind.get("type") if isinstance(kind, dict) else None
        yield f"{outer}{name}", " or ".join(map(str, spelled)) if isinstance(spelled, list) else str(spelled or "any")
        if depth < 5:
            yield from _json_fields(kind, f"{outer}{name}.", depth + 1)


def _version(client: SchemaRegistryClient, *, subject: str, version: int, form: str | None) -> Any:
    return client.get_version(subject, version, fmt=form)


class SchemaRegistry:
    """
    The schemas of a topic's messages. Each is asked for once.

    :ivar used: id → schema, of those that have decoded the value of a message
    """

    def __init__(self, source: Source, location: SourceLocation) -> None:
        self._source, self._location = source, location
        self._client: SchemaRegistryClient | None = None
        self._schemas: dict[int, DecodingSchema | Undecodable] = {}
        self.used: dict[int, DecodingSchema] = {}

    def decode(self, value: bytes, *, is_key: bool = False) -> Any:
        """
        What a message's value, or its key, says.

        :raises Undecodable: it is not in the wire format, the registry has no such schema, or the bytes are not of it
        :raises SourceError: the registry cannot be asked
        """
        if len(value) < PREFIX or value[0] != MAGIC:
            raise Undecodable("the value does not begin with a zero byte and the id of a schema")
        schema_id = int.from_bytes(value[1:PREFIX], "big")
        schema = self._schema(schema_id)
        try:
            document = schema.decode(value[PREFIX:])
        except Undecodable as error:
            raise Undecodable(f"schema {schema_id}: {error}") from error
        if not is_key:
            self.used[schema_id] = schema
        return document

    def _schema(self, schema_id: int) -> DecodingSchema:
        if schema_id not in self._schemas:
            try:
                self._schemas[schema_id] = self._fetched(schema_id)
            except Undecodable as error:
                self._schemas[schema_id] = error
        schema = self._schemas[schema_id]
        if isinstance(schema, Undecodable):
            raise Undecodable(f"schema {schema_id}: {one_line(schema, 300)}")
        return schema

    def _fetched(self, schema_id: int) -> DecodingSchema:
        schema = self._ask(lambda client: client.get_schema(schema_id))
        log.info("%s: schema %s is in %s", self._source.name, schema_id, schema.schema_type)
        match schema.schema_type:
            case "AVRO":
                return AvroSchema(schema.schema_str, [*self._references(schema, None).values()])
            case "JSON":
                return JsonSchema(schema.schema_str)
            case "PROTOBUF":
                # As text only a compiler could read it.
                compiled = self._ask(lambda client: client.get_schema(schema_id, fmt="serialized"), is_again=True)
                return ProtobufSchema(compiled.schema_str, self._references(compiled, "serialized"))
        raise Undecodable(f"it is in {schema.schema_type}; there are AVRO, JSON and PROTOBUF")

    def _references(self, schema: Schema, form: str | None, found: dict[str, str] | None = None) -> dict[str, str]:
        """Name → text of the schemas that a schema names, each after those that it names itself."""
        found = {} if found is None else found
        for reference in schema.references or ():
            name, subject, version = reference.name, reference.subject, reference.version
            if name is None or subject is None or version is None or name in found:
                continue
            if len(found) >= _MOST_REFERENCES:
                raise Undecodable(f"it names more than {_MOST_REFERENCES} other schemas")
            # Its place is kept meanwhile, so that two that name each other end.
            found[name] = ""
            named = self._ask(partial(_version, subject=subject, version=version, form=form)).schema
            self._references(named, form, found)
            found.pop(name)
            found[name] = named.schema_str
        return found

    def _ask(self, question: Callable[[SchemaRegistryClient], Any], *, is_again: bool = False) -> Any:
        """
        The registry's answer.

        :param is_again: in another form; the client has one schema of an id, so it forgets the first
        :raises Undecodable: what is asked for is not there
        :raises SourceError: there is no answer
        """
        client = self._connected()
        if is_again:
            client.clear_caches()
        try:
            return question(client)
        except SchemaRegistryError as error:
            # A server that is no registry answers 404, too, but not with these.
            if error.error_code in _NOT_THERE:
                raise Undecodable(f"the registry does not have it: {error.error_message}") from error
            raise self._no_answer(error) from error
        # Of the network, of TLS, of a token, or an answer that is no JSON: no message is to blame.
        except Exception as error:
            raise self._no_answer(error) from error

    def _connected(self) -> SchemaRegistryClient:
        """
        The client, by the connection: address and user are the connection's, its extra has the client's own settings.

        :raises SourceError: there is no such connection, or a setting is invalid
        """
        if self._client is not None:
            return self._client
        name = self._location.registry or ""
        try:
            hook = HttpHook(http_conn_id=name)
            account = hook.get_connection(name)
            settings: dict[str, Any] = {"url": hook.url_from_endpoint(None), "timeout": TIMEOUT, "max.retries": RETRIES}
            if account.login:
                settings["basic.auth.user.info"] = f"{account.login}:{account.password or ''}"
            self._client = SchemaRegistryClient(settings | account.extra_dejson)
        except AirflowNotFoundException as error:
            raise SourceError(
                f"{self._source.name}: there is no connection {name!r}; add it under Admin → Connections, with the "
                "type HTTP and the address of the schema registry"
            ) from error
        except (ValueError, TypeError, OSError) as error:
            raise SourceError(f"{self._source.name}: the connection {name!r} cannot be used: {error}") from error
        return self._client

    def _no_answer(self, error: Exception) -> SourceError:
        says = one_line(error, 300) or type(error).__name__
        return SourceError(
            f"{self._source.name}: the schema registry at the connection {self._location.registry!r} cannot be asked: "
            f"{says}. Nothing was loaded"
        )
