"""A task runs dbt only while its run holds the lease, and leaves out what the claim has left out."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from airflow.sdk.exceptions import AirflowFailException

from ecommerce.build import lease
from ecommerce.build.build_permission import assert_may_build
from ecommerce.build.dbt_project import project_digest
from ecommerce.build.lease import Exclusions
from tests.integration.support import Loader

WITHOUT_WEATHER = Exclusions(frozenset({"weather_data"}), frozenset({"fact_weather", "stg_weather_data"}), frozenset())


def attempt(run_id: str = "a_run", **task: Any) -> None:
    """What a task does before it runs dbt."""
    assert_may_build(cast("Any", {"dag_run": SimpleNamespace(run_id=run_id), "task": SimpleNamespace(**task)}))


def claim(loader: Loader, run_id: str = "a_run", exclusions: Exclusions = lease.NO_EXCLUSIONS) -> None:
    project = project_digest()
    assert lease.take(loader.connection, "a_dag", run_id, project=project, full_refresh=False, exclusions=exclusions)


def test_run_with_the_lease_may_build(loader: Loader) -> None:
    claim(loader)
    attempt()
    attempt(exclude="")
    # Operators of other packages have an argument of that name that is no text.
    attempt(exclude=None)


@pytest.mark.parametrize("holder", [None, "another_run"])
def test_run_without_the_lease_may_not_build(loader: Loader, holder: str | None) -> None:
    if holder:
        claim(loader, holder)
    with pytest.raises(AirflowFailException, match=r"'a_run' does not hold the right to build .*; clear it from"):
        attempt(exclude="")


@pytest.mark.parametrize("exclude", ["", "fact_weather", "stg_weather_data fact_weather --full-refresh", "fact_sales"])
def test_other_exclusions_than_those_of_the_claim_are_refused(loader: Loader, exclude: str) -> None:
    claim(loader, exclusions=WITHOUT_WEATHER)
    attempt(exclude="stg_weather_data fact_weather")
    with pytest.raises(AirflowFailException, match="has excluded fact_weather stg_weather_data; clear the run from"):
        attempt(exclude=exclude)


def test_exclusions_without_any_in_the_claim_are_refused(loader: Loader) -> None:
    claim(loader)
    with pytest.raises(AirflowFailException, match=r"would exclude fact_sales, but the claim .* has excluded no model"):
        attempt(exclude="fact_sales")


def test_another_project_than_the_claimed_one_is_refused(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that a deployment has not reached yet must not build old SQL as that of the new project."""
    claim(loader)
    monkeypatch.setattr("ecommerce.build.build_permission.project_digest", lambda: "of other files")
    with pytest.raises(AirflowFailException, match=r"this worker \(.+\) is not the one with which a_run has claimed"):
        attempt()
