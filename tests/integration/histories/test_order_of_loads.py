"""
Windows in any order, read again, late rows, corrections, deletions, loads that break off and runs that die: in the end
`core` and `marts` are what one full refresh of the same raw makes.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg
import pytest

from tests.integration.histories.history import Build, Load, Place, Put, SetTimeZone, Step, play, shrink
from tests.integration.histories.invent import invent, zone_of
from tests.integration.histories.shop import FIRST, LAST

pytestmark = pytest.mark.long_form

#: Each seed is a history; ECOMMERCE_TEST_HISTORIES=100 for the long form.
HISTORIES = int(os.environ.get("ECOMMERCE_TEST_HISTORIES", "10"))
#: Of a history in which events are loaded and published.
SEED = 3


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_incremental_builds_equal_full_refresh(place: Place, seed: int) -> None:
    steps = invent(seed, zone_of(seed))
    if play(steps, place) is not None:
        pytest.fail(smallest(steps, place), pytrace=False)


@pytest.mark.parametrize(
    ("zone", "later_zone"), [("UTC", "America/New_York"), ("America/New_York", "Pacific/Auckland")]
)
def test_build_after_change_of_time_zone_is_full_refresh(place: Place, zone: str, later_zone: str) -> None:
    """Nothing is loaded in between, but events of the same moments lie on other days. Later builds are incremental."""
    steps = invent(SEED, zone)
    built = next(n for n, step in enumerate(steps) if isinstance(step, Build) and step.outcome == "published")
    steps = [
        *steps[: built + 1],
        SetTimeZone(later_zone),
        Build(at(25)),
        order("O1", "20"),
        Load(at(26), "sales_fact", FIRST, LAST),
        Build(at(27)),
    ]
    difference = play(steps, place)
    assert difference is None, str(difference)
    builds = place.connection.execute("select time_zone, is_full_refresh from ops.build order by claimed_at").fetchall()
    # The last two are those by which a history ends.
    assert builds[-4:] == [(later_zone, True), (later_zone, False), (later_zone, False), (later_zone, True)]
    assert {built_of for built_of, _ in builds[:-4]} == {zone}


def smallest(steps: Sequence[Step], place: Place) -> str:
    """The smallest part of a history that still ends in a difference, and the first row that differs."""
    few = shrink(steps, lambda fewer: play(fewer, place) is not None)
    lines = [f"after these {len(few)} of {len(steps)} steps", *(f"  {step}" for step in few), f"{play(few, place)}"]
    return "\n".join(lines)


def at(day: int) -> datetime:
    return datetime(2024, 1, day, tzinfo=UTC)


def order(order_id: str, amount: str) -> Put:
    row = {"order_id": order_id, "line_number": "1", "customer_id": "CUST001", "product_id": "P01"}
    times = {"order_date": "2024-01-02", "created_at": "2024-01-02 09:00:00"}
    return Put("sales_fact", row | times | {"order_amount": amount})


def test_lost_dirty_date_is_detected(place: Place) -> None:
    """What the histories are there to find, made on purpose: a changed day that no build is told of."""

    def lose_marks(connection: psycopg.Connection) -> None:
        connection.execute("delete from ops.dirty_date")

    place.before_claim = lose_marks
    steps: list[Step] = [
        order("O1", "10"),
        order("O2", "20"),
        Load(at(3), "sales_fact", FIRST, LAST),
        Build(at(4)),
        order("O2", "21"),
        Load(at(5), "sales_fact", FIRST, LAST),
    ]
    difference = play(steps, place)
    assert difference is not None
    assert (difference.table, difference.key) == ("core.fact_sales", {"order_id": "O2", "line_number": 1})
    assert '"order_amount": 20.00' in str(difference.incremental)
    assert '"order_amount": 21.00' in str(difference.full_refresh)


def test_failing_history_shrinks_to_minimal_example() -> None:
    steps: list[Step] = [order(f"O{n}", "1") for n in range(40)]
    needed = [steps[3], steps[4], steps[31]]
    assert shrink(steps, lambda fewer: all(step in fewer for step in needed)) == needed
    assert shrink(steps, lambda fewer: all(step in fewer for step in needed), trials=2) == steps
    assert shrink(steps, lambda fewer: True) == []
