"""
A connection breaks: between the loader and the warehouse or the source, after any number of bytes, or just as COMMIT is
sent or answered; or the server ends the session. The next try loads what there is, once.
"""

from collections.abc import Callable

import pytest

from tests.faults.invariants import check, is_committed
from tests.faults.place import Place
from tests.faults.proxy import Proxy, Towards
from tests.faults.tries import Outcome

pytestmark = pytest.mark.slow

SOURCES = ["sales_fact", "product_category", "kafka_stream", "weather_data"]
MakeProxy = Callable[[str], Proxy]


@pytest.mark.parametrize(
    ("towards", "number"),
    [("server", 0), ("server", 150), ("server", 4_000), ("server", 30_000), ("client", 100), ("client", 1_500)],
)
def test_cut_warehouse_connection_loads_once(place: Place, proxy: MakeProxy, towards: Towards, number: int) -> None:
    line = proxy(place.warehouse_dsn)
    line.cut_after(number, towards)
    broken = place.load("sales_fact", warehouse=line)
    assert line.broken.is_set()
    assert broken.exit_code == 1
    # After so many answers it has just committed, and does not come to tell.
    assert (place.raw("sales_fact").total() > 0) == bool(is_committed(place, "a_run", "sales_fact"))
    place.retry("sales_fact", warehouse=line)
    check(place, "sales_fact")


@pytest.mark.parametrize(
    ("towards", "number"), [("server", 150), ("client", 100), ("client", 1_500), ("client", 20_000)]
)
def test_cut_source_connection_loads_once(place: Place, proxy: MakeProxy, towards: Towards, number: int) -> None:
    line = proxy(place.shop_dsn)
    line.cut_after(number, towards)
    broken = place.load("sales_fact", shop=line)
    assert line.broken.is_set()
    assert (broken.exit_code, (broken.error or "").partition(":")[0]) == (1, "SourceError")
    assert [status for status, *_ in place.batches()] == ["failed"]
    assert place.raw("sales_fact").total() == 0
    place.retry("sales_fact", shop=line)
    check(place, "sales_fact")


@pytest.mark.parametrize("source", SOURCES)
def test_lost_commit_is_loaded_by_next_try(place: Place, proxy: MakeProxy, source: str) -> None:
    line = proxy(place.warehouse_dsn)
    broken = place.start(source, warehouse=line, fault="before_commit:stop")
    broken.wait_until_stopped()
    line.lose_commit()
    broken.resume()
    assert broken.wait().exit_code == 1
    assert line.broken.is_set()
    assert place.raw(source).total() == 0
    place.retry(source, warehouse=line)
    check(place, source)
    assert [status for status, *_ in place.batches()] == ["failed", "loaded"]


@pytest.mark.parametrize("source", SOURCES)
def test_commit_with_lost_answer_loads_nothing_twice(place: Place, proxy: MakeProxy, source: str) -> None:
    """The loader cannot know that it has loaded; the next try finds out, and loads nothing twice."""
    line = proxy(place.warehouse_dsn)
    broken = place.start(source, warehouse=line, fault="before_commit:stop")
    broken.wait_until_stopped()
    line.lose_answer_to_commit()
    broken.resume()
    assert broken.wait().exit_code == 1
    assert line.broken.is_set()
    assert is_committed(place, "a_run", source) == 1
    held = place.raw(source)
    assert held.total() > 0
    figures = place.retry(source, warehouse=line)
    check(place, source)
    assert figures["is_of_earlier_try"]
    assert (figures["rows_read"], figures["rows_loaded"]) == (place.source(source).total(), held.total())
    assert place.raw(source) == held
    assert [status for status, *_ in place.batches()] == ["loaded"]


def _ended(place: Place, source: str, point: str, database: str) -> Outcome:
    """A load whose sessions in one of the databases an administrator ends at a point."""
    loading = place.start(source, fault=f"{point}:stop")
    loading.wait_until_stopped()
    assert place.terminate(loading, database) > 0
    loading.resume()
    return loading.wait()


@pytest.mark.parametrize("point", ["before_read", "mid_copy", "written_to_raw", "before_commit"])
def test_session_ended_by_warehouse_loads_once(place: Place, point: str) -> None:
    outcome = _ended(place, "sales_fact", point, place.warehouse_dsn)
    assert outcome.exit_code == 1
    # The source has no part in it.
    assert not (outcome.error or "").startswith("SourceError"), outcome.error
    assert place.raw("sales_fact").total() == 0
    place.retry("sales_fact")
    check(place, "sales_fact")
    assert [status for status, *_ in place.batches()] == ["failed", "loaded"]


@pytest.mark.parametrize("point", ["written_to_raw", "before_commit"])
def test_session_ended_by_source_after_read_still_loads(place: Place, point: str) -> None:
    outcome = _ended(place, "sales_fact", point, place.shop_dsn)
    assert outcome.is_success, outcome.log
    check(place, "sales_fact")


def test_session_ended_by_source_during_read_loads_once(place: Place) -> None:
    place.grow()
    outcome = _ended(place, "customer", "mid_copy", place.shop_dsn)
    assert outcome.exit_code == 1
    assert "terminating connection due to administrator command" in (outcome.error or "")
    assert place.rows("select status, error from ops.load_batch") == [
        ("failed", (outcome.error or "").partition(": ")[2])
    ]
    place.retry("customer")
    check(place, "customer")
