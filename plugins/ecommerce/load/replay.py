"""
Judge what waits in quarantine once more, by the rules of now, and land what is good.

A table or an API is the truth about its own rows: the windows in which rows were refused are read again, and a row that
was corrected at the source lands. A message cannot be corrected in its topic, and may have expired: it is judged again
as it was put aside, or as someone has corrected it in `ops.quarantine.corrected`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from psycopg import Connection, sql

from ecommerce.common.sources import Source, WriteDisposition
from ecommerce.common.windows import Window
from ecommerce.load.batches import RunIdentity
from ecommerce.load.loader import LoadResult, Reader, load


@dataclass(frozen=True)
class Choice:
    """
    Which refused rows: of a source, and perhaps of one batch, or with a text in their reason.

    Of a table or an API this chooses the windows that are read again, and so their other refused rows as well.
    """

    source: Source
    batch_id: int | None = None
    reason: str | None = None

    def condition(self) -> sql.Composed:
        """On `ops.quarantine as refused` that has not been replayed, joined with `ops.load_batch as batch`."""
        conditions = [
            sql.SQL("refused.source = {}").format(sql.Literal(self.source.name)),
            sql.SQL("refused.replayed_at is null"),
        ]
        if self.batch_id is not None:
            conditions.append(sql.SQL("refused.batch_id = {}").format(sql.Literal(self.batch_id)))
        if self.reason:
            conditions.append(sql.SQL("position({} in refused.reason) > 0").format(sql.Literal(self.reason)))
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
    One load, with a batch of its own, for each window in which chosen rows were refused, oldest first.

    Each is a transaction: rows landed, marked as replayed and their days as dirty, or nothing. One that is done finds
    nothing to do a second time, so a replay that broke off is simply run again.

    :param reader_of: source, window, and the condition on refused rows → what reads them
    """
    source = choice.source
    if source.write_disposition is WriteDisposition.APPEND:
        # All of these were bad before; that most still are is no sign of a broken source.
        source = replace(source, max_refused_share=1.0)
    # Each window is a load of its own, so what an earlier try has done says nothing about the others.
    run = replace(run, first_try=run.try_number)
    for window in _windows(connection, choice):
        of_window = sql.SQL("{} and batch.window_start = {} and batch.window_end = {}").format(
            choice.condition(), sql.Literal(window.start), sql.Literal(window.end)
        )
        yield load(connection, source, window, reader_of(source, window, of_window), run=run, dry_run=dry_run)


def _windows(connection: Connection, choice: Choice) -> list[Window]:
    windows = [
        Window(start, end)
        for start, end in connection.execute(
            sql.SQL(
                "select distinct batch.window_start, batch.window_end from ops.quarantine as refused"
                " inner join ops.load_batch as batch using (batch_id) where {} order by 1, 2"
            ).format(choice.condition())
        )
    ]
    match choice.source.write_disposition:
        case WriteDisposition.APPEND:
            return windows
        case WriteDisposition.VERSION_LOG:
            # It is read whole, whatever the window.
            return sorted(windows, key=lambda window: (window.end, window.start))[-1:]
        case WriteDisposition.REPLACE_WINDOW:
            return [
                window
                for window in windows
                if not any(
                    other != window and other.start <= window.start and window.end <= other.end for other in windows
                )
            ]
