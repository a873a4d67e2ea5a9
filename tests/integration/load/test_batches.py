"""`ops.load_batch`: one row a load, also of loaders that died, and one loader at a time for each source."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date

import psycopg
import pytest

from ecommerce.common.errors import LoaderFenced, SourceError
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import Window
from ecommerce.extract.reader_protocol import ResumePoints
from ecommerce.load.batches import RunIdentity, reach_back
from ecommerce.load.result import LoadResult
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

    def read(self, resume: ResumePoints) -> Iterator[list[str | None]]:
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


def test_load_batch_has_figures_of_load(loader: Loader) -> None:
    loader.load("sales_fact", DAY, "2024-03-03", rows=ORDERS)
    bad = ORDERS[2] | {"order_amount": "-1"}
    loader.load("sales_fact", DAY, "2024-03-03", rows=[ORDERS[0], bad])
    assert batches(loader) == [("loaded", 3, 3, 0, 0, 0, None), ("loaded", 2, 0, 1, 1, 2, None)]
    assert loader.rows(
        "select distinct source, window_start::text, window_end::text, dag_id, run_id, try_number,"
        " started_at <= finished_at from ops.load_batch"
    ) == [("sales_fact", "2024-03-01", "2024-03-04", "a_dag", "a_run", 1, True)]


def test_load_batch_is_running_during_load(loader: Loader, other_connection: psycopg.Connection) -> None:
    class Watched(Interrupted):
        def happens(self) -> None:
            assert batches(Loader(other_connection)) == [("running", 0, 0, 0, 0, 0, None)]
            assert Loader(other_connection).value("select count(*) from raw.sales_fact") == 0
            self.was_seen = True

    reader = Watched(SOURCES["sales_fact"], ORDERS)
    loader.load("sales_fact", DAY, reader=reader)
    assert reader.was_seen


@pytest.mark.parametrize("error", [SourceError("the line went dead"), ValueError("odd"), KeyboardInterrupt("stopped")])
def test_failed_reader_leaves_only_its_error(loader: Loader, error: BaseException) -> None:
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


def test_killed_loader_leaves_nothing_and_next_load_fails_its_batch(
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
    assert (survivor.value("select count(*) from raw.sales_fact"), survivor.pop_dirty_dates()) == (0, set())

    # Of another source it is none of our business.
    row = {"product_id": "P", "product_name": "Ball"}
    survivor.load("product", DAY, rows=[row])
    assert batches(survivor)[0][0] == "running"

    assert survivor.load("sales_fact", DAY, rows=ORDERS).rows_loaded == 3
    dead, _, alive = batches(survivor)
    assert dead == ("failed", 0, 0, 0, 0, 0, "the loader died; its transaction was rolled back")
    assert alive == ("loaded", 3, 3, 0, 0, 0, None)


def test_loads_of_one_source_queue_and_other_sources_do_not(
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


def test_retry_returns_batch_that_last_try_committed(loader: Loader) -> None:
    first = loader.load("sales_fact", DAY, rows=ORDERS, run=RunIdentity("a_dag", "a_run", 1))
    marks = loader.rows("select * from ops.dirty_date")
    # The source has changed since, but this task has been done.
    retry = loader.load("sales_fact", DAY, rows=ORDERS[:1], run=RunIdentity("a_dag", "a_run", 2))
    assert retry == replace(first, seconds=0.0, is_of_earlier_try=True)
    assert f"batch {first.batch_id}, which an earlier try had committed: nothing was read again" in str(retry)
    assert [status for status, *_ in batches(loader)] == ["loaded"]
    assert loader.rows("select * from ops.dirty_date") == marks


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(RunIdentity("a_dag", "a_run", 2, first_try=2), id="cleared"),
        pytest.param(RunIdentity("a_dag", "another", 2), id="another run"),
        pytest.param(RunIdentity("another", "a_run", 2), id="another dag"),
    ],
)
def test_cleared_task_reads_again(loader: Loader, run: RunIdentity) -> None:
    loader.load("sales_fact", DAY, rows=ORDERS, run=RunIdentity("a_dag", "a_run", 1))
    assert loader.load("sales_fact", DAY, rows=ORDERS[:1], run=run).rows_removed == 2


def test_retry_after_failed_try_reads_again(loader: Loader) -> None:
    class Failing(Interrupted):
        def happens(self) -> None:
            raise SourceError("the line went dead")

    with pytest.raises(SourceError):
        loader.load("sales_fact", DAY, reader=Failing(SOURCES["sales_fact"], ORDERS), run=RunIdentity("a_dag", "a_run"))
    assert loader.load("sales_fact", DAY, rows=ORDERS, run=RunIdentity("a_dag", "a_run", 2)).rows_loaded == 3


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param("update ops.load_batch set status = 'failed'", id="declared dead"),
        pytest.param(
            "insert into ops.load_batch (source, window_start, window_end, status, started_at)"
            " values ('sales_fact', '2024-03-01', '2024-03-02', 'running', now())",
            id="overtaken",
        ),
    ],
)
def test_loader_with_later_batch_cannot_commit(
    loader: Loader, other_connection: psycopg.Connection, happens: str
) -> None:
    class GivenUp(Interrupted):
        def happens(self) -> None:
            other_connection.execute(happens.encode())

    with pytest.raises(LoaderFenced, match=r"sales_fact: batch \d+ may no longer load"):
        loader.load("sales_fact", DAY, reader=GivenUp(SOURCES["sales_fact"], ORDERS))
    assert loader.value("select count(*) from raw.sales_fact") == 0
    assert loader.pop_dirty_dates() == set()
    assert loader.value("select count(*) from ops.load_batch where status = 'loaded'") == 0


def test_loader_without_lock_cannot_commit(loader: Loader) -> None:
    class Unlocked(Rows):
        def read(self, resume: ResumePoints) -> Iterator[list[str | None]]:
            # Before COPY begins: a session in COPY takes no other statement.
            loader.rows("select pg_advisory_unlock_all()::text")
            return super().read(resume)

    with pytest.raises(LoaderFenced, match="its lock is gone"):
        loader.load("sales_fact", DAY, reader=Unlocked(SOURCES["sales_fact"], ORDERS))
    assert loader.value("select count(*) from raw.sales_fact") == 0


def test_load_batch_has_bytes_seconds_and_rate(loader: Loader) -> None:
    result = loader.load("sales_fact", DAY, rows=ORDERS)
    size = sum(len(value) for row in ORDERS for value in row.values())
    assert result.bytes_read == size
    ((held_size, seconds, rate),) = loader.rows("select bytes_read, seconds, rows_per_second from ops.load_batch")
    assert held_size == size
    assert seconds > 0
    assert float(rate) == pytest.approx(3 / float(seconds), rel=0.1, abs=1)


def day_window(first: str, last: str | None = None) -> Window:
    return Window.of_days(date.fromisoformat(first), date.fromisoformat(last or first))


@pytest.mark.parametrize(
    ("loaded", "asked", "expected"),
    [
        ([], "2024-03-10", "2024-03-10"),
        ([("2024-03-09", "2024-03-09")], "2024-03-10", "2024-03-09"),
        ([("2024-03-01", "2024-03-09")], "2024-03-10", "2024-03-07"),
        ([("2024-03-07", "2024-03-08")], "2024-03-10", "2024-03-10"),
        ([("2024-03-07", "2024-03-07"), ("2024-03-09", "2024-03-09")], "2024-03-10", "2024-03-09"),
        ([("2024-03-08", "2024-03-12")], "2024-03-10", "2024-03-08"),
    ],
)
def test_lookback_rereads_loaded_days(loader: Loader, loaded: list[tuple[str, str]], asked: str, expected: str) -> None:
    for first, last in loaded:
        loader.load("sales_fact", first, last, rows=[])
    source = SOURCES["sales_fact"]
    assert reach_back(loader.connection, source, day_window(asked)) == day_window(expected, asked)
    assert reach_back(loader.connection, replace(source, lookback_days=0), day_window(asked)) == day_window(asked)
    assert reach_back(loader.connection, SOURCES["customer"], day_window(asked)) == day_window(asked)


def test_lookback_finds_late_committed_order(
    loader: Loader, insert: Callable[..., None], shop: psycopg.Connection, shop_dsn: str
) -> None:
    """A slow transaction: its order carries a time of a day that is read before it commits."""
    order = ("insert into sales_fact (order_id, product_id, customer_id, order_date, order_amount, created_at)"
             " values ('slow', 'P', 'C', '2024-03-01', 5, '2024-03-01 23:59')")  # fmt: skip
    with psycopg.connect(shop_dsn) as slow:
        slow.execute(order)
        assert loader.load("sales_fact", DAY).rows_read == 0
    window = reach_back(loader.connection, SOURCES["sales_fact"], day_window("2024-03-02"))
    result = loader.load("sales_fact", str(window.start), str(window.last))
    assert (result.rows_loaded, result.window_start) == (1, "2024-03-01")
    assert loader.pop_dirty_dates() == {("sales_fact", "2024-03-01")}


def test_source_status_view_has_last_load(loader: Loader) -> None:
    loader.load("sales_fact", "2024-03-01", "2024-03-02", rows=[*ORDERS, ORDERS[0] | {"order_amount": "-1"}])
    loader.load("sales_fact", "2024-03-05", rows=[])

    class Failing(Interrupted):
        def happens(self) -> None:
            raise SourceError("the line went dead")

    with pytest.raises(SourceError):
        loader.load("sales_fact", "2024-03-06", reader=Failing(SOURCES["sales_fact"], ORDERS))
    loader.load("customer", DAY, rows=[{"customer_id": "C1"}])
    columns = (
        "source, first_day::text, loaded_through::text, missing_days, first_missing_day::text, is_failed, error,"
        " rows_in_quarantine, days_to_rebuild"
    )
    assert loader.rows(f"select {columns} from ops.source_status order by source") == [
        ("customer", "2024-03-01", "2024-03-01", 0, None, False, None, 0, 0),
        ("sales_fact", "2024-03-01", "2024-03-05", 2, "2024-03-03", True, "the line went dead", 1, 1),
    ]
    loader.load("sales_fact", "2024-03-03", "2024-03-06", rows=[])
    assert loader.rows(f"select {columns} from ops.source_status where source = 'sales_fact'") == [
        ("sales_fact", "2024-03-01", "2024-03-06", 0, None, False, None, 1, 1)
    ]
