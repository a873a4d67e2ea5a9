"""One run at a time may build; what it claimed is published or comes along with the next."""

from datetime import date

import psycopg
import pytest

from ecommerce.build import lease
from ecommerce.common.errors import LeaseLost, QuarantineOverflow
from tests.integration.support import Loader

DAY = "2024-03-01"


def order(order_id: str, day: str, created: str = DAY) -> dict[str, str | None]:
    return {
        "order_id": order_id, "product_id": "P", "customer_id": "C", "order_date": day, "order_amount": "1",
        "created_at": f"{created} 10:00:00",
    }  # fmt: skip


PRODUCT: dict[str, str | None] = {"product_id": "P", "product_name": "Ball"}


def take(
    loader: Loader,
    run_id: str,
    *,
    take_over_from: str | None = None,
    project: str = "p",
    full_refresh: bool = False,
    exclusions: lease.Exclusions = lease.NO_EXCLUSIONS,
):
    return lease.take(
        loader.connection,
        "a_dag",
        run_id,
        project=project,
        full_refresh=full_refresh,
        take_over_from=take_over_from,
        exclusions=exclusions,
    )


def publish(loader: Loader, run_id: str) -> None:
    with loader.connection.transaction():
        lease.release(loader.connection, run_id)


def marked(loader: Loader) -> set[tuple]:
    return set(loader.rows("select source, dirty_date::text, claimed_by from ops.dirty_date"))


@pytest.fixture
def loaded(loader: Loader) -> Loader:
    """Two orders of different days in one window, and a product whose days they are."""
    loader.load("sales_fact", DAY, rows=[order("O1", DAY), order("O2", "2024-01-15")])
    loader.load("product", DAY, rows=[PRODUCT])
    return loader


def test_a_claim_holds_every_day_and_today(loaded: Loader) -> None:
    claim = take(loaded, "run1")
    days = [date(2024, 1, 15), date(2024, 3, 1)]
    assert claim == lease.Claim(date(2024, 3, 1), {"product": days, "sales_fact": days}, is_build_needed=True)
    assert str(claim) == (
        "days to rebuild, as of 2024-03-01: product: 2 (2024-01-15 to 2024-03-01); "
        "sales_fact: 2 (2024-01-15 to 2024-03-01)"
    )
    assert lease.holder(loaded.connection) == ("a_dag", "run1")
    assert {claimed_by for _, _, claimed_by in marked(loaded)} == {"run1"}


def test_nothing_to_rebuild(loader: Loader) -> None:
    claim = take(loader, "run1")
    assert str(claim) == "no day to rebuild, as of None"


def test_a_second_run_waits(loaded: Loader, other_connection: psycopg.Connection) -> None:
    take(loaded, "run1")
    before = loaded.everything()
    assert take(Loader(other_connection), "run2") is None
    assert loaded.everything() == before
    publish(loaded, "run1")
    assert take(Loader(other_connection), "run2") is not None


def test_publishing_clears_what_was_claimed_and_no_more(loaded: Loader) -> None:
    take(loaded, "run1")
    # Loaded while the run builds: the same day again, and another.
    loaded.load(
        "sales_fact", "2024-03-02", rows=[order("O3", DAY, "2024-03-02"), order("O4", "2024-03-02", "2024-03-02")]
    )
    publish(loaded, "run1")
    assert marked(loaded) == {("sales_fact", DAY, None), ("sales_fact", "2024-03-02", None)}
    assert lease.holder(loaded.connection) is None
    claim = take(loaded, "run2")
    assert claim.days == {"sales_fact": [date(2024, 3, 1), date(2024, 3, 2)]}


def test_today_stands_still_while_a_run_builds(loaded: Loader) -> None:
    take(loaded, "run1")
    loaded.load("sales_fact", "2024-03-05", rows=[order("O5", "2024-03-05", "2024-03-05")])
    assert loaded.value("select as_of_date from ops.as_of") == date(2024, 3, 1)
    publish(loaded, "run1")
    assert loaded.value("select as_of_date from ops.as_of") == date(2024, 3, 5)


def test_a_load_that_failed_does_not_move_today(loaded: Loader) -> None:
    rows = [order(f"O{n}", "soon", "2024-03-09") for n in range(20)]
    with pytest.raises(QuarantineOverflow):
        loaded.load("sales_fact", "2024-03-09", rows=rows)
    assert loaded.value("select as_of_date from ops.as_of") == date(2024, 3, 1)


def test_the_days_of_a_run_that_died_come_along(loaded: Loader) -> None:
    take(loaded, "dead")
    loaded.load("sales_fact", "2024-03-02", rows=[order("O4", "2024-03-02", "2024-03-02")])
    claim = take(loaded, "next", take_over_from="dead")
    assert claim.days["sales_fact"] == [date(2024, 1, 15), date(2024, 3, 1), date(2024, 3, 2)]
    assert lease.holder(loaded.connection) == ("a_dag", "next")
    with pytest.raises(LeaseLost, match="run 'dead' does not hold the right to publish"):
        publish(loaded, "dead")
    assert {claimed_by for _, _, claimed_by in marked(loaded)} == {"next"}


def test_taking_over_a_run_that_has_gone_in_the_meantime(loaded: Loader) -> None:
    take(loaded, "run1")
    publish(loaded, "run1")
    take(loaded, "run2")
    # The caller saw run1 hold the lease; by now run2 does, and it lives.
    assert take(loaded, "run3", take_over_from="run1") is None
    assert lease.holder(loaded.connection) == ("a_dag", "run2")


def test_a_run_that_is_tried_again_claims_again(loaded: Loader) -> None:
    take(loaded, "run1")
    claim = take(loaded, "run1", take_over_from="run1")
    assert claim is not None
    assert claim.is_build_needed
    publish(loaded, "run1")
    assert marked(loaded) == set()


def test_a_lease_that_was_never_taken(loader: Loader) -> None:
    with pytest.raises(LeaseLost):
        publish(loader, "run1")


def test_a_published_run_cannot_publish_again(loaded: Loader) -> None:
    take(loaded, "run1")
    publish(loaded, "run1")
    with pytest.raises(LeaseLost, match="clear it from its task `claim` on"):
        publish(loaded, "run1")


def test_pending_changes_nothing(loaded: Loader) -> None:
    before = loaded.everything()
    assert set(lease.pending_claim(loaded.connection).days) == {"product", "sales_fact"}
    assert loaded.everything() == before


@pytest.fixture
def published(loaded: Loader) -> Loader:
    """All of it built and published, by the models `p`."""
    take(loaded, "run1")
    publish(loaded, "run1")
    return loaded


def test_a_build_is_needed_at_first(loader: Loader) -> None:
    assert take(loader, "run1").is_build_needed


def test_no_build_is_needed_where_nothing_changed(published: Loader) -> None:
    published.load("sales_fact", DAY, rows=[order("O1", DAY), order("O2", "2024-01-15")])
    published.load("product", DAY, rows=[PRODUCT])
    assert not take(published, "run2").is_build_needed
    publish(published, "run2")
    assert not take(published, "run3").is_build_needed


def test_a_build_is_needed_after_news(published: Loader) -> None:
    row: dict[str, str | None] = {"customer_id": "1", "subscription_id": "S", "subscription_start_date": DAY}
    published.load("subscription_data", DAY, rows=[row])
    # A subscription touches no day, and still changes marts.
    assert marked(published) == set()
    assert take(published, "run2").is_build_needed


def test_a_build_is_needed_for_a_day_that_was_marked_by_hand(published: Loader) -> None:
    published.connection.execute(
        "insert into ops.dirty_date (source, dirty_date, batch_id, marked_at)"
        " select 'sales_fact', '2024-03-01', max(batch_id), now() from ops.load_batch"
    )
    assert take(published, "run2").is_build_needed


def test_a_build_is_needed_after_rows_vanished(published: Loader) -> None:
    row: dict[str, str | None] = {"product_id": "P2", "product_name": "Kite"}
    published.load("product", DAY, rows=[PRODUCT, row])
    take(published, "run2")
    publish(published, "run2")
    published.load("product", DAY, rows=[PRODUCT])
    assert take(published, "run3").is_build_needed


def test_a_build_is_needed_for_another_today(published: Loader) -> None:
    published.load("sales_fact", "2024-03-02", rows=[])
    assert take(published, "run2").is_build_needed


def test_other_models_build_everything(published: Loader) -> None:
    claim = take(published, "run2", project="other")
    assert claim.is_build_needed
    assert claim.is_full_refresh
    assert published.rows("select is_full_refresh from ops.build where finished_at is null") == [(True,)]
    publish(published, "run2")
    assert not take(published, "run3", project="other").is_full_refresh


def test_the_same_models_build_what_changed(published: Loader) -> None:
    published.load("product", DAY, rows=[PRODUCT | {"product_name": "Balloon"}])
    assert not take(published, "run2").is_full_refresh


def test_a_build_is_needed_for_a_full_refresh(published: Loader) -> None:
    assert take(published, "run2", full_refresh=True).is_build_needed


def test_a_build_is_needed_after_one_that_was_not_published(published: Loader) -> None:
    published.load("product", DAY, rows=[PRODUCT | {"product_name": "Balloon"}])
    take(published, "failed")
    assert take(published, "run3", take_over_from="failed").is_build_needed


def test_a_build_is_needed_after_other_models_that_were_not_published(published: Loader) -> None:
    """A change of the models failed its tests and was taken back: what it built must not be published as it stands."""
    take(published, "failed", project="changed")
    claim = take(published, "run3", take_over_from="failed", project="p")
    assert claim.is_build_needed
    assert claim.is_full_refresh


def test_what_a_run_claimed_is_kept_when_it_is_published(published: Loader) -> None:
    claimed = "select run_id, source, dirty_date::text from ops.claimed_date order by 2, 3"
    both = [("run1", source, day) for source in ("product", "sales_fact") for day in ("2024-01-15", DAY)]
    assert published.rows(claimed) == both
    assert marked(published) == set()


def test_a_run_that_takes_over_claims_in_its_own_name(loaded: Loader) -> None:
    take(loaded, "dead")
    take(loaded, "next", take_over_from="dead")
    names = {name for (name,) in loaded.rows("select run_id from ops.claimed_date")}
    assert names == {"dead", "next"}
    take(loaded, "next", take_over_from="next")
    assert loaded.value("select count(*) from ops.claimed_date where run_id = 'next'") == 4


#: The weather failed; what follows it also follows the products.
WITHOUT_WEATHER = lease.Exclusions(
    frozenset({"weather_data"}), frozenset({"weather_sales_impact"}), frozenset({"weather_data", "product"})
)


def test_what_was_left_out_stays_marked_for_the_next_build(loaded: Loader) -> None:
    take(loaded, "run1", exclusions=WITHOUT_WEATHER)
    assert lease.exclusions_of(loaded.connection, "run1") == WITHOUT_WEATHER
    publish(loaded, "run1")
    assert marked(loaded) == {("product", "2024-01-15", None), ("product", DAY, None)}
    built_by = dict(loaded.rows("select source, built_by from ops.load_batch"))
    assert built_by == {"sales_fact": "run1", "product": None}

    claim = take(loaded, "run2")
    assert claim.is_build_needed
    assert set(claim.days) == {"product"}
    publish(loaded, "run2")
    assert marked(loaded) == set()
    assert lease.exclusions_of(loaded.connection, "run2") == lease.NO_EXCLUSIONS
    assert not take(loaded, "run3").is_build_needed


def test_a_source_that_failed_without_a_mark_is_built_all_the_same(loader: Loader) -> None:
    take(loader, "run1", exclusions=WITHOUT_WEATHER)
    publish(loader, "run1")
    assert take(loader, "run2").is_build_needed


def test_a_run_whose_extract_was_cleared_builds_what_it_had_left_out(loaded: Loader) -> None:
    take(loaded, "run1", exclusions=WITHOUT_WEATHER)
    publish(loaded, "run1")
    assert set(take(loaded, "run1").days) == {"product"}
    publish(loaded, "run1")
    assert not take(loaded, "run2").is_build_needed


@pytest.mark.parametrize("why", ["asked for", "another project"])
def test_a_full_refresh_that_left_something_out_is_not_over(loaded: Loader, why: str) -> None:
    take(loaded, "before", project="old" if why == "another project" else "p")
    publish(loaded, "before")
    assert take(loaded, "run1", full_refresh=why == "asked for", exclusions=WITHOUT_WEATHER).is_full_refresh
    publish(loaded, "run1")
    # Nor by a build that leaves out something else, nor by one that is not published.
    without_sales = lease.Exclusions(frozenset({"sales_fact"}), frozenset({"daily_revenue"}), frozenset({"sales_fact"}))
    assert take(loaded, "run2", exclusions=without_sales).is_full_refresh
    publish(loaded, "run2")
    assert take(loaded, "run3").is_full_refresh
    assert take(loaded, "run4", take_over_from="run3").is_full_refresh
    publish(loaded, "run4")
    assert not take(loaded, "run5").is_full_refresh


def test_nothing_is_settled_to_verify_while_something_is_left_out(loaded: Loader) -> None:
    take(loaded, "run1", exclusions=WITHOUT_WEATHER)
    publish(loaded, "run1")
    held = lease.lock_for_verification(loaded.connection, "verify", "check")
    assert held is not None
    assert (held.is_published, held.is_complete) == (True, False)
