"""Readers during publications: each query sees one publication or the next, without waiting and without an error."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psycopg
import pytest

from ecommerce.publish.rollback import roll_back
from include.demo.state import State
from tests.integration.publish.test_publication import RUN, build, publish, take, warehouse
from tests.integration.support import Loader, acting_as

__all__ = ["warehouse"]

MARTS = ("alpha", "beta", "gamma")
COLUMNS = "key int not null, version int"
POLLS = 10_000


def make(loader: Loader, version: int, columns: str = COLUMNS) -> None:
    """Build every mart with rows of this version only; some keys exist only in it."""
    for mart in MARTS:
        build(loader, mart, columns, "unique (key)")
        loader.connection.execute(
            f"insert into marts_build.{mart} (key, version) select n + {version} * (n > 90)::int, {version}"
            " from generate_series(1, 100) as n".encode()
        )


@dataclass
class Reader:
    """A session of the role `reader` that reads all marts again and again."""

    dsn: str
    look: Callable[["Reader", psycopg.Connection], None]
    stop: threading.Event
    seen: set[tuple] = field(default_factory=set)
    polls: int = 0
    error: Exception | None = None

    def __call__(self) -> None:
        try:
            # A wait for a lock of more than 100 ms is an error.
            with psycopg.connect(self.dsn, autocommit=True, options="-c lock_timeout=100ms") as connection:
                while not self.stop.is_set():
                    self.look(self, connection)
                    self.polls += 1
        except Exception as error:
            self.error = error


_PUBLISHED = "select array_agg(distinct publication_id) from marts.published"
_VERSIONS = " union all ".join(f"select version, '{mart}' as mart from marts.{mart}" for mart in MARTS)
_COUNTS = f"select array_agg(distinct version), count(*), ({_PUBLISHED}) from ({_VERSIONS}) as marts"


def in_one_statement(reader: Reader, connection: psycopg.Connection) -> None:
    """READ COMMITTED: one statement sees one state."""
    versions, rows, publications = connection.execute(_COUNTS.encode()).fetchone() or ()
    reader.seen.add((tuple(versions), rows, tuple(publications)))


def in_one_transaction(reader: Reader, connection: psycopg.Connection) -> None:
    """REPEATABLE READ: one mart after the other, and a view that someone else has created."""
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        versions: set[int] = set()
        rows = 0
        for mart in MARTS:
            row = connection.execute(f"select array_agg(distinct version), count(*) from marts.{mart}".encode())
            of_mart, n = row.fetchone() or ()
            versions |= set(of_mart)
            rows += n
        in_view = connection.execute("select distinct version from marts.someones").fetchall()
        versions |= {version for (version,) in in_view}
        (publications,) = connection.execute(_PUBLISHED.encode()).fetchone() or ()
    reader.seen.add((tuple(sorted(versions)), rows, tuple(publications)))


@pytest.fixture
def readers(warehouse: Loader, postgres: State) -> Iterator[list[Reader]]:
    """Four sessions that keep reading, after a first publication."""
    make(warehouse, 0)
    publish(warehouse.connection, RUN)
    warehouse.connection.execute(
        "create view marts.someones as select alpha.version from marts.alpha inner join marts.beta using (key);"
        " grant select on marts.someones to reader"
    )
    dsn = postgres.dsn(warehouse.connection.info.dbname, "reader")
    stop = threading.Event()
    readers = [Reader(dsn, look, stop) for look in (in_one_statement, in_one_transaction) for _ in range(2)]
    threads = [threading.Thread(target=reader) for reader in readers]
    for thread in threads:
        thread.start()
    yield readers
    stop.set()
    for thread in threads:
        thread.join()


def test_readers_see_one_publication_or_the_next(warehouse: Loader, readers: list[Reader]) -> None:
    versions = {warehouse.value("select max(publication_id) from ops.publication"): 0}
    version, columns = 0, COLUMNS
    while sum(reader.polls for reader in readers) < POLLS or version <= 10:
        assert [reader.error for reader in readers] == [None] * len(readers)
        version += 1
        if version % 8 == 0:
            with acting_as(warehouse.connection, "publisher"):
                done = roll_back(warehouse.connection, "rollback", f"r{version}")
            assert done is not None
            visible = version - 2
        else:
            # Every fifth build adds a column.
            columns += f", more_{version} text" if version % 5 == 0 else ""
            make(warehouse, version, columns)
            take(warehouse)
            publish(warehouse.connection, RUN)
            visible = version
        versions[warehouse.value("select max(publication_id) from ops.publication")] = visible
    seen = {one for reader in readers for one in reader.seen}
    expected = {((visible,), 100 * len(MARTS), (publication,)) for publication, visible in versions.items()}
    assert seen <= expected
    assert len(seen) > 5
    assert all(len(reader.seen) > 1 for reader in readers)


def test_new_column_waits_for_a_long_reader_without_blocking_others(
    warehouse: Loader, readers: list[Reader], postgres: State, other_connection: psycopg.Connection
) -> None:
    """A column can only be added while no transaction reads the mart; other readers must not wait behind it."""
    dsn = postgres.dsn(warehouse.connection.info.dbname, "reader")
    with psycopg.connect(dsn) as long_reader:
        long_reader.execute("select count(*) from marts.beta")
        make(warehouse, 1, f"{COLUMNS}, more text")
        take(warehouse)
        publishing = threading.Thread(target=publish, args=(warehouse.connection, RUN))
        publishing.start()
        publishing.join(1.5)
        assert publishing.is_alive()
        before = [reader.polls for reader in readers]
        publishing.join(0.5)
        assert all(reader.polls > n for reader, n in zip(readers, before, strict=True))
    publishing.join(10)
    assert not publishing.is_alive()
    assert other_connection.execute("select distinct version, more from marts.beta").fetchall() == [(1, None)]
    assert [reader.error for reader in readers] == [None] * len(readers)


def test_publication_without_changes_writes_no_rows(warehouse: Loader) -> None:
    make(warehouse, 0)
    publish(warehouse.connection, RUN)
    make(warehouse, 0)
    take(warehouse)
    publish(warehouse.connection, RUN)
    warehouse.connection.execute("select pg_stat_force_next_flush()")
    dead = warehouse.rows(
        "select sum(n_tup_upd + n_tup_del), sum(n_dead_tup), sum(n_tup_ins) from pg_stat_user_tables"
        " where schemaname = 'marts' and relname = any(%s)",
        [list(MARTS)],
    )
    assert dead == [(0, 0, 300)]
