"""The lease: one run at a time builds, and dirty dates stay until a run that claimed them publishes."""

from collections.abc import Callable
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
    models: dict[str, str] | None = None,
    full_refresh: bool = False,
    exclusions: lease.Exclusions = lease.NO_EXCLUSIONS,
):
    return lease.take(
        loader.connection,
        "a_dag",
        run_id,
        project=project,
        models=None if models is None else lambda: models,
        full_refresh=full_refresh,
        take_over_from=take_over_from,
        exclusions=exclusions,
    )


def publish(loader: Loader, run_id: str) -> None:
    with loader.connection.transaction():
        lease.release(loader.connection, run_id)


def dirty_dates(loader: Loader) -> set[tuple]:
    return set(loader.rows("select source, dirty_date::text, claimed_by from ops.dirty_date"))


@pytest.fixture
def loaded(loader: Loader) -> Loader:
    """Two orders of different days in one window, and their product."""
    loader.load("sales_fact", DAY, rows=[order("O1", DAY), order("O2", "2024-01-15")])
    loader.load("product", DAY, rows=[PRODUCT])
    return loader


def test_claim_has_every_dirty_date_and_the_as_of_date(loaded: Loader) -> None:
    claim = take(loaded, "run1")
    days = [date(2024, 1, 15), date(2024, 3, 1)]
    assert claim == lease.Claim(date(2024, 3, 1), {"product": days, "sales_fact": days}, is_build_needed=True)
    assert str(claim) == (
        "days to rebuild, as of 2024-03-01: product: 2 (2024-01-15 to 2024-03-01); "
        "sales_fact: 2 (2024-01-15 to 2024-03-01)"
    )
    assert lease.holder(loaded.connection) == ("a_dag", "run1")
    assert {claimed_by for _, _, claimed_by in dirty_dates(loaded)} == {"run1"}


def test_claim_without_dirty_dates_has_no_days(loader: Loader) -> None:
    claim = take(loader, "run1")
    assert str(claim) == "no day to rebuild, as of None"


def test_lease_is_refused_while_another_run_holds_it(loaded: Loader, other_connection: psycopg.Connection) -> None:
    take(loaded, "run1")
    before = loaded.everything()
    assert take(Loader(other_connection), "run2") is None
    assert loaded.everything() == before
    publish(loaded, "run1")
    assert take(Loader(other_connection), "run2") is not None


def test_release_deletes_only_claimed_dirty_dates(loaded: Loader) -> None:
    take(loaded, "run1")
    # A load while the run builds: the same day again, and another one.
    loaded.load(
        "sales_fact", "2024-03-02", rows=[order("O3", DAY, "2024-03-02"), order("O4", "2024-03-02", "2024-03-02")]
    )
    publish(loaded, "run1")
    assert dirty_dates(loaded) == {("sales_fact", DAY, None), ("sales_fact", "2024-03-02", None)}
    assert lease.holder(loaded.connection) is None
    claim = take(loaded, "run2")
    assert claim.days == {"sales_fact": [date(2024, 3, 1), date(2024, 3, 2)]}


def test_as_of_date_is_fixed_while_a_run_builds(loaded: Loader) -> None:
    take(loaded, "run1")
    loaded.load("sales_fact", "2024-03-05", rows=[order("O5", "2024-03-05", "2024-03-05")])
    assert loaded.value("select as_of_date from ops.as_of") == date(2024, 3, 1)
    publish(loaded, "run1")
    assert loaded.value("select as_of_date from ops.as_of") == date(2024, 3, 5)


FIRST_COVERED = "select first_covered_date from ops.as_of"


def test_first_covered_date_is_fixed_while_a_run_builds(loaded: Loader) -> None:
    """The days of a backfill are covered only for the build that also has their rows."""
    take(loaded, "run1")
    loaded.load("sales_fact", "2023-01-01", rows=[order("O5", "2023-01-01", "2023-01-01")])
    assert loaded.value(FIRST_COVERED) == date(2024, 3, 1)
    publish(loaded, "run1")
    assert loaded.value(FIRST_COVERED) == date(2023, 1, 1)


def test_retried_claim_has_the_first_covered_date_of_its_own_time(loaded: Loader) -> None:
    take(loaded, "run1")
    loaded.load("sales_fact", "2023-01-01", rows=[order("O5", "2023-01-01", "2023-01-01")])
    take(loaded, "run1", take_over_from="run1")
    assert loaded.value(FIRST_COVERED) == date(2023, 1, 1)


def test_failed_load_does_not_change_the_as_of_date(loaded: Loader) -> None:
    rows = [order(f"O{n}", "soon", "2024-03-09") for n in range(20)]
    with pytest.raises(QuarantineOverflow):
        loaded.load("sales_fact", "2024-03-09", rows=rows)
    assert loaded.value("select as_of_date from ops.as_of") == date(2024, 3, 1)


def test_takeover_claims_the_days_of_a_dead_run(loaded: Loader) -> None:
    take(loaded, "dead")
    loaded.load("sales_fact", "2024-03-02", rows=[order("O4", "2024-03-02", "2024-03-02")])
    claim = take(loaded, "next", take_over_from="dead")
    assert claim.days["sales_fact"] == [date(2024, 1, 15), date(2024, 3, 1), date(2024, 3, 2)]
    assert lease.holder(loaded.connection) == ("a_dag", "next")
    with pytest.raises(LeaseLost, match="run 'dead' does not hold the right to build and publish"):
        publish(loaded, "dead")
    assert {claimed_by for _, _, claimed_by in dirty_dates(loaded)} == {"next"}


def test_takeover_is_refused_if_a_third_run_holds_the_lease(loaded: Loader) -> None:
    take(loaded, "run1")
    publish(loaded, "run1")
    take(loaded, "run2")
    # The caller has seen that run1 holds the lease. Meanwhile run2, which is still active, has taken it.
    assert take(loaded, "run3", take_over_from="run1") is None
    assert lease.holder(loaded.connection) == ("a_dag", "run2")


def test_retried_run_claims_again(loaded: Loader) -> None:
    take(loaded, "run1")
    claim = take(loaded, "run1", take_over_from="run1")
    assert claim is not None
    assert claim.is_build_needed
    publish(loaded, "run1")
    assert dirty_dates(loaded) == set()


def test_release_without_a_lease_raises(loader: Loader) -> None:
    with pytest.raises(LeaseLost):
        publish(loader, "run1")


def test_published_run_cannot_publish_again(loaded: Loader) -> None:
    take(loaded, "run1")
    publish(loaded, "run1")
    with pytest.raises(LeaseLost, match="clear it from its task `claim` on"):
        publish(loaded, "run1")


def test_pending_claim_writes_nothing(loaded: Loader) -> None:
    before = loaded.everything()
    assert set(lease.pending_claim(loaded.connection).days) == {"product", "sales_fact"}
    assert loaded.everything() == before


@pytest.fixture
def published(loaded: Loader) -> Loader:
    """All rows are built and published, by the models `p`."""
    take(loaded, "run1")
    publish(loaded, "run1")
    return loaded


def test_first_claim_needs_a_build(loader: Loader) -> None:
    assert take(loader, "run1").is_build_needed


def test_claim_without_changes_needs_no_build(published: Loader) -> None:
    published.load("sales_fact", DAY, rows=[order("O1", DAY), order("O2", "2024-01-15")])
    published.load("product", DAY, rows=[PRODUCT])
    assert not take(published, "run2").is_build_needed
    publish(published, "run2")
    assert not take(published, "run3").is_build_needed


def test_new_row_without_a_dirty_date_needs_a_build(published: Loader) -> None:
    row: dict[str, str | None] = {"customer_id": "1", "subscription_id": "S", "subscription_start_date": DAY}
    published.load("subscription_data", DAY, rows=[row])
    # A subscription makes no day dirty, but changes marts.
    assert dirty_dates(published) == set()
    assert take(published, "run2").is_build_needed


def test_dirty_date_added_by_hand_needs_a_build(published: Loader) -> None:
    published.connection.execute(
        "insert into ops.dirty_date (source, dirty_date, batch_id, marked_at)"
        " select 'sales_fact', '2024-03-01', max(batch_id), now() from ops.load_batch"
    )
    assert take(published, "run2").is_build_needed


def test_review_of_an_order_needs_one_build(published: Loader) -> None:
    published.connection.execute(
        "insert into ops.review (order_id, status, note, rules, reviewed_by) values ('O1', 'fine', '', '{}', 'Ann')"
    )
    assert take(published, "run2").is_build_needed
    publish(published, "run2")
    assert not take(published, "run3").is_build_needed
    published.connection.execute("truncate ops.review")


def test_removed_row_needs_a_build(published: Loader) -> None:
    row: dict[str, str | None] = {"product_id": "P2", "product_name": "Kite"}
    published.load("product", DAY, rows=[PRODUCT, row])
    take(published, "run2")
    publish(published, "run2")
    published.load("product", DAY, rows=[PRODUCT])
    assert take(published, "run3").is_build_needed


def test_new_as_of_date_needs_a_build(published: Loader) -> None:
    published.load("sales_fact", "2024-03-02", rows=[])
    assert take(published, "run2").is_build_needed


def test_new_first_covered_date_needs_a_build(published: Loader) -> None:
    published.load("sales_fact", "2023-01-01", rows=[])
    assert dirty_dates(published) == set()
    assert take(published, "run2").is_build_needed
    publish(published, "run2")
    assert not take(published, "run3").is_build_needed


def test_changed_project_needs_a_full_refresh(published: Loader) -> None:
    claim = take(published, "run2", project="other")
    assert claim.is_build_needed
    assert claim.is_full_refresh
    assert published.rows("select is_full_refresh from ops.build where finished_at is null") == [(True,)]
    publish(published, "run2")
    assert not take(published, "run3", project="other").is_full_refresh


MODELS = {"facts": "f1", "revenue": "r1", "weather": "w1"}
CHANGED = MODELS | {"facts": "f2", "revenue": "r2"}


def refreshed(loader: Loader, run_id: str) -> set[str]:
    names = loader.rows("select unnest(refreshed_models) from ops.build where run_id = %s", [run_id])
    return {name for (name,) in names}


def test_changed_models_are_rebuilt_from_all_rows_and_no_others(published: Loader) -> None:
    # The build before digests had none: of its tables nothing is known.
    assert take(published, "run2", project="p2", models=MODELS).is_full_refresh
    publish(published, "run2")
    claim = take(published, "run3", project="p3", models=CHANGED)
    assert (claim.is_build_needed, claim.is_full_refresh) == (True, False)
    assert claim.refreshed_models == refreshed(published, "run3") == {"facts", "revenue"}
    publish(published, "run3")
    claim = take(published, "run4", project="p3", models=CHANGED)
    assert (claim.is_build_needed, claim.is_full_refresh, claim.refreshed_models) == (False, False, set())


def test_project_that_changes_no_model_is_built_again_and_refreshes_none(published: Loader) -> None:
    """Another test, or another description: what is built must pass the tests as they are now."""
    take(published, "run2", models=MODELS)
    publish(published, "run2")
    claim = take(published, "run3", project="p2", models=MODELS)
    assert (claim.is_build_needed, claim.is_full_refresh, claim.refreshed_models) == (True, False, set())


def test_models_of_a_build_that_was_not_published_are_rebuilt_from_all_rows(published: Loader) -> None:
    """A change failed its tests and was taken back: tables of the change may be there, and those of before as well."""
    take(published, "run2", models=MODELS)
    publish(published, "run2")
    take(published, "failed", project="p2", models=CHANGED)
    claim = take(published, "run3", project="p", models=MODELS, take_over_from="failed")
    assert (claim.is_full_refresh, claim.refreshed_models) == (False, {"facts", "revenue"})
    # The run that failed, once more.
    claim = take(published, "failed", project="p2", models=CHANGED, take_over_from="run3")
    assert claim.refreshed_models == {"facts", "revenue"}
    publish(published, "failed")
    assert not take(published, "run4", project="p2", models=CHANGED).refreshed_models


def test_changed_model_that_a_build_excludes_is_rebuilt_by_the_next(published: Loader) -> None:
    take(published, "run2", models=MODELS)
    publish(published, "run2")
    without_revenue = lease.Exclusions(frozenset({"sales_fact"}), frozenset({"revenue", "weather"}))
    claim = take(published, "run3", project="p2", models=CHANGED, exclusions=without_revenue)
    assert claim.refreshed_models == {"facts"}
    publish(published, "run3")
    # `weather` was excluded as well, but is what it was.
    claim = take(published, "run4", project="p2", models=CHANGED)
    assert (claim.is_full_refresh, claim.refreshed_models) == (False, {"revenue"})


def test_files_are_not_read_while_the_project_is_the_same(published: Loader) -> None:
    def unread() -> dict[str, str]:
        raise AssertionError("the digests were computed")

    take(published, "run2", models=MODELS)
    publish(published, "run2")
    claim = lease.take(published.connection, "a_dag", "run3", project="p", models=unread, full_refresh=False)
    assert claim is not None
    assert not claim.refreshed_models
    publish(published, "run3")
    # Known from build to build.
    assert published.value("select model_digests from ops.build where run_id = 'run3'") == MODELS


def test_rollback_keeps_what_is_known_of_the_tables(published: Loader) -> None:
    take(published, "run2", models=MODELS)
    publish(published, "run2")
    with published.connection.transaction():
        assert lease.lock_for_rollback(published.connection, "another_dag", "rollback")
    claim = take(published, "run3", project="p2", models=MODELS | {"weather": "w2"})
    assert (claim.is_full_refresh, claim.refreshed_models) == (False, {"weather"})


def test_full_refresh_refreshes_no_single_model(published: Loader) -> None:
    take(published, "run2", models=MODELS)
    publish(published, "run2")
    claim = take(published, "run3", project="p2", models=CHANGED, full_refresh=True)
    assert (claim.is_full_refresh, claim.refreshed_models) == (True, set())
    publish(published, "run3")
    assert not take(published, "run4", project="p2", models=CHANGED).refreshed_models


def test_changed_time_zone_needs_a_full_refresh(published: Loader, set_time_zone: Callable[..., None]) -> None:
    set_time_zone("Asia/Kolkata")
    claim = take(published, "run2")
    assert claim.reason_for_full_refresh == "the shop's time zone was UTC, and is Asia/Kolkata"
    # It was not published: the next one takes it over, whatever the time zone is by then.
    set_time_zone("UTC")
    claim = take(published, "run3", take_over_from="run2")
    assert claim.reason_for_full_refresh == "the shop's time zone was Asia/Kolkata, and is UTC"
    publish(published, "run3")
    assert not take(published, "run4").is_full_refresh


def test_changed_country_needs_a_full_refresh(published: Loader, set_country: Callable[..., None]) -> None:
    set_country("FR")
    claim = take(published, "run2")
    assert claim.is_build_needed
    assert claim.reason_for_full_refresh == "the shop's country was DE, and is FR"
    publish(published, "run2")
    set_country(None)
    claim = take(published, "run3")
    assert claim.reason_for_full_refresh == "the shop's country was FR, and is none"
    # It was not published: the next one takes it over, whatever the country is by then.
    set_country("DE")
    claim = take(published, "run4", take_over_from="run3")
    assert claim.reason_for_full_refresh == "the shop's country was none, and is DE"
    publish(published, "run4")
    assert not take(published, "run5").is_build_needed


def test_unchanged_project_is_built_incrementally(published: Loader) -> None:
    published.load("product", DAY, rows=[PRODUCT | {"product_name": "Balloon"}])
    assert not take(published, "run2").is_full_refresh


def test_full_refresh_needs_a_build(published: Loader) -> None:
    assert take(published, "run2", full_refresh=True).is_build_needed


def test_unpublished_build_needs_another_build(published: Loader) -> None:
    published.load("product", DAY, rows=[PRODUCT | {"product_name": "Balloon"}])
    take(published, "failed")
    assert take(published, "run3", take_over_from="failed").is_build_needed


def test_unpublished_build_of_other_models_needs_a_full_refresh(published: Loader) -> None:
    """A change of the models failed its tests and was reverted: its tables must not be published."""
    take(published, "failed", project="changed")
    claim = take(published, "run3", take_over_from="failed", project="p")
    assert claim.is_build_needed
    assert claim.is_full_refresh


def test_claimed_dates_are_kept_after_publication(published: Loader) -> None:
    claimed = "select run_id, source, dirty_date::text from ops.claimed_date order by 2, 3"
    both = [("run1", source, day) for source in ("product", "sales_fact") for day in ("2024-01-15", DAY)]
    assert published.rows(claimed) == both
    assert dirty_dates(published) == set()


def test_takeover_records_claimed_dates_under_its_own_run(loaded: Loader) -> None:
    take(loaded, "dead")
    take(loaded, "next", take_over_from="dead")
    names = {name for (name,) in loaded.rows("select run_id from ops.claimed_date")}
    assert names == {"dead", "next"}
    take(loaded, "next", take_over_from="next")
    assert loaded.value("select count(*) from ops.claimed_date where run_id = 'next'") == 4


#: The weather failed; a model that is excluded for it is also rebuilt by the days of the products.
WITHOUT_WEATHER = lease.Exclusions(
    frozenset({"weather_data"}), frozenset({"weather_sales_impact"}), frozenset({"weather_data", "product"})
)


def test_dirty_dates_of_unsettled_sources_stay_for_the_next_build(loaded: Loader) -> None:
    take(loaded, "run1", exclusions=WITHOUT_WEATHER)
    assert lease.exclusions_of(loaded.connection, "run1") == WITHOUT_WEATHER
    publish(loaded, "run1")
    assert dirty_dates(loaded) == {("product", "2024-01-15", None), ("product", DAY, None)}
    built_by = dict(loaded.rows("select source, built_by from ops.load_batch"))
    assert built_by == {"sales_fact": "run1", "product": None}

    claim = take(loaded, "run2")
    assert claim.is_build_needed
    assert set(claim.days) == {"product"}
    publish(loaded, "run2")
    assert dirty_dates(loaded) == set()
    assert lease.exclusions_of(loaded.connection, "run2") == lease.NO_EXCLUSIONS
    assert not take(loaded, "run3").is_build_needed


def test_failed_source_without_dirty_dates_needs_another_build(loader: Loader) -> None:
    take(loader, "run1", exclusions=WITHOUT_WEATHER)
    publish(loader, "run1")
    assert take(loader, "run2").is_build_needed


def test_cleared_run_builds_models_it_had_excluded(loaded: Loader) -> None:
    take(loaded, "run1", exclusions=WITHOUT_WEATHER)
    publish(loaded, "run1")
    assert set(take(loaded, "run1").days) == {"product"}
    publish(loaded, "run1")
    assert not take(loaded, "run2").is_build_needed


@pytest.mark.parametrize("reason", ["requested", "another project"])
def test_full_refresh_with_exclusions_is_repeated_until_complete(loaded: Loader, reason: str) -> None:
    take(loaded, "before", project="old" if reason == "another project" else "p")
    publish(loaded, "before")
    assert take(loaded, "run1", full_refresh=reason == "requested", exclusions=WITHOUT_WEATHER).is_full_refresh
    publish(loaded, "run1")
    # Neither a build with other exclusions nor one that is not published completes it.
    without_sales = lease.Exclusions(frozenset({"sales_fact"}), frozenset({"daily_revenue"}), frozenset({"sales_fact"}))
    assert take(loaded, "run2", exclusions=without_sales).is_full_refresh
    publish(loaded, "run2")
    assert take(loaded, "run3").is_full_refresh
    assert take(loaded, "run4", take_over_from="run3").is_full_refresh
    publish(loaded, "run4")
    assert not take(loaded, "run5").is_full_refresh


def test_last_build_with_exclusions_is_not_complete(loaded: Loader) -> None:
    take(loaded, "run1", exclusions=WITHOUT_WEATHER)
    publish(loaded, "run1")
    last_build = lease.lock_for_verification(loaded.connection, "verify", "check")
    assert last_build is not None
    assert (last_build.is_published, last_build.is_complete) == (True, False)


def test_verification_has_the_days_of_the_last_build(published: Loader) -> None:
    published.load("sales_fact", "2024-03-05", rows=[])
    published.load("sales_fact", "2023-01-01", rows=[])
    last_build = lease.lock_for_verification(published.connection, "verify", "check")
    assert last_build is not None
    days = (date(2024, 3, 1), date(2024, 3, 1))
    assert (last_build.as_of_date, last_build.first_covered_date) == days
    assert published.rows("select as_of_date, first_covered_date from ops.as_of") == [days]


@pytest.mark.parametrize(
    ("subject", "is_covered"),
    [
        ("weather_data", True),
        ("raw.weather_data", True),
        ("raw.weather_data last days", True),
        ("marts_build.weather_sales_impact", True),
        ("raw.product last days", False),
        ("raw.sales_fact weather_data", False),
    ],
)
def test_exclusions_cover_the_subjects_of_their_sources_and_models(subject: str, is_covered: bool) -> None:
    assert WITHOUT_WEATHER.covers(subject) is is_covered


def test_batches_of_earlier_builds_stay_with_them(published: Loader) -> None:
    built_by = "select source, built_by from ops.load_batch order by batch_id"
    before = [("sales_fact", "run1"), ("product", "run1")]
    assert published.rows(built_by) == before
    published.load("product", "2024-03-02", rows=[PRODUCT | {"product_name": "Kite"}])
    take(published, "run2", exclusions=WITHOUT_WEATHER)
    assert published.rows(built_by) == [*before, ("product", "run2")]
    publish(published, "run2")
    assert published.rows(built_by) == [*before, ("product", None)]


def test_first_full_refresh_with_exclusions_is_repeated(loaded: Loader) -> None:
    take(loaded, "run1", full_refresh=True, exclusions=WITHOUT_WEATHER)
    publish(loaded, "run1")
    assert take(loaded, "run2").reason_for_full_refresh == "the last one left models out"


def test_full_refresh_with_exclusions_that_was_not_published_is_not_repeated(published: Loader) -> None:
    take(published, "failed", full_refresh=True, exclusions=WITHOUT_WEATHER)
    claim = take(published, "run3", take_over_from="failed")
    assert claim.is_build_needed
    assert not claim.is_full_refresh


def test_first_build_of_other_models_that_was_not_published_needs_a_full_refresh(loaded: Loader) -> None:
    take(loaded, "failed", project="changed")
    assert take(loaded, "run2", take_over_from="failed").reason_for_full_refresh == "the dbt project has changed"


def test_unpublished_build_without_new_rows_needs_another_build(published: Loader) -> None:
    take(published, "failed", full_refresh=True)
    assert dirty_dates(published) == set()
    assert take(published, "run3", take_over_from="failed").is_build_needed


def test_takeover_from_a_published_run_does_not_end_it_again(published: Loader) -> None:
    finished = "select finished_at from ops.build where run_id = 'run1'"
    before = published.value(finished)
    take(published, "run2", take_over_from="run1")
    assert published.value(finished) == before


def test_verification_is_of_the_newest_build(published: Loader) -> None:
    published.load("sales_fact", "2024-03-05", rows=[])
    take(published, "run2", project="other")
    publish(published, "run2")
    last_build = lease.lock_for_verification(published.connection, "verify", "check")
    assert last_build is not None
    assert (last_build.as_of_date, last_build.project) == (date(2024, 3, 5), "other")


def test_verification_is_refused_while_another_one_runs(published: Loader) -> None:
    assert lease.lock_for_verification(published.connection, "verify", "first") is not None
    assert lease.lock_for_verification(published.connection, "verify", "second") is None
    assert lease.holder(published.connection) == ("verify", "first")
    # It was taken over, by a run that has seen it end.
    assert lease.lock_for_verification(published.connection, "verify", "second", take_over_from="first") is not None
    assert published.rows("select run_id from ops.build where dag_id = 'verify'") == [("second",)]


def test_verification_deletes_only_what_verifications_have_left(published: Loader) -> None:
    lease.lock_for_verification(published.connection, "verify", "killed")
    # A build has taken the lease over, so the lock is a finished row.
    take(published, "run2", take_over_from="killed")
    publish(published, "run2")
    assert lease.lock_for_verification(published.connection, "verify", "check") is not None
    assert published.rows("select run_id from ops.build order by 1") == [("check",), ("run1",), ("run2",)]


def test_unlock_leaves_the_lease_of_another_run(published: Loader) -> None:
    lease.lock_for_verification(published.connection, "verify", "killed")
    take(published, "run2", take_over_from="killed")
    lease.unlock_after_verification(published.connection, "killed")
    assert lease.holder(published.connection) == ("a_dag", "run2")
    publish(published, "run2")
    lease.unlock_after_verification(published.connection, "run2")
    assert published.value("select count(*) from ops.build where run_id = 'run2'") == 1


@pytest.mark.parametrize("lock", ["take", "verification", "rollback"])
def test_lease_is_decided_one_session_at_a_time(published: Loader, lock: str) -> None:
    """Between the question who holds the lease and the answer, no other session may take it."""
    connection = published.connection
    calls: dict[str, Callable[[], object]] = {
        "take": lambda: take(published, "run2"),
        "verification": lambda: lease.lock_for_verification(connection, "verify", "run2"),
        "rollback": lambda: lease.lock_for_rollback(connection, "rollback", "run2"),
    }
    locks = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and granted"
    with connection.transaction():
        assert published.value(locks) == 0
        calls[lock]()
        assert published.value(locks) == 1
    assert published.value(locks) == 0


def test_rollback_is_refused_while_a_run_holds_the_lease(published: Loader) -> None:
    take(published, "run2")
    assert lease.lock_for_rollback(published.connection, "rollback", "back") is False
    assert lease.lock_for_rollback(published.connection, "rollback", "back", take_over_from="run1") is False
    assert lease.holder(published.connection) == ("a_dag", "run2")
    assert lease.lock_for_rollback(published.connection, "rollback", "back", take_over_from="run2") is True


def test_rollback_makes_the_next_build_needed_with_the_days_of_the_newest_one(published: Loader) -> None:
    published.load("sales_fact", "2024-03-05", rows=[])
    take(published, "run2")
    publish(published, "run2")
    assert lease.lock_for_rollback(published.connection, "rollback", "back") is True
    recorded = "select as_of_date, is_published, finished_at is not null from ops.build where run_id = 'back'"
    assert published.rows(recorded) == [(date(2024, 3, 5), False, True)]
    claim = take(published, "run3")
    assert claim.is_build_needed
    assert not claim.is_full_refresh


def ask_for_decision(loader: Loader, run_id: str) -> None:
    loader.connection.execute(
        """
        insert into ops.decision (run_id, check_name, subjects, message, days, difference, asked_at)
        values (%s, 'volume', '{}', '', '{}', '{}', now())
        """,
        [run_id],
    )


def test_awaited_decision_is_one_of_the_holder_that_nobody_has_made(published: Loader) -> None:
    connection = published.connection
    assert not lease.awaits_decision(connection)
    take(published, "run2")
    assert not lease.awaits_decision(connection)
    ask_for_decision(published, "run1")
    assert not lease.awaits_decision(connection)
    ask_for_decision(published, "run2")
    assert lease.awaits_decision(connection)
    connection.execute("update ops.decision set decision = 'approved', decided_at = now() where run_id = 'run2'")
    assert not lease.awaits_decision(connection)


def test_dirty_date_of_two_loads_is_claimed_once(loaded: Loader) -> None:
    loaded.load("sales_fact", "2024-03-02", rows=[order("O3", DAY, "2024-03-02")])
    assert (
        loaded.value("select count(*) from ops.dirty_date where source = 'sales_fact' and dirty_date = %s", [DAY]) == 2
    )
    assert take(loaded, "run1").days["sales_fact"] == [date(2024, 1, 15), date(2024, 3, 1)]
