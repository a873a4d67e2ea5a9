"""Read refused messages of a topic once more, from the quarantine."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection, sql

from ecommerce.common.sources import Source
from ecommerce.extract.kafka_reader import decode
from ecommerce.extract.reader_protocol import ResumePoints, TopicRead


class QuarantineReader:
    """
    The messages that wait in quarantine, with the places that they had in their topic.

    Their value is the corrected one where someone has written one down (`ops.quarantine.corrected`), otherwise as it
    came. The payload stays as it came, so that what is refused again is found again.

    :param chosen: condition on `ops.quarantine as refused`, joined with `ops.load_batch as batch`
    """

    topics: Sequence[TopicRead] = ()

    def __init__(self, source: Source, connection: Connection, chosen: sql.Composable) -> None:
        self.source = source
        self.columns = [*(column.name for column in source.loaded_columns), "_payload", "_refusal"]
        self._connection = connection
        self._chosen = chosen

    def read(self, resume: ResumePoints) -> Iterator[list[str | None]]:
        """One row a message."""
        # All at once, since the connection is the one that they are copied over.
        waiting = self._connection.execute(
            sql.SQL(
                "select refused.payload, refused.payload::text, refused.corrected from ops.quarantine as refused"
                " inner join ops.load_batch as batch using (batch_id) where {} order by quarantine_id"
            ).format(self._chosen)
        ).fetchall()
        for payload, as_it_came, corrected in waiting:
            yield self._row(payload, as_it_came, corrected)

    def _row(self, payload: Any, as_it_came: str, corrected: Any) -> list[str | None]:
        place = _place(payload)
        if place is None:
            nothing = [None] * len(self.source.loaded_columns)
            return [*nothing, as_it_came, "the payload does not say where in the topic the message was"]
        fields, refusal = decode(self.source, _bytes(payload.get("value")) if corrected is None else _json(corrected))
        return [*fields, *place, as_it_came, refusal]


def _place(payload: Any) -> list[str | None] | None:
    """Topic, partition, offset and time of publication, if they are what they were written down as."""
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
    """What `readable` had made a text of, or base64."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return base64.b64decode(value.get("base64", ""))
    return str(value).encode()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
