"""Attacks on the rule that a failed check publishes nothing: whatever the tasks of a run say, its results decide."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from airflow.sdk.exceptions import AirflowFailException

from ecommerce.audit.check_results import CheckResult, record_results
from ecommerce.build import lease
from ecommerce.common.errors import PublishError
from ecommerce.publish import publication
from ecommerce.publish.refresh_marts import RefreshMarts
from tests.integration.publish.test_publication import RUN, TIERS, build, content, republish, warehouse
from tests.integration.support import Loader, acting_as, checks_passed

__all__ = ["warehouse"]

KEY = "unique (customer_id)"


def record(loader: Loader, check: str, subject: str, status: Any) -> None:
    """A result of a check, as its task records it."""
    with acting_as(loader.connection, "publisher"):
        record_results(loader.connection, check, RUN, [CheckResult(subject, status, 1, 2, "half is missing")], None)


def publish(loader: Loader) -> None:
    with acting_as(loader.connection, "publisher"):
        publication.publish(loader.connection, RUN)


@pytest.fixture
def built(warehouse: Loader) -> Loader:
    """A published mart, and a run that has claimed and built it with another row."""
    build(warehouse, "tiers", TIERS, KEY, ("C1", "High"))
    republish(warehouse)
    assert lease.take(warehouse.connection, "a_dag", RUN, project="p", full_refresh=True)
    build(warehouse, "tiers", TIERS, KEY, ("C1", "Low"))
    return warehouse


@pytest.fixture
def stays_unpublished(built: Loader) -> Callable[[str], None]:
    """Publish, and expect this error, no change of a mart, and that the run keeps its lease."""

    def stays_unpublished(error: str) -> None:
        with pytest.raises(PublishError, match=error):
            publish(built)
        assert content(built, "tiers") == [("C1", "High")]
        assert lease.holder(built.connection) == ("a_dag", RUN)

    return stays_unpublished


def test_failed_check_publishes_nothing_though_its_task_is_marked_as_success(
    built: Loader, stays_unpublished: Callable[[str], None]
) -> None:
    with checks_passed(built.connection, RUN):
        record(built, "volume", "raw.sales_fact", "fail")
        stays_unpublished("^nothing was published: check volume failed, raw.sales_fact: half is missing. Clear the run")
        record(built, "volume", "raw.sales_fact", "warn")
        publish(built)
    assert content(built, "tiers") == [("C1", "Low")]


def test_check_without_a_result_publishes_nothing(built: Loader, stays_unpublished: Callable[[str], None]) -> None:
    with checks_passed(built.connection, RUN, except_for=["dbt_tests"]):
        stays_unpublished("check dbt_tests has no result.*is new, this run has no task for it: start another run$")


def test_run_without_any_result_publishes_nothing(built: Loader, stays_unpublished: Callable[[str], None]) -> None:
    """As when the operator is called by hand right after the claim."""
    stays_unpublished(r"check freshness has no result; .*; and \d+ more\. Clear")


def test_operator_called_by_hand_publishes_nothing_that_failed(built: Loader) -> None:
    context = {"dag_run": SimpleNamespace(run_id=RUN), "params": {}, "outlet_events": {}}
    with checks_passed(built.connection, RUN):
        record(built, "reconciliation_core", "marts_build.tiers", "fail")
        with pytest.raises(AirflowFailException, match="check reconciliation_core failed"):
            RefreshMarts(task_id="by_hand").execute(cast("Any", context))
    assert content(built, "tiers") == [("C1", "High")]


def test_results_of_before_the_claim_do_not_count(built: Loader, stays_unpublished: Callable[[str], None]) -> None:
    """`claim` was cleared without the tasks after it."""
    with checks_passed(built.connection, RUN):
        lease.take(built.connection, "a_dag", RUN, project="p", full_refresh=True, take_over_from=RUN)
        stays_unpublished("check freshness has no result")


def test_results_of_before_the_last_build_do_not_count(built: Loader, stays_unpublished: Callable[[str], None]) -> None:
    """A task of the build was cleared without the checks after it."""
    with checks_passed(built.connection, RUN):
        built.connection.execute("update ops.rebuild set rebuilt_at = clock_timestamp()")
        stays_unpublished("check dbt_tests was evaluated before the last build")


def test_mart_that_was_not_built_is_not_published(built: Loader, stays_unpublished: Callable[[str], None]) -> None:
    """`dbt_build` was marked as successful before it ran."""
    with checks_passed(built.connection, RUN):
        built.connection.execute("delete from ops.rebuild")
        stays_unpublished("marts_build.tiers was not built by this run")


def test_run_without_need_of_a_build_publishes_what_was_built_before(built: Loader) -> None:
    with checks_passed(built.connection, RUN):
        publish(built)
    claim = lease.take(built.connection, "a_dag", "another_run", project="p", full_refresh=False)
    assert claim is not None
    assert not claim.is_build_needed
    with checks_passed(built.connection, "another_run"), acting_as(built.connection, "publisher"):
        built.connection.execute("reset role; delete from ops.rebuild; set role publisher")
        assert [change.total for change in publication.publish(built.connection, "another_run")] == [0]


def test_result_that_the_transformer_has_written_does_not_count(
    built: Loader, stays_unpublished: Callable[[str], None]
) -> None:
    with checks_passed(built.connection, RUN, except_for=["volume"]):
        record(built, "volume", "raw.sales_fact", "fail")
        with acting_as(built.connection, "transformer"):
            built.connection.execute(
                """
                insert into ops.check_result (checked_at, run_id, check_name, subject, status, message)
                values (clock_timestamp(), %s, 'volume', 'raw.sales_fact', 'pass', 'all is well')
                """,
                [RUN],
            )
        stays_unpublished("check volume failed")


def test_failure_of_an_earlier_evaluation_does_not_count(built: Loader) -> None:
    """The check was cleared and evaluated again: what it says now decides, also of subjects that it no longer has."""
    with checks_passed(built.connection, RUN):
        record(built, "schema_drift", "raw.sales_fact.tax_amount", "fail")
        record(built, "schema_drift", "raw.sales_fact", "pass")
        publish(built)
    assert content(built, "tiers") == [("C1", "Low")]


def test_failure_of_what_the_run_leaves_out_does_not_count(built: Loader) -> None:
    exclusions = lease.Exclusions(frozenset({"weather_data"}), frozenset({"weather"}), frozenset({"weather_data"}))
    lease.take(
        built.connection, "a_dag", RUN, project="p", full_refresh=False, take_over_from=RUN, exclusions=exclusions
    )
    with checks_passed(built.connection, RUN):
        record(built, "freshness", "weather_data", "fail")
        publish(built)
    assert content(built, "tiers") == [("C1", "Low")]


def test_refused_publication_adds_no_column(built: Loader, stays_unpublished: Callable[[str], None]) -> None:
    build(built, "tiers", f"{TIERS}, orders bigint", KEY, ("C1", "Low", 3))
    with checks_passed(built.connection, RUN):
        record(built, "volume", "raw.sales_fact", "fail")
        stays_unpublished("check volume failed")
