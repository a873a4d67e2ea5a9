"""The ledger tells the truth, also of loaders that died, and one source is loaded by one loader at a time."""

import threading
from collections.abc import Iterator

import psycopg
import pytest

from ecommerce.errors import SourceError
from ecommerce.loading import LoadResult
from ecommerce.loading.positions import Positions
from ecommerce.sources import SOURCES
from tests.integration.support import Loader, Rows

DAY = "2024-03-01"
ORDERS = [
    {
        "order_id": f"O{n}",
        "product_id": "P",
        "customer_id": "C",
        "order_date": DAY,
        "order_amount": "1",
        "created_at": f"{DAY} 10:00:00",
    }
    for n in range(3)
]


class Interrupted(Rows):
    """Rows, with something that happens between the first and the second."""

    def read(self, resume: Positions) -> Iterator[list[str | None]]:
        for number, row in enumerate(super().read(resume)):
            if number == 1:
                self.happens()
            yield row

    def happens(self) -> None:
        raise NotImplementedError


def batches(loader: Loader) -> list[tuple]:
    return loader.rows(
        "select status, rows_read, rows_loaded, rows_unchanged, rows_quarantined, rows_removed, error"
        " from ops.load_batch order by batch_id"
    )


def test_a_load_in_the_ledger(loader: Loader) -> None:
    loader.load("sales_fact", DAY, "2024-03-03", rows=ORDERS)
    bad = ORDERS[2] | {"order_amount": "-1"}
    loader.load("sales_fact", DAY, "2024-03-03", rows=[ORDERS[0], bad])
    assert batches(loader) == [("loaded", 3, 3, 0, 0, 0, None), ("loaded", 2, 0, 1, 1, 2, None)]
    assert loader.rows(
        "select distinct source, window_start::text, window_end::text, dag_id, run_id, try_number,"
        " started_at <= finished_at from ops.load_batch"
    ) == [("sales_fact", "2024-03-01", "2024-03-04", "a_dag", "a_run", 1, True)]


def test_the_ledger_shows_a_load_while_it_runs(loader: Loader, other_connection: psycopg.Connection) -> None:
    class Watched(Interrupted):
        def happens(self) -> None:
            assert batches(Loader(other_connection)) == [("running", 0, 0, 0, 0, 0, None)]
            assert Loader(other_connection).value("select count(*) from raw.sales_fact") == 0
            self.was_seen = True

    reader = Watched(SOURCES["sales_fact"], ORDERS)
    loader.load("sales_fact", DAY, reader=reader)
    assert reader.was_seen


@pytest.mark.parametrize("error", [SourceError("the line went dead"), ValueError("odd"), KeyboardInterrupt("stopped")])
def test_a_reader_that_fails_leaves_its_reason_and_nothing_else(loader: Loader, error: BaseException) -> None:
    class Failing(Interrupted):
        def happens(self) -> None:
            raise error

    with pytest.raises(type(error)):
        loader.load("sales_fact", DAY, reader=Failing(SOURCES["sales_fact"], ORDERS))
    assert batches(loader) == [("failed", 0, 0, 0, 0, 0, str(error))]
    assert loader.value("select count(*) from raw.sales_fact") == 0
    assert loader.value("select count(*) from pg_locks where locktype = 'advisory'") == 0
    # The session is as good as before.
    assert loader.load("sales_fact", DAY, rows=ORDERS).rows_loaded == 3


def test_a_loader_that_is_killed_leaves_nothing_and_the_next_one_says_so(
    loader: Loader, other_connection: psycopg.Connection
) -> None:
    pid = loader.connection.info.backend_pid

    class Killed(Interrupted):
        def happens(self) -> None:
            other_connection.execute("select pg_terminate_backend(%s, 5000)", [pid])

    with pytest.raises(psycopg.OperationalError):
        loader.load("sales_fact", DAY, reader=Killed(SOURCES["sales_fact"], ORDERS))
    survivor = Loader(other_connection)
    assert batches(survivor) == [("running", 0, 0, 0, 0, 0, None)]
    assert (survivor.value("select count(*) from raw.sales_fact"), survivor.marks()) == (0, set())

    # Of another source it is none of our business.
    row = {"product_id": "P", "product_name": "Ball"}
    survivor.load("product", DAY, rows=[row])
    assert batches(survivor)[0][0] == "running"

    assert survivor.load("sales_fact", DAY, rows=ORDERS).rows_loaded == 3
    dead, _, alive = batches(survivor)
    assert dead == ("failed", 0, 0, 0, 0, 0, "the loader died; its transaction was rolled back")
    assert alive == ("loaded", 3, 3, 0, 0, 0, None)


def test_two_loads_of_one_source_queue_and_others_pass(
    loader: Loader, connection: psycopg.Connection, other_connection: psycopg.Connection, warehouse_dsn: str
) -> None:
    second: list[LoadResult] = []
    queued = threading.Thread(
        target=lambda: second.append(Loader(other_connection).load("sales_fact", DAY, rows=ORDERS)), daemon=True
    )

    class Slow(Interrupted):
        def happens(self) -> None:
            queued.start()
            with psycopg.connect(warehouse_dsn, autocommit=True) as bystander:
                waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
                while not Loader(bystander).value(waiting):
                    assert queued.is_alive()
                bystander.execute("set search_path = pg_catalog")
                row = {"product_id": "P", "product_name": "Ball"}
                assert Loader(bystander).load("product", DAY, rows=[row]).rows_loaded == 1
            assert second == []

    first = loader.load("sales_fact", DAY, reader=Slow(SOURCES["sales_fact"], ORDERS))
    queued.join(20)
    assert (first.rows_loaded, second[0].rows_unchanged) == (3, 3)
    assert loader.value(
        "select (select finished_at from ops.load_batch where batch_id = %s)"
        " <= (select started_at from ops.load_batch where batch_id = %s)",
        [first.batch_id, second[0].batch_id],
    )
