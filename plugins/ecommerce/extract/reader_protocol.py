"""
The interfaces between readers and the loader.

A reader only reads: it returns rows, column types and the offsets of topics, and does not know raw. There are four
kinds, from the simplest:

* `Reader`: all its rows have to be validated by the loader.
* `AppendingReader`: a topic. Most messages are so plain that they need no validation.
* `ChangesReader`: a topic with the changes of a table. A key comes as often as it changed.
* `PrevalidatingReader`: a database that validates its own rows and can be asked for some days alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from typing import Protocol, runtime_checkable

from psycopg import sql

from ecommerce.common.fingerprint import Fingerprint, RowHash
from ecommerce.common.shop import SourceLocation
from ecommerce.common.sources import Source

#: Why an offset has no message: the topic's retention (or someone's DeleteRecords) removed it; it belongs to a control
#: record or to an aborted transaction; or one of compaction and transactions, if the topic is compacted or its settings
#: cannot be read.
RETENTION, TRANSACTION, COMPACTION = "retention", "transaction", "compaction or transaction"


@dataclass(frozen=True)
class ColumnType:
    """A column's type at the source: its name in `pg_type` (a domain has that of its base), and as people write it."""

    name: str
    spelling: str


@dataclass(frozen=True)
class Constant:
    """A value that a load gives to each row: its text, and its type in Postgres."""

    text: str
    type: str

    def as_sql(self) -> sql.Composed:
        """The value for Postgres."""
        return sql.SQL("{}::{}").format(sql.Literal(self.text), sql.SQL(self.type))


@dataclass(frozen=True)
class Gap:
    """Offsets of a partition, ``first`` to ``last`` inclusive, that have no message."""

    partition: int
    first: int
    last: int
    cause: str

    @property
    def is_loss(self) -> bool:
        """Whether committed messages may have been lost."""
        return self.cause != TRANSACTION


@dataclass(frozen=True)
class TopicRead:
    """The result of reading a topic: partition → next offset, the gaps, and the topic's id if the broker has one."""

    topic: str
    next_offsets: Mapping[int, int]
    gaps: Sequence[Gap] = ()
    topic_id: str | None = None


class MessageSchema(Protocol):
    """A schema of messages."""

    @property
    def name(self) -> str:
        """Of the record; several schemas of one name are its versions."""

    @property
    def fields(self) -> Mapping[str, str]:
        """Name of a field → its type; of a field in another one `outer.inner`."""


class ResumePoints(Protocol):
    """Where to go on in a topic: the warehouse answers, a Kafka reader asks before it reads."""

    def of(self, topic: str) -> dict[int, int]:
        """Partition → next offset, of every partition that was ever read."""

    def topic_ids(self, topic: str) -> set[str]:
        """The ids under which the topic was read."""

    def resume_at(self, topic: str, partition: int, first: int) -> int:
        """The offset at which to begin, for a window whose first offset is ``first``."""

    def holds_any(self, topic: str, partition: int, begin: int) -> bool:
        """Whether raw has a message of the partition at ``begin`` or later."""


#: What comes after the rows in COPY's binary format (Postgres' documentation of COPY, "Binary Format").
BINARY_TRAILER = b"\xff\xff"

#: A block of Postgres COPY text, or one row of texts.
Chunk = bytes | bytearray | memoryview | Sequence[str | None]


class Reader(Protocol):
    """Reads the rows of a window."""

    @property
    def columns(self) -> Sequence[str]:
        """Names of the staged columns, in the order of the chunks' values."""

    @property
    def topics(self) -> Sequence[TopicRead]:
        """After the read: its result for each topic; empty if the source has none."""

    def read(self, resume: ResumePoints) -> Iterator[Chunk]:
        """
        All rows of the window that have to be validated, as COPY blocks or rows, in any order.

        ``resume`` may be used until the first chunk is out.
        """


@runtime_checkable
class AppendingReader(Reader, Protocol):
    """Reads a source that only grows, and knows which rows are valid and new to raw."""

    @property
    def first_offsets(self) -> Sequence[tuple[str, int, int]]:
        """After the read: topic, partition and first offset of what was read."""

    @property
    def unknown_fields(self) -> Collection[str]:
        """After the read: names of fields that the registry does not have."""

    @property
    def schemas(self) -> Mapping[int, MessageSchema]:
        """After the read: id → schema, of those of a registry that decoded a message."""

    def new_rows(self, resume: ResumePoints, lineage: Sequence[str]) -> Iterator[bytes]:
        """Those rows, each with these constants, as COPY text; `Reader.read` returns the others afterwards."""


@runtime_checkable
class ChangesReader(Reader, Protocol):
    """Reads the changes of a table, in their order."""

    source: Source  #: With `CHANGE_LINEAGE`.
    topic: str

    @property
    def schemas(self) -> Mapping[int, MessageSchema]:
        """As of `AppendingReader`."""


@runtime_checkable
class PrevalidatingReader(Reader, Protocol):
    """
    Reads a database that validates its own rows by the registry's rules, and knows the types of its values.

    Rows that pass are prevalidated, all others are suspect; `read` returns the suspect ones. All methods work inside
    one `snapshot`.
    """

    source: Source
    #: Where it reads.
    location: SourceLocation
    #: COPY's option for the blocks of `prevalidated`: `format binary` or `format csv`.
    copy_format: str
    #: What `fingerprints` adds up.
    row_hash: RowHash

    def snapshot(self) -> AbstractContextManager[None]:
        """Inside, all reads see the same moment of the source."""

    @property
    def column_types(self) -> Mapping[str, ColumnType]:
        """The columns of the source's table."""

    def is_large(self, rows: int) -> bool:
        """Whether it seems to have more rows than that: by the server's estimate of the table, or in the window."""

    def rows_by_day(self) -> dict[str | None, int] | None:
        """Rows of the window by the day whose facts they change, suspect ones included; None: only raw can tell."""

    def newest_day(self) -> date | None:
        """The last day, up to today, of which the source has rows; None: none, or it is not known."""

    def has_fingerprints(self) -> bool:
        """Whether the source can compute them."""

    def fingerprints(self, seed: int, days: Collection[date] | None = None) -> dict[date, Fingerprint]:
        """By day: of all rows of the window; with ``days``, of the prevalidated rows of those days."""

    def prevalidated(self, days: Collection[date] | None, lineage: Sequence[Constant]) -> Iterator[bytes]:
        """Rows that pass, of some days or of the whole window, each with these constants, in `copy_format`."""

    def suspect(self, days: Collection[date] | None) -> Iterator[Chunk]:
        """Rows that do not pass, of some days or of the whole window, as COPY text or rows of texts."""

    def undated(self) -> Iterator[Chunk]:
        """
        Rows that no window has, in the form of `suspect`: their time is null, infinite or outside of the calendar.

        None of a source without windows, nor of a template that itself chooses the rows of a window.
        """

    def in_other_windows(self, keys: Mapping[str, Collection[str]]) -> Iterator[Chunk]:
        """
        Rows outside of the window, in the form of `suspect`, that may have one of these keys; undated ones are not.

        :param keys: column of the key → values that it has; a column that the source need not have is left out
        """

    def cancel(self) -> None:
        """Cancel the statement that another thread runs at the source."""
