"""
A loader that was stopped while others went on wakes up, and may not commit: it lost its session, or its lock, or was
declared dead, or another loader has taken its place.
"""

import pytest

from ecommerce.common.sources import SOURCES
from ecommerce.load import batches
from tests.faults.invariants import check
from tests.faults.place import Place, order

FENCED = "LoaderFenced: sales_fact: batch 1 may no longer load"


@pytest.fixture(autouse=True)
def _batches_count_from_one(place: Place) -> None:
    place.connection.execute("alter table ops.load_batch alter batch_id restart")


@pytest.mark.parametrize("point", ["mid_copy", "written_to_raw", "before_commit"])
def test_woken_loader_without_session_cannot_commit(place: Place, point: str) -> None:
    zombie = place.start("sales_fact", fault=f"{point}:stop", run_id="zombie")
    zombie.wait_until_stopped()
    assert place.terminate(zombie, place.warehouse_dsn) > 0
    # What it has read is out of date by now.
    place.put("sales_fact", order(1, "999"))
    assert place.load("sales_fact", run_id="successor").is_success
    held = place.raw("sales_fact")

    zombie.resume()
    assert zombie.wait().exit_code == 1
    assert place.raw("sales_fact") == held
    check(place, "sales_fact")
    assert place.rows("select run_id, status from ops.load_batch order by batch_id") == [
        ("zombie", "failed"),
        ("successor", "loaded"),
    ]


def test_woken_loader_with_failed_batch_cannot_commit(place: Place) -> None:
    """Behind a pooler a session outlives its client, and a lock can change hands unseen."""
    zombie = place.start("sales_fact", fault="written_to_raw:stop")
    zombie.wait_until_stopped()
    batches.fail_abandoned_batches(place.connection, SOURCES["sales_fact"])
    zombie.resume()
    outcome = zombie.wait()
    assert (outcome.error or "").startswith(FENCED)
    assert place.raw("sales_fact").total() == 0
    place.retry("sales_fact")
    check(place, "sales_fact")


def test_woken_loader_with_later_batch_cannot_commit(place: Place) -> None:
    zombie = place.start("sales_fact", fault="written_to_raw:stop")
    zombie.wait_until_stopped()
    place.connection.execute(
        "insert into ops.load_batch (source, window_start, window_end, status, started_at)"
        " values ('sales_fact', '2024-03-01', '2024-03-02', 'failed', now())"
    )
    zombie.resume()
    assert (zombie.wait().error or "").startswith(FENCED)
    assert place.raw("sales_fact").total() == 0
    place.retry("sales_fact")
    check(place, "sales_fact")


def test_woken_loader_without_lock_cannot_commit(place: Place) -> None:
    place.connection.execute(
        "create function public.lose_locks() returns trigger language plpgsql as"
        " $$ begin perform pg_advisory_unlock_all(); return null; end $$;"
        " create trigger lose_locks after insert on raw.sales_fact for each statement execute function"
        " public.lose_locks()"
    )
    outcome = place.load("sales_fact")
    place.connection.execute("drop function public.lose_locks cascade")
    assert (outcome.error or "").startswith(FENCED)
    assert place.raw("sales_fact").total() == 0
    place.retry("sales_fact")
    check(place, "sales_fact")
