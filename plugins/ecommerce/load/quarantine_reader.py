"""Reads the rejected messages of a topic from the quarantine, to validate them again."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from psycopg import Connection, sql

from ecommerce.common.shop import shop
from ecommerce.common.sources import CHANGE_LINEAGE, Source
from ecommerce.extract.change_reader import change_events, change_row
from ecommerce.extract.kafka_messages import decode, lineage_values
from ecommerce.extract.message_contents import MessageContents
from ecommerce.extract.reader_protocol import MessageSchema, ResumePoints, TopicRead
from ecommerce.extract.texts import is_cut
from ecommerce.load.erased_rows import ERASED


class QuarantineReader:
    """
    Messages in quarantine that were not replayed yet, with their places in the topic.

    A message's value is `ops.quarantine.corrected` if someone has filled that in, an object with the source's columns;
    otherwise the original. The payload is always the original, so that a message that is rejected again is recognised.

    :param condition: on `ops.quarantine as rejected`, joined with `ops.load_batch as batch`
    """

    topics: Sequence[TopicRead] = ()

    def __init__(self, source: Source, connection: Connection, condition: sql.Composable) -> None:
        self.source = source
        self.columns = [*(column.name for column in source.loaded_columns), "_payload", "_rejection"]
        self._connection = connection
        self._contents = MessageContents(source, shop().location_of(source.name))
        self._condition = condition

    def read(self, resume: ResumePoints) -> Iterator[list[str | None]]:
        """One row for each message."""
        # All at once, since the same connection copies them into the staging table.
        rows = self._connection.execute(
            sql.SQL("""
                select rejected.payload, rejected.payload::text, rejected.corrected
                from ops.quarantine as rejected
                inner join ops.load_batch as batch using (batch_id)
                where {condition}
                order by quarantine_id
            """).format(condition=self._condition)
        ).fetchall()
        for payload, original, corrected in rows:
            yield self._row(payload, original, corrected)

    def _row(self, payload: Any, original: str, corrected: Any) -> list[str | None]:
        place = _place(payload)
        if place is None:
            nothing = [None] * len(self.source.loaded_columns)
            return [*nothing, original, "the payload does not say where in the topic the message was"]
        if corrected is None and is_cut(payload.get("value")):
            nothing = [None] * len(self.source.loaded_columns)
            return [*nothing, original, "the message was too long to be kept whole: fill in `corrected`"]
        if corrected is None and payload.get("value") == ERASED and isinstance(payload.get("content"), Mapping):
            corrected = payload["content"]
        if corrected is None:
            # By the present profile: a registry may have been missing there.
            (content,), rejections = self._contents.of([_bytes(payload.get("value"))])
        else:
            content, rejections = json.dumps(corrected).encode(), {}
        fields, rejection = decode(self.source, content)
        return [*fields, *lineage_values(self.source, place, fields), original, rejections.get(0, rejection)]


class QuarantinedChanges(QuarantineReader):
    """
    Changes of a table in quarantine that were not replayed yet.

    `ops.quarantine.corrected` is an object with the source's columns, all of the row; when it changed stays.
    """

    #: Noted when they were rejected.
    schemas: Mapping[int, MessageSchema] = {}

    def __init__(self, source: Source, connection: Connection, condition: sql.Composable) -> None:
        super().__init__(replace(source, lineage=CHANGE_LINEAGE), connection, condition)
        location = shop().location_of(source.name)
        self.topic = location.topic or ""
        self._events = change_events(source, location, self._contents)

    def _row(self, payload: Any, original: str, corrected: Any) -> list[str | None]:
        nothing = [None] * len(self.source.loaded_columns)
        if _place(payload) is None:
            return [*nothing, original, "the payload does not say where in the topic the message was"]
        if payload.get("value") == ERASED:
            return [*nothing, original, "the customer was erased"]
        if is_cut(payload.get("value")) or is_cut(payload.get("key")):
            return [*nothing, original, "the message was too long to be kept whole"]
        *row, _, rejection = change_row(
            self.source, self._events, _bytes(payload.get("key")), _bytes(payload.get("value")), payload
        )
        if isinstance(corrected, Mapping) and row[-2] is not None:
            names = [column.name for column in self.source.columns]
            texts = [corrected.get(name) for name in names]
            row[: len(names)] = [text if text is None or isinstance(text, str) else json.dumps(text) for text in texts]
        return [*row, original, rejection]


def _place(payload: Any) -> list[str | None] | None:
    """Topic, partition, offset and time of publication; None if someone has edited them into invalid ones."""
    if not isinstance(payload, Mapping):
        return None
    topic, partition, offset = (payload.get(name) for name in ("topic", "partition", "offset"))
    published = payload.get("published_at")
    try:
        if published is not None:
            datetime.fromisoformat(published)
    except (TypeError, ValueError):
        return None
    if not (isinstance(topic, str) and type(partition) is int and type(offset) is int):
        return None
    return [topic, str(partition), str(offset), published]


def _bytes(value: Any) -> bytes | None:
    """The message's bytes, which `readable` has made a text or base64."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return base64.b64decode(value.get("base64", ""))
    return str(value).encode()
