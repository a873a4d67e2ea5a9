"""
Validates rejected rows again, by the present rules, and loads those that pass.

For a table or an API the source itself is read again, in the windows in which rows were rejected: a row that was
corrected there is loaded. A message cannot be corrected in its topic, and may have expired: it is read from the
quarantine, as it is stored there or as someone has corrected it (`ops.quarantine.corrected`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from psycopg import Connection, sql

from ecommerce.common.shop import shop
from ecommerce.common.sources import Source, WriteDisposition
from ecommerce.common.windows import Window
from ecommerce.extract.reader_protocol import Reader
from ecommerce.extract.readers import reader_of
from ecommerce.load.batches import RunIdentity
from ecommerce.load.loader import load
from ecommerce.load.quarantine_reader import QuarantinedChanges, QuarantineReader
from ecommerce.load.result import LoadResult


@dataclass(frozen=True)
class Choice:
    """
    Which rejected rows to replay: those of a source, or only of one batch, or with a text in their reason.

    For a table or an API this chooses windows. They are read whole, so their other rejected rows are replayed too.
    """

    source: Source
    batch_id: int | None = None
    reason: str | None = None

    def condition(self) -> sql.Composed:
        """The SQL condition on `ops.quarantine as rejected`, joined with `ops.load_batch as batch`."""
        conditions = [
            sql.SQL("rejected.source = {}").format(sql.Literal(self.source.name)),
            sql.SQL("rejected.replayed_at is null"),
        ]
        if self.batch_id is not None:
            conditions.append(sql.SQL("rejected.batch_id = {}").format(sql.Literal(self.batch_id)))
        if self.reason:
            conditions.append(sql.SQL("position({} in rejected.reason) > 0").format(sql.Literal(self.reason)))
        return sql.SQL(" and ").join(conditions)


def replay(
    connection: Connection,
    choice: Choice,
    reader_of: Callable[[Source, Window, sql.Composable], Reader],
    *,
    run: RunIdentity,
    dry_run: bool = False,
) -> Iterator[LoadResult]:
    """
    One load, with a batch of its own, for each window in which chosen rows were rejected, oldest first.

    Each is one transaction: its rows are written to raw and marked as replayed, and their days as dirty, or nothing. A
    replay that failed half-way can simply be run again: the windows that are done have nothing more to replay.

    :param reader_of: source, window, and the condition on rejected rows → the reader
    """
    source = choice.source
    if is_topic(source):
        # All of these were bad before; if most still are, the source is not broken.
        source = replace(source, max_rejected_share=1.0)
    # Each window is a load of its own: that an earlier try has committed one does not mean that it has all.
    run = replace(run, first_try=run.try_number)
    for window in _windows(connection, choice):
        of_window = sql.SQL("{} and batch.window_start = {} and batch.window_end = {}").format(
            choice.condition(), sql.Literal(window.start), sql.Literal(window.end)
        )
        yield load(connection, source, window, partial(_reader_of_rows, reader_of, of_window), run=run, dry_run=dry_run)


def reader_of_rejected(source: Source, window: Window, condition: sql.Composable, connection: Connection) -> Reader:
    """What reads rejected rows again: messages from the quarantine, rows of a table or an API from there."""
    if not is_topic(source):
        return reader_of(source, window)
    kind = QuarantineReader if source.write_disposition is WriteDisposition.APPEND else QuarantinedChanges
    return kind(source, connection, condition)


def is_topic(source: Source) -> bool:
    """Whether the source is read from a topic: always, or where the shop has its changes there."""
    if source.write_disposition is WriteDisposition.APPEND:
        return True
    return shop().has(source.name) and shop().location_of(source.name).topic is not None


def _reader_of_rows(
    reader_of: Callable[[Source, Window, sql.Composable], Reader],
    condition: sql.Composable,
    source: Source,
    window: Window,
) -> Reader:
    return reader_of(source, window, condition)


def _windows(connection: Connection, choice: Choice) -> list[Window]:
    """The windows to load again: of nested ones only the outer."""
    windows = [
        Window(start, end)
        for start, end in connection.execute(
            sql.SQL("""
                select distinct batch.window_start, batch.window_end
                from ops.quarantine as rejected
                inner join ops.load_batch as batch using (batch_id)
                where {condition}
                order by 1, 2
            """).format(condition=choice.condition())
        )
    ]
    if is_topic(choice.source):
        return windows
    if choice.source.write_disposition is WriteDisposition.VERSION_LOG:
        # It is read whole in any window, so one load is enough.
        return sorted(windows, key=lambda window: (window.end, window.start))[-1:]
    return [window for window in windows if not any(_is_inside(window, other) for other in windows)]


def _is_inside(window: Window, other: Window) -> bool:
    return other != window and other.start <= window.start and window.end <= other.end
