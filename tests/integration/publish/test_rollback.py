"""Rolling back publications: every row as it was, any number of times, until the next run publishes again."""

import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from ecommerce.build import lease
from ecommerce.common.errors import RollbackError
from ecommerce.publish import publication
from ecommerce.publish.kept_publications import KEPT_PUBLICATIONS, KeptPublication, publication_before
from ecommerce.publish.merge import MartChange
from ecommerce.publish.rollback import roll_back
from ecommerce.publish.rollback_preview import (
    MARTS_TO_RESTORE,
    RestoredMart,
    changes_query,
    columns_not_added_up,
    restored_mart,
)
from tests.integration.dbt_runs import parsed_project
from tests.integration.publish.test_publication import (
    FEBRUARY,
    JANUARY,
    REVENUE,
    REVENUE_KEY,
    RUN,
    TIERS,
    build,
    content,
    publish,
    republish,
    take,
    warehouse,
)
from tests.integration.support import Loader, acting_as

__all__ = ["warehouse"]

MARTS = ("revenue", "tiers")


def foretold(loader: Loader, to: int) -> list[MartChange]:
    """What the pages say that a rollback would change."""
    with loader.connection.cursor(row_factory=dict_row) as cursor:
        marts = cursor.execute(MARTS_TO_RESTORE, {"target": to}).fetchall()
        rows = [cursor.execute(changes_query(mart, to).encode()).fetchone() for mart in marts]
    found = [restored_mart(mart["mart"], row) for mart, row in zip(marts, rows, strict=True) if row is not None]
    return [MartChange(mart.mart, mart.back, mart.changed, mart.gone) for mart in found]


def back(loader: Loader, to: int | None = None) -> list[MartChange]:
    with acting_as(loader.connection, "publisher"):
        done = roll_back(loader.connection, "rollback", f"rollback_{to}", to=to)
    assert done is not None
    return done


def last(loader: Loader) -> int:
    return loader.value("select max(publication_id) from ops.publication")


def state(loader: Loader) -> dict[str, list[tuple]]:
    return {mart: content(loader, mart) for mart in MARTS}


@pytest.fixture
def published(warehouse: Loader) -> Callable[[], tuple[int, dict[str, list[tuple]]]]:
    """A function that publishes marts with a few random changes; it returns the publication's id and all rows."""
    rng = random.Random(7)
    tiers: dict[str, str | None] = {f"C{n}": "Low" for n in range(40)}
    revenue = {(month, category): 1 for month in (JANUARY, FEBRUARY) for category in ("Toys", "Food", None)}

    def published() -> tuple[int, dict[str, list[tuple]]]:
        for _ in range(8):
            customer = f"C{rng.randrange(50)}"
            if customer in tiers and rng.random() < 0.4:
                del tiers[customer]
            else:
                tiers[customer] = rng.choice(["Low", "High", None])
            revenue[rng.choice(list(revenue))] = rng.randrange(1000)
        build(warehouse, "revenue", REVENUE, REVENUE_KEY, *((*key, amount) for key, amount in revenue.items()))
        build(warehouse, "tiers", TIERS, "unique (customer_id)", *tiers.items())
        republish(warehouse)
        return last(warehouse), state(warehouse)

    # The fixture has taken the lease.
    warehouse.connection.execute("update ops.build set finished_at = now()")
    return published


def test_every_kept_publication_can_be_restored_and_undone(
    warehouse: Loader, published: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A rollback is a publication too, so it would make the oldest one unreachable.
    monkeypatch.setattr(publication, "KEPT_PUBLICATIONS", 100)
    states = dict(published() for _ in range(8))
    newest, final = last(warehouse), state(warehouse)
    for publication_id in sorted(states, reverse=True)[1:]:
        said = foretold(warehouse, publication_id)
        assert back(warehouse, publication_id) == said
        assert state(warehouse) == states[publication_id]
        checksums = warehouse.rows(
            "select count(distinct checksum) from ops.publication"
            " where publication_id in (%s, (select max(publication_id) from ops.publication)) group by mart",
            [publication_id],
        )
        assert checksums == [(1,), (1,)]
        # The rollback can be rolled back: that is one publication ago.
        back(warehouse)
        assert state(warehouse) == final
        # Delete the records of both, so that every publication stays within reach.
        warehouse.connection.execute(f"delete from ops.publication where publication_id > {newest}".encode())
        warehouse.connection.execute(f"delete from ops.publication_delta where publication_id > {newest}".encode())


def test_amounts_before_and_after_a_rollback_are_foretold(warehouse: Loader) -> None:
    for rows in (
        ((JANUARY, "Toys", 10), (JANUARY, "Food", 5)),
        ((JANUARY, "Toys", 12), (FEBRUARY, "Toys", 7), (JANUARY, None, None)),
    ):
        build(warehouse, "revenue", REVENUE, REVENUE_KEY, *rows)
        republish(warehouse)
    first = warehouse.value("select min(publication_id) from ops.publication")
    with warehouse.connection.cursor(row_factory=dict_row) as cursor:
        (mart,) = cursor.execute(MARTS_TO_RESTORE, {"target": first}).fetchall()
        row = cursor.execute(changes_query(mart, first).encode()).fetchone()
        skipped = cursor.execute(changes_query(mart, first, ["revenue"]).encode()).fetchone()
    assert row is not None
    assert skipped is not None
    assert restored_mart("revenue", row) == RestoredMart("revenue", 1, 1, 2, {"revenue": (Decimal(19), Decimal(15))})
    assert restored_mart("revenue", skipped).sums == {}


def test_rollback_of_the_publication_that_filled_a_mart_is_foretold(warehouse: Loader) -> None:
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "Low"))
    republish(warehouse)
    first = last(warehouse)
    build(warehouse, "revenue", REVENUE, REVENUE_KEY, (JANUARY, "Toys", 10), (JANUARY, "Food", 5))
    republish(warehouse)
    build(warehouse, "revenue", REVENUE, REVENUE_KEY, (JANUARY, "Toys", 11), (FEBRUARY, "Food", 6))
    republish(warehouse)
    said = foretold(warehouse, first)
    assert said == [MartChange("revenue", 0, 0, 2), MartChange("tiers", 0, 0, 0)]
    assert back(warehouse, first) == said


@pytest.mark.parametrize(
    ("publications", "publication_id", "before"),
    [
        ([(9, None, None), (7, None, None), (4, None, None)], 9, 7),
        ([(9, None, None), (7, None, None), (4, None, None)], 7, 4),
        ([(9, None, None), (7, None, None), (4, None, None)], 4, None),
        ([(9, None, None), (7, "a", "nothing"), (4, None, None)], 9, 7),
        ([(9, None, None), (7, "a", "nothing"), (4, None, None)], 7, None),
        ([(9, "a", None), (7, None, None)], 9, None),
        ([(n, None, None) for n in range(20, 0, -1)], 14, 13),
        ([(n, None, None) for n in range(20, 0, -1)], 13, None),
    ],
)
def test_publication_that_can_be_taken_back(
    publications: list[tuple[int, str | None, str | None]], publication_id: int, before: int | None
) -> None:
    assert publication_before([KeptPublication(*one) for one in publications], publication_id) == before


def test_publication_older_than_kept_cannot_be_restored(warehouse: Loader, published: Callable) -> None:
    first, _ = published()
    for _ in range(KEPT_PUBLICATIONS + 1):
        published()
    before = state(warehouse)
    with pytest.raises(
        RollbackError, match=rf"publication {first} is 8 publications ago, but only the last 7 can be undone"
    ):
        back(warehouse, first)
    assert state(warehouse) == before
    kept = warehouse.value("select count(distinct publication_id) from ops.publication_delta")
    assert kept == KEPT_PUBLICATIONS


def test_published_view_names_the_restored_publication(warehouse: Loader, published: Callable) -> None:
    first, _ = published()
    published()
    back(warehouse, first)
    rows = warehouse.rows("select mart, publication_id, restores from marts.published")
    assert rows == [(mart, last(warehouse), first) for mart in MARTS]


def test_run_after_a_rollback_builds_and_publishes_again(warehouse: Loader, published: Callable) -> None:
    published()
    _, newest = published()
    back(warehouse)
    assert lease.holder(warehouse.connection) is None
    claim = lease.take(warehouse.connection, "a_dag", RUN, project="p", full_refresh=False)
    assert claim is not None
    assert claim.is_build_needed
    assert not claim.is_full_refresh
    publish(warehouse.connection, RUN)
    assert state(warehouse) == newest
    claim = lease.take(warehouse.connection, "a_dag", RUN, project="p", full_refresh=False)
    assert claim is not None
    assert not claim.is_build_needed


def test_rollback_before_a_marts_first_publication_empties_it(warehouse: Loader) -> None:
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "High"))
    publish(warehouse.connection, RUN)
    build(warehouse, "revenue", REVENUE, REVENUE_KEY, (JANUARY, "Toys", 10))
    republish(warehouse)
    build(warehouse, "revenue", REVENUE, REVENUE_KEY, (JANUARY, "Toys", 11), (FEBRUARY, None, 1))
    republish(warehouse)
    first = warehouse.value("select min(publication_id) from ops.publication")
    assert back(warehouse, first) == [MartChange("revenue", 0, 0, 2), MartChange("tiers", 0, 0, 0)]
    assert content(warehouse, "revenue") == []


@pytest.mark.parametrize(
    ("later", "change"),
    [
        ([[], [("C2", "Low"), ("C3", "Low")]], MartChange("tiers", 1, 1, 1)),
        # Rows that came and went between are not restored.
        ([[], [("C2", "Low"), ("C3", "Low")], [], [("C4", "")]], MartChange("tiers", 2, 0, 1)),
    ],
    ids=["once", "twice"],
)
def test_rollback_restores_rows_from_before_a_mart_was_emptied(
    warehouse: Loader, later: list[list[tuple]], change: MartChange
) -> None:
    """Rows from before the emptying are restored, and rows that came after it are deleted."""
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "High"), ("C2", None))
    publish(warehouse.connection, RUN)
    for rows in later:
        build(warehouse, "tiers", TIERS, "unique (customer_id)", *rows)
        republish(warehouse)
    first = warehouse.value("select min(publication_id) from ops.publication")
    assert back(warehouse, first) == [change]
    assert content(warehouse, "tiers") == [("C1", "High"), ("C2", None)]


def test_rollback_sets_columns_added_since_to_null(warehouse: Loader) -> None:
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "High"), ("C2", None))
    publish(warehouse.connection, RUN)
    build(warehouse, "tiers", f"{TIERS}, orders bigint", "unique (customer_id)", ("C1", "High", 7), ("C2", "Low", 1))
    republish(warehouse)
    assert back(warehouse) == [MartChange("tiers", 0, 2, 0)]
    assert content(warehouse, "tiers") == [("C1", "High", None), ("C2", None, None)]


def test_rollback_across_a_recreated_mart_raises(warehouse: Loader) -> None:
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "High"))
    publish(warehouse.connection, RUN)
    build(warehouse, "tiers", "customer_id text not null", "unique (customer_id)", ("C1",))
    take(warehouse)
    publish(warehouse.connection, RUN, allow_column_changes=True)
    with pytest.raises(RollbackError, match="of tiers created the mart again, with other columns"):
        back(warehouse)


@pytest.fixture
def without_orders(warehouse: Loader) -> Loader:
    """A mart of which an upgrade has dropped a column (`include/sql/migrations`) after its first publication."""
    build(warehouse, "tiers", f"{TIERS}, orders bigint", "unique (customer_id)", ("C1", "High", 7), ("C2", "Low", 1))
    publish(warehouse.connection, RUN)
    warehouse.connection.execute("alter table marts.tiers drop column orders")
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "Low"), ("C2", "Low"))
    return warehouse


def test_rollback_restores_the_columns_that_were_not_dropped(without_orders: Loader) -> None:
    before = last(without_orders)
    republish(without_orders)
    after = last(without_orders)
    restored = [MartChange("tiers", 0, 1, 0)]
    assert foretold(without_orders, before) == restored
    assert back(without_orders) == restored
    assert content(without_orders, "tiers") == [("C1", "High"), ("C2", "Low")]
    assert back(without_orders, after) == restored
    assert content(without_orders, "tiers") == [("C1", "Low"), ("C2", "Low")]
    assert back(without_orders, before) == restored


def test_row_that_differs_only_in_a_dropped_column_does_not_change(warehouse: Loader) -> None:
    for tier in ("High", "Low"):
        build(warehouse, "tiers", f"{TIERS}, orders bigint", "unique (customer_id)", ("C1", tier, 7))
        republish(warehouse)
    first = last(warehouse) - 1
    warehouse.connection.execute("alter table marts.tiers drop column orders")
    build(warehouse, "tiers", TIERS, "unique (customer_id)", ("C1", "High"))
    republish(warehouse)
    # As after the first publication, but for the orders.
    unchanged = [MartChange("tiers", 0, 0, 0)]
    assert foretold(warehouse, first) == unchanged
    assert back(warehouse, first) == unchanged


def test_rollback_to_columns_that_were_dropped_detects_rows_changed_by_hand(without_orders: Loader) -> None:
    before = last(without_orders)
    republish(without_orders)
    without_orders.connection.execute("update marts.tiers set tier = 'Mine' where customer_id = 'C2'")
    with pytest.raises(RollbackError, match=r"marts\.tiers would not be as publication \d+ left it"):
        back(without_orders, before)


def test_rollback_before_the_publication_after_columns_were_dropped_says_what_to_do(warehouse: Loader) -> None:
    for tier in ("High", "Low"):
        build(warehouse, "tiers", f"{TIERS}, orders bigint", "unique (customer_id)", ("C1", tier, 7))
        republish(warehouse)
    warehouse.connection.execute("alter table marts.tiers drop column orders")
    with pytest.raises(RollbackError, match="lost its columns orders since its last publication: run ecommerce_ware"):
        back(warehouse)
    assert content(warehouse, "tiers") == [("C1", "Low")]


def test_rollback_detects_rows_changed_by_hand(warehouse: Loader, published: Callable) -> None:
    published()
    published()
    warehouse.connection.execute("update marts.tiers set tier = 'Mine' where customer_id = 'C0'")
    warehouse.connection.execute('delete from ops.publication_delta where key = \'{"customer_id": "C0"}\'')
    before = state(warehouse)
    with pytest.raises(RollbackError, match=r"marts\.tiers would not be as publication \d+ left it"):
        back(warehouse)
    assert state(warehouse) == before


@pytest.mark.parametrize(
    ("to", "message"),
    [(10**9, "there is no publication 1000000000"), ("last", "is the last one: the marts are as it left them")],
)
def test_rollback_to_unknown_or_last_publication_raises(
    warehouse: Loader, published: Callable, to: int | str, message: str
) -> None:
    published()
    with pytest.raises(RollbackError, match=message):
        back(warehouse, last(warehouse) if to == "last" else int(to))


def test_rollback_without_publications_raises(warehouse: Loader) -> None:
    warehouse.connection.execute("update ops.build set finished_at = now()")
    with pytest.raises(RollbackError, match="there is no publication before the last one"):
        back(warehouse)


def test_rollback_waits_while_a_run_builds(
    warehouse: Loader, published: Callable, other_connection: psycopg.Connection
) -> None:
    published()
    _, newest = published()
    take(warehouse)
    assert roll_back(other_connection, "rollback", "r", to=None) is None
    assert state(warehouse) == newest
    # A run that has ended without publishing loses the lease.
    assert roll_back(other_connection, "rollback", "r", to=None, take_over_from=RUN) is not None
    with pytest.raises(lease.LeaseLost):
        publish(warehouse.connection, RUN)


def test_columns_that_repeat_the_same_money_are_not_added_up(tmp_path: Path) -> None:
    parsed_project().write_manifest(tmp_path / "manifest.json")
    skipped = columns_not_added_up(tmp_path / "manifest.json")
    # Weeks, months and years of one revenue, and all categories beside each.
    assert "revenue" in skipped["revenue_trend"]
    assert "closing_mrr" in skipped["subscription_performance_monthly"]
    assert "revenue_7d_avg" in skipped["daily_revenue"]
    assert "daily_revenue" not in skipped["daily_revenue"]
