"""End a preview that keeps the warehouse waiting: what it reads, a build may have to replace."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import Connection

from ecommerce.common.errors import PreviewError

_EVERY_SECONDS = 0.5

#: Ends the statements of previews for which somebody else's session waits.
_CANCEL = """
select pg_cancel_backend(mine.pid)
from pg_stat_activity as mine
where
    mine.datname = current_database()
    and mine.usename = current_user
    and exists (
        select from pg_locks as wanted
        inner join pg_stat_activity as others on wanted.pid = others.pid
        where
            not wanted.granted
            and others.usename <> current_user
            and mine.pid = any(pg_blocking_pids(wanted.pid))
    )
"""


@contextmanager
def giving_way(connection: Connection) -> Iterator[None]:
    """
    While models are built, end the build as soon as a session of another role waits for it.

    :param connection: of the role that builds; a second session like it looks for those that wait
    :raises PreviewError: somebody has waited; the preview can be started again
    """
    is_over, has_given_way = threading.Event(), threading.Event()
    watcher = psycopg.connect(
        connection.info.dsn, password=connection.info.password, application_name="preview watch", autocommit=True
    )

    def watch() -> None:
        with watcher:
            while not is_over.wait(_EVERY_SECONDS):
                if watcher.execute(_CANCEL).fetchone():
                    has_given_way.set()

    thread = threading.Thread(target=watch, name="preview watch")
    thread.start()

    def stop_watching() -> None:
        is_over.set()
        thread.join()

    try:
        yield
    except PreviewError as error:
        # What was canceled may hear of it before the watcher does.
        stop_watching()
        if has_given_way.is_set():
            raise PreviewError(
                "a run of the warehouse waited for this preview, so it gave way; start it again after the run"
            ) from error
        raise
    finally:
        stop_watching()
