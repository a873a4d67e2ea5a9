"""Each dbt test of the build has a result of this build, with its failing rows, or nothing is published."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ecommerce.audit import dbt_tests
from ecommerce.audit.dbt_tests import expected_tests
from tests.integration.dbt_runs import Dbt, dbt_on
from tests.integration.support import Loader

DAY = "2024-03-01"
WEATHER = "core.fact_weather accepted_values_fact_weather_temperature_category__Freezing__Cold__Cool__Warm__Hot"


@pytest.fixture(scope="module")
def built(warehouse_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dbt]:
    """Every model, over nothing; the manifest that says which tests are expected is this project's."""
    folder: Path = tmp_path_factory.mktemp("dbt")
    with dbt_on(os.environ["AIRFLOW_CONN_WAREHOUSE_TRANSFORMER"], folder) as dbt, pytest.MonkeyPatch.context() as patch:
        patch.setattr(dbt_tests, "MANIFEST", folder / "manifest.json")
        dbt.run()
        yield dbt


@pytest.fixture
def claimed(built: Dbt, loader: Loader) -> Loader:
    """A run that has claimed, and has rebuilt a model since."""
    claim(loader, "a_run")
    loader.connection.execute("insert into ops.rebuild values ('a_run', 'fact_weather', 'all', '{}', 0, null, now())")
    return loader


def claim(loader: Loader, run_id: str) -> None:
    loader.connection.execute(
        "insert into ops.build (run_id, dag_id, is_full_refresh, project_digest, claimed_at)"
        " values (%s, 'a_dag', true, '', now())",
        [run_id],
    )


@pytest.fixture
def passed(claimed: Loader) -> Loader:
    """As if every test had passed."""
    with claimed.connection.cursor() as cursor:
        cursor.executemany(
            "insert into ops.check_result (checked_at, run_id, check_name, subject, status, message)"
            " values (clock_timestamp(), 'a_run', 'dbt_test', %s, 'pass', '')",
            [[test] for test in sorted(expected_tests())],
        )
    return claimed


@pytest.fixture
def purple(passed: Loader) -> Iterator[Callable[[int], None]]:
    """Put so many days of weather into the facts that no test knows."""

    def purple(n: int) -> None:
        passed.connection.execute(
            "insert into core.fact_weather (city, temperature_category, precipitation_category, date_key)"
            " select 'Nowhere', 'Purple', 'No Rain', date '2010-01-01' + n from generate_series(1, %s) as n",
            [n],
        )

    yield purple
    passed.connection.execute("delete from core.fact_weather")


def test_each_test_of_a_build_has_a_result_and_they_pass(judge, built: Dbt, claimed: Loader) -> None:
    assert judge("dbt_tests", DAY)[0][1] == "fail", "nothing has been tested yet"
    outcome = built.test("--exclude-resource-type", "unit_test")
    recorded = claimed.rows(
        "select subject, run_id, status, observed from ops.check_result where check_name = 'dbt_test'"
    )
    assert {subject for subject, *_ in recorded} == expected_tests()
    assert len(recorded) == len(outcome)
    assert {row[1:] for row in recorded} == {("a_run", "pass", 0)}
    assert WEATHER in expected_tests()
    assert "orders_in_raw_are_in_the_facts" in expected_tests(), "one of several models"
    assert judge("dbt_tests", DAY) == [("dbt tests", "pass", f"{len(recorded)} tests passed")]


def test_a_failed_test_holds_back_the_publication_and_its_rows_are_kept(
    judge, built: Dbt, passed: Loader, purple: Callable[[int], None]
) -> None:
    purple(150)
    assert "fail" in built.test("--select", "fact_weather").values()
    ((_, status, message),) = judge("dbt_tests", DAY)
    assert status == "fail"
    assert message == f"{WEATHER} failed: Got 1 result, configured to fail if != 0"
    kept = (
        "select bad_row from ops.check_result inner join ops.check_failure using (check_result_id) where subject = %s"
    )
    assert passed.rows(kept, [WEATHER]) == [({"value_field": "Purple", "n_records": 150},)]
    # Mended and tested again; what was wrong stays on record.
    passed.connection.execute("delete from core.fact_weather")
    built.test("--select", "fact_weather")
    assert judge("dbt_tests", DAY)[0][1] == "pass"
    assert len(passed.rows(kept, [WEATHER])) == 1


def test_no_more_than_a_hundred_failing_rows_are_kept(built: Dbt, passed: Loader) -> None:
    passed.connection.execute(
        "insert into core.fact_weather (city, temperature_category, precipitation_category, date_key)"
        " select 'It''s', 'Cold', 'No Rain', date '2040-01-01' + n from generate_series(1, 150) as n"
    )
    try:
        assert "fail" in built.test("--select", "fact_weather").values()
    finally:
        passed.connection.execute("delete from core.fact_weather")
    kept = "select observed, (select count(*) from ops.check_failure where check_result_id = result.check_result_id)"
    found = passed.rows(f"{kept} from ops.check_result as result where status = 'fail' and observed = 150")
    assert found == [(150, 100)]


def test_a_missing_result_is_no_pass(judge, passed: Loader) -> None:
    passed.connection.execute("delete from ops.check_result where subject = %s", [WEATHER])
    assert judge("dbt_tests", DAY) == [("dbt tests", "fail", f"{WEATHER} has no result")]


def test_a_stale_result_is_no_pass(judge, passed: Loader) -> None:
    assert judge("dbt_tests", DAY)[0][1] == "pass"
    # Cleared and claimed again: it has rebuilt, and not tested yet.
    passed.connection.execute("update ops.build set claimed_at = clock_timestamp()")
    passed.connection.execute("update ops.rebuild set rebuilt_at = clock_timestamp()")
    ((_, status, message),) = judge("dbt_tests", DAY)
    assert status == "fail"
    assert message.count("has no result") == 5
    assert message.endswith(f"; and {len(expected_tests()) - 5} more")


@pytest.mark.parametrize(("is_published", "status"), [(True, "pass"), (False, "fail")])
def test_a_run_that_had_nothing_to_build_has_the_tests_of_the_last_build(
    judge, passed: Loader, is_published: bool, status: str
) -> None:
    passed.connection.execute("update ops.check_result set run_id = 'before'")
    passed.connection.execute("update ops.rebuild set run_id = 'before'")
    passed.connection.execute(
        "update ops.build set run_id = 'before', finished_at = now(), is_published = %s", [is_published]
    )
    claim(passed, "a_run")
    ((_, found, message),) = judge("dbt_tests", DAY)
    assert found == status
    assert message == (
        f"{len(expected_tests())} tests passed in the last build, of run before"
        if is_published
        else "this run has built nothing, and the build before it was not published"
    )


def test_by_hand_nothing_is_recorded(built: Dbt, loader: Loader) -> None:
    built.test("--select", "fact_weather")
    assert loader.value("select count(*) from ops.check_result") == 0


def test_what_a_build_leaves_out_is_not_expected() -> None:
    without = expected_tests() - expected_tests(left_out={"fact_weather"})
    assert WEATHER in without
    assert "core.fact_weather relationships_fact_weather_date_key__date_key__ref_dim_date_" in without
    assert not any(test.startswith("core.fact_sales ") for test in without)
