"""Turns Kafka messages into rows: the value's fields, the place in the topic, and the reason to reject a message."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from ecommerce.common.sources import BELOW_MICROSECOND, CALENDAR, Kind, Source
from ecommerce.extract.exact_texts import Undecodable
from ecommerce.extract.message_contents import json_document
from ecommerce.extract.texts import KEPT_OF_LONG, kept, storable

#: Bytes of a message's value that the quarantine keeps whole, so that it can be replayed: all that a broker takes by
#: default. And headers that it keeps, each as long as one of the source's own texts.
LONGEST_VALUE, KEPT_HEADERS = 1_048_576, 20
_BELOW_MICROSECOND = re.compile(r"\.\d{6}(\d+)")


def decode(source: Source, content: bytes | None) -> tuple[list[str | None], str | None]:
    """A message's content as the source's columns, and the reason to reject it, if there is one."""
    names = [column.name for column in source.columns]
    nothing: list[str | None] = [None] * len(names)
    if content is None:
        return nothing, "the message has no value (a tombstone)"
    try:
        document = json_document(content)
    except Undecodable as error:
        return nothing, str(error)
    if not isinstance(document, dict):
        return nothing, f"the value is not a JSON object but {type(document).__name__}"
    for name in names:
        text = document.get(name)
        if text is not None and not isinstance(text, str):
            return nothing, f"{name} is not a text but {type(text).__name__}"
        if text is not None and not storable(text):
            return nothing, f"{name} holds a character that Postgres cannot store"
    return [document.get(name) for name in names], None


def lineage_values(source: Source, place: Sequence[str | None], fields: Sequence[str | None]) -> list[str | None]:
    """The source's lineage columns: the message's place in the topic, and the digits of its time beyond raw's."""
    if BELOW_MICROSECOND not in source.lineage:
        return [*place]
    times = (text for column, text in zip(source.columns, fields, strict=True) if column.kind is Kind.INSTANT)
    return [*place, below_microsecond(next(times, None))]


def below_microsecond(time: str | None) -> str | None:
    """The digits of a time after the microsecond, without zeros at the end; None if there are none."""
    digits = _BELOW_MICROSECOND.search(time or "")
    return digits[1].rstrip("0") or None if digits else None


def suspect_row(
    source: Source, message: Message, content: bytes | None, rejection: str | None = None
) -> list[str | None]:
    """
    A message for the staging table: fields, place in the topic, the whole message as JSON, a reason to reject it.

    :param content: what the message says
    :param rejection: why that is not known
    """
    fields, reason = decode(source, content)
    place = [message.topic(), str(message.partition()), str(message.offset()), _published(message)]
    payload = payload_of(message)
    if content is not None and content != message.value():
        # Of bytes that a person cannot read; and an erasure looks for a customer there.
        payload["content"] = json.loads(content)
    return [*fields, *lineage_values(source, place, fields), json.dumps(payload), rejection or reason]


def payload_of(message: Message) -> dict[str, Any]:
    """A message for the quarantine: its place in the topic, key, value and headers."""
    payload = {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "published_at": _published(message),
        "key": kept(message.key(), KEPT_OF_LONG),
        "value": kept(message.value(), LONGEST_VALUE),
    }
    headers: Any = message.headers()
    if headers:
        # A list, since a name may come twice.
        payload["headers"] = [
            [kept(name.encode(), KEPT_OF_LONG), kept(value, KEPT_OF_LONG)] for name, value in headers[:KEPT_HEADERS]
        ]
    return payload


class PlainMessages:
    """
    Formats plain messages as COPY text. All rules are certain to pass them, so they need no staging table.

    A message is plain if it is ASCII without an escape, so that no text has a meaning of its own for COPY or Postgres;
    if each field is a text that is not blank; and if each time has one common form, at most six decimals, and a day of
    the calendar. Other messages may be valid too: the warehouse validates them, which takes ten times as long.

    :param unknown_fields: gets the names of fields that the registry does not have
    """

    #: Messages with unknown fields that are searched for names; after so many their names are known.
    _ENOUGH = 100
    #: Of so few messages each is looked at alone.
    _FEW = 16

    _INSTANT = re.compile(r"(20[123]\d-\d\d-\d\d)[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?Z?")

    def __init__(self, source: Source, unknown_fields: set[str]) -> None:
        kinds = [column.kind for column in source.columns]
        self._unknown_fields, self._searched = unknown_fields, 0
        # In a message of fewer bytes no field is too long. Columns of other kinds are validated by the warehouse.
        self._longest = 1_000 if set(kinds) <= {Kind.TEXT, Kind.INSTANT} else -1
        self._instants = [place for place, kind in enumerate(kinds) if kind is Kind.INSTANT]
        self._names = [column.name for column in source.columns]
        fields = [(name, str) for name in self._names]
        self._decode_lenient = msgspec.json.Decoder(msgspec.defstruct("Message", fields)).decode
        self._decode = msgspec.json.Decoder(msgspec.defstruct("Message", fields, forbid_unknown_fields=True)).decode
        self._decode_many = msgspec.json.Decoder(
            msgspec.defstruct("Message", fields, forbid_unknown_fields=True)
        ).decode_lines
        self._is_instant = self._INSTANT.fullmatch
        self._are_instants = re.compile(rf"(?:{self._INSTANT.pattern}\n)*".replace("(20", "(?:20")).fullmatch
        self._days: dict[str, bool] = {}
        self._minutes: dict[int, str] = {}

    def lines(self, values: Sequence[Any]) -> list[str | None]:
        """
        Of each message the source's columns as COPY text; None if it is not plain.

        :param values: the messages' contents; None: it has none
        """
        if len(values) < self._FEW or self._decode is self._decode_lenient:
            return [*map(self._line, values)]
        lines = self._lines_at_once(values)
        if lines is not None:
            return lines
        middle = len(values) // 2
        return [*self.lines(values[:middle]), *self.lines(values[middle:])]

    def _lines_at_once(self, values: Sequence[Any]) -> list[str | None] | None:
        """The lines of messages of which all are plain, without an unknown field; None if one is not."""
        if None in values:
            return None
        text, breaks = b"\n".join(values), len(values) - 1
        # Each message begins and ends with a brace, and is one line. An object of texts alone has no other brace
        # outside of its texts, and a text no line break; so no message can be part of an object, or several of them.
        if not (text.startswith(b"{") and text.endswith(b"}") and text.count(b"}\n{") == text.count(b"\n") == breaks):
            return None
        if max(map(len, values)) > self._longest or b"\\" in text or not text.isascii():
            return None
        try:
            rows = self._decode_many(text)
        except msgspec.MsgspecError:
            return None
        columns = [*zip(*map(msgspec.structs.astuple, rows), strict=True)]
        if len(rows) != len(values) or not all(map(self._is_plain, columns)):
            return None
        for place in self._instants:
            if not self._are_instants("\n".join([*columns[place], ""])):
                return None
            if not all(map(self._is_in_calendar, {instant[:10] for instant in columns[place]})):
                return None
        return [*map("\t".join, zip(*columns, strict=True))]

    @staticmethod
    def _is_plain(texts: Sequence[str]) -> bool:
        """Whether there is no control character in any, and none is blank."""
        return "".join(texts).isprintable() and all(map(str.strip, texts))

    def _line(self, value: Any) -> str | None:
        if value is None or len(value) > self._longest or b"\\" in value or not value.isascii():
            return None
        try:
            fields = msgspec.structs.astuple(self._decode(value))
        except msgspec.MsgspecError:
            try:
                fields = msgspec.structs.astuple(self._decode_lenient(value))
            except msgspec.MsgspecError:
                return None
            self._note_unknown_fields(value)
        for place in self._instants:
            instant = self._is_instant(fields[place])
            if instant is None or not self._is_in_calendar(instant[1]):
                return None
        return "\t".join(fields) if self._is_plain(fields) else None

    def _note_unknown_fields(self, value: bytes) -> None:
        # As plain as the message: names that Postgres can store.
        self._unknown_fields.update(json.loads(value).keys() - self._names)
        self._searched += 1
        if self._searched == self._ENOUGH:
            self._decode = self._decode_lenient

    def published(self, message: Message) -> str:
        """The broker's time as COPY text."""
        kind, milliseconds = message.timestamp()
        minute, rest = divmod(milliseconds, 60_000)
        text = self._minutes.get(minute)
        if text is None or kind == TIMESTAMP_NOT_AVAILABLE:
            published = _published(message)
            if published is None:
                return "\\N"
            if len(self._minutes) > 100_000:
                self._minutes.clear()
            text = self._minutes[minute] = published[:17]
        return f"{text}{rest / 1000:06.3f}+00"

    def _is_in_calendar(self, day: str) -> bool:
        known = self._days.get(day)
        if known is None:
            try:
                known = CALENDAR[0] <= date.fromisoformat(day).isoformat() <= CALENDAR[1]
            except ValueError:
                known = False
            self._days[day] = known
        return known


def _published(message: Message) -> str | None:
    """The broker's time; None if there is none, or if a producer has sent one outside of every calendar."""
    kind, milliseconds = message.timestamp()
    if kind == TIMESTAMP_NOT_AVAILABLE:
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None


_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def copy_line(row: Sequence[str | None]) -> str:
    """A row as a line of COPY text."""
    return "\t".join("\\N" if text is None else text.translate(_ESCAPES) for text in row) + "\n"
