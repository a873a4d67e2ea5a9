"""
The process of an extract task is killed with SIGKILL, wherever it is; its successor loads what there is, once.
"""

import time

import pytest

from ecommerce.common import fault_points
from tests.faults.invariants import check, is_committed
from tests.faults.place import Place

#: The sources by which a load comes to a point, where not every source's does.
_ONLY = {"offsets_resolved": ["kafka_stream"], "topic_read": ["kafka_stream"], "waiting_for_lock": []}
_SOURCES = ["sales_fact", "product_category", "kafka_stream", "weather_data"]
_KILLS = [(point, source) for point in fault_points.POINTS for source in _ONLY.get(point, _SOURCES)]

_COMMITTED = ("after_commit", "before_report")


@pytest.mark.parametrize(("point", "source"), _KILLS)
def test_killed_loader_leaves_nothing_half_done(place: Place, point: str, source: str) -> None:
    killed = place.load(source, fault=f"{point}:kill")
    assert (killed.exit_code, killed.figures) == (-9, None)
    there = place.source(source).total()
    if point in _COMMITTED:
        assert is_committed(place, "a_run", source) == 1
    else:
        assert is_committed(place, "a_run", source) == 0
        assert (place.raw(source).total(), place.quarantined(source).total()) == (0, 0)

    figures = place.retry(source)
    check(place, source)
    if point in _COMMITTED:
        # The try that was killed had loaded: its successor finds that out, and reads nothing again.
        assert [status for status, *_ in place.batches()] == ["loaded"]
        assert figures["is_of_earlier_try"]
    else:
        assert (figures["rows_read"], figures["rows_loaded"]) == (there, place.raw(source).total())


def test_killed_bulk_first_load_leaves_raw_in_shape(place: Place) -> None:
    """Raw has neither its indexes nor, at the constants of lineage, its shape while such a load is under way."""
    place.shop.execute(
        "insert into sales_fact (order_id, product_id, customer_id, order_date, order_amount, order_quantity,"
        " payment_method, discount_applied, shipping_cost, created_at)"
        " select 'O' || n, 'P' || n % 9, 'C' || n % 7, date '2024-03-01' + n % 4, n % 50,"
        " 1, 'paypal', 0, 2.5, date '2024-03-01' + n % 4 + interval '1 hour' from generate_series(1, 100001) as n"
    )
    place.shop.execute("analyze sales_fact")
    shape = (
        "select indexrelid::regclass::text, pg_get_indexdef(indexrelid), pg_relation_filenode(indrelid) from pg_index"
        " where indrelid = 'raw.sales_fact'::regclass union all select attname::text, atthasdef::text, attnum"
        " from pg_attribute where attrelid = 'raw.sales_fact'::regclass and attnum > 0 order by 1"
    )
    before = place.rows(shape)
    for point in ("mid_copy@50", "written_to_raw", "before_commit"):
        assert place.load("sales_fact", fault=f"{point}:kill").exit_code == -9
        assert place.rows("select count(*) from raw.sales_fact") == [(0,)]
        assert place.rows(shape) == before
    assert place.retry("sales_fact")["rows_loaded"] == place.raw("sales_fact").total() > 100_000
    check(place, "sales_fact")
    assert [row[:2] for row in place.rows(shape)] == [row[:2] for row in before]


def test_loader_killed_while_queued_leaves_nothing(place: Place) -> None:
    holder = place.start("sales_fact", fault="before_commit:stop", run_id="holder")
    holder.wait_until_stopped()
    assert place.load("sales_fact", fault="waiting_for_lock:kill").exit_code == -9

    # Once more, when the server already has its request.
    queued = place.start("sales_fact")
    waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
    while place.rows(waiting) == [(0,)]:
        assert queued.is_alive
        time.sleep(0.01)
    queued.kill()

    holder.resume()
    assert holder.wait().is_success
    assert place.retry("sales_fact")["rows_loaded"] == 0
    check(place, "sales_fact")
    assert [status for status, *_ in place.batches()] == ["loaded", "loaded"]


@pytest.mark.parametrize("source", _SOURCES)
def test_loader_that_raises_records_error_in_load_batch(place: Place, source: str) -> None:
    failed = place.load(source, fault="written_to_raw:raise")
    assert failed.exit_code == 1
    assert place.rows("select status, error from ops.load_batch") == [
        ("failed", "raised on purpose, see ECOMMERCE_FAULT")
    ]
    place.retry(source)
    check(place, source)


def test_every_fault_point_is_reached() -> None:
    """A point that no load comes by would be a promise that nobody tests."""
    killed = {point for point, _ in _KILLS} | {"waiting_for_lock"}
    assert killed == set(fault_points.POINTS)
