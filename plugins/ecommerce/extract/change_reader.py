"""Reads the changes of a table from a topic, as Debezium sends them: in their order, from where the last load ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from ecommerce.common.shop import SourceLocation
from ecommerce.common.sources import CHANGE_LINEAGE, Source
from ecommerce.common.windows import Window
from ecommerce.extract.debezium import ChangeEvents
from ecommerce.extract.exact_texts import Undecodable
from ecommerce.extract.kafka_messages import payload_of
from ecommerce.extract.kafka_reader import TopicReader
from ecommerce.extract.message_contents import MessageContents, json_document
from ecommerce.extract.reader_protocol import RETENTION, Gap, ResumePoints
from ecommerce.extract.texts import storable


class ChangeReader(TopicReader):
    """
    The changes up to the window's end that were not read before, each as a row of texts for the warehouse to validate.

    Each row has the source's columns, those of `CHANGE_LINEAGE`, the whole message as JSON, and a reason to reject it.
    What is older than the window is read along: a change that is left out would be missing in its row's history.
    """

    def __init__(self, source: Source, location: SourceLocation, window: Window) -> None:
        super().__init__(replace(source, lineage=CHANGE_LINEAGE), location, window)
        self._events = change_events(source, location, self._contents)

    def read(self, resume: ResumePoints) -> Iterator[list[str | None]]:
        """All changes, in the topic's order."""
        with closing(self.messages(resume)) as batches:  # type: ignore[type-var]
            for messages in batches:
                for message in messages:
                    yield change_row(self.source, self._events, message.key(), message.value(), payload_of(message))

    def _begin(
        self, partition: int, low: int, first: int, stored: Mapping[int, int], resume: ResumePoints, high: int
    ) -> int:
        """Where the last load ended, or the topic's begin; notes what has expired unread."""
        wanted = stored.get(partition, 0)
        if wanted < low:
            self._expired.append(Gap(partition, wanted, low - 1, RETENTION))
        return max(wanted, low)


def change_events(source: Source, location: SourceLocation, contents: MessageContents) -> ChangeEvents:
    """What reads the events at a location: by its registry, or as JSON whose numbers stay as they are spelled."""
    if contents.registry:
        decode = contents.registry.decode
        return ChangeEvents(source, location, decode, partial(decode, is_key=True))
    as_json = partial(json_document, is_exact=True)
    return ChangeEvents(source, location, as_json, as_json)


def change_row(
    source: Source, events: ChangeEvents, key: Any, value: bytes | None, payload: dict[str, Any]
) -> list[str | None]:
    """
    A change for the staging table.

    :param payload: the message as the quarantine keeps it
    """
    fields: list[str | None] = [None] * len(source.columns)
    changed_at, is_deleted, rejection = None, False, None
    try:
        key = key.encode() if isinstance(key, str) else key
        fields, changed_at, is_deleted = events.change(key, value, payload["published_at"])
        for column, text in zip(source.columns, fields, strict=True):
            if text is not None and not storable(text):
                raise Undecodable(f"{column.name} holds a character that Postgres cannot store")
        payload = payload | {"content": dict(zip((column.name for column in source.columns), fields, strict=True))}
    except Undecodable as error:
        fields, rejection = [None] * len(source.columns), str(error)
    place = [str(payload["partition"]), str(payload["offset"]), changed_at, str(is_deleted).lower()]
    return [*fields, *place, json.dumps(payload), rejection]
