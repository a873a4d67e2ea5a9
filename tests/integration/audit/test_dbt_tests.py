"""Kind `dbt_tests`: each dbt test must have a result of this build, and none may have failed."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from ecommerce.audit.dbt_tests import expected_tests
from ecommerce.build import dbt_project
from include.demo.state import State
from tests.integration.dbt_runs import Dbt, dbt_on
from tests.integration.support import Loader

DAY = "2024-03-01"
WEATHER = "core.fact_weather accepted_values_fact_weather_temperature_category__Freezing__Cold__Cool__Warm__Hot"


@pytest.fixture(scope="module")
def built(warehouse_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dbt]:
    """Every model, over empty tables; the expected tests are those of this project's manifest."""
    folder: Path = tmp_path_factory.mktemp("dbt")
    with dbt_on(os.environ["AIRFLOW_CONN_WAREHOUSE_TRANSFORMER"], folder) as dbt, pytest.MonkeyPatch.context() as patch:
        dbt.project.write_manifest(folder / "manifest.json")
        patch.setattr(dbt_project, "MANIFEST", folder / "manifest.json")
        dbt.run()
        yield dbt


@pytest.fixture
def claimed(built: Dbt, loader: Loader) -> Loader:
    """A run that has claimed, and has then rebuilt a model."""
    claim(loader, "a_run")
    loader.connection.execute("insert into ops.rebuild values ('a_run', 'fact_weather', 'all', '{}', 0, null, now())")
    return loader


def claim(loader: Loader, run_id: str, *, is_full_refresh: bool = True) -> None:
    loader.connection.execute(
        """
        insert into ops.build (run_id, dag_id, is_full_refresh, project_digest, claimed_at)
        values (%s, 'a_dag', %s, '', now())
        """,
        [run_id, is_full_refresh],
    )


@pytest.fixture
def passed(claimed: Loader) -> Loader:
    """The same run with a passed result of every test."""
    with claimed.connection.cursor() as cursor:
        cursor.executemany(
            """
            insert into ops.check_result (checked_at, run_id, check_name, subject, status, message)
            values (clock_timestamp(), 'a_run', 'dbt_test', %s, 'pass', '')
            """,
            [[test] for test in sorted(expected_tests())],
        )
    return claimed


@pytest.fixture
def purple(passed: Loader) -> Iterator[Callable[[int], None]]:
    """Insert a number of days with a category of weather that a test does not accept."""

    def purple(n: int) -> None:
        passed.connection.execute(
            """
            insert into core.fact_weather (city, temperature_category, precipitation_category, date_key)
            select 'Nowhere', 'Purple', 'No Rain', date '2010-01-01' + n
            from generate_series(1, %s) as n
            """,
            [n],
        )

    yield purple
    passed.connection.execute("delete from core.fact_weather")


def test_dbt_tests_pass_with_a_result_of_each_test(evaluate, built: Dbt, claimed: Loader) -> None:
    assert evaluate("dbt_tests", DAY)[0][1] == "fail", "no test has run yet"
    outcome = built.test("--exclude-resource-type", "unit_test")
    recorded = claimed.rows(
        "select subject, run_id, status, observed from ops.check_result where check_name = 'dbt_test'"
    )
    assert {subject for subject, *_ in recorded} == expected_tests()
    assert len(recorded) == len(outcome)
    assert {row[1:] for row in recorded} == {("a_run", "pass", 0)}
    assert WEATHER in expected_tests()
    assert "orders_in_raw_are_in_the_facts" in expected_tests(), "a test of several models"
    assert evaluate("dbt_tests", DAY) == [("dbt tests", "pass", f"{len(recorded)} tests passed")]


def test_dbt_tests_fail_with_a_failed_test_and_keep_its_rows(
    evaluate, built: Dbt, passed: Loader, purple: Callable[[int], None]
) -> None:
    purple(150)
    assert "fail" in built.test("--select", "fact_weather").values()
    ((_, status, message),) = evaluate("dbt_tests", DAY)
    assert status == "fail"
    assert message == f"{WEATHER} failed: Got 1 result, configured to fail if != 0"
    kept = """
        select bad_row
        from ops.check_result
        inner join ops.check_failure using (check_result_id)
        where subject = %s
    """
    assert passed.rows(kept, [WEATHER]) == [({"value_field": "Purple", "n_records": 150},)]
    # Repaired and tested again; the rows of the failure stay.
    passed.connection.execute("delete from core.fact_weather")
    built.test("--select", "fact_weather")
    assert evaluate("dbt_tests", DAY)[0][1] == "pass"
    assert len(passed.rows(kept, [WEATHER])) == 1


def test_dbt_hook_keeps_at_most_a_hundred_failing_rows(built: Dbt, passed: Loader) -> None:
    passed.connection.execute(
        """
        insert into core.fact_weather (city, temperature_category, precipitation_category, date_key)
        select 'It''s', 'Cold', 'No Rain', date '2100-01-01' + n
        from generate_series(1, 150) as n
        """
    )
    try:
        assert "fail" in built.test("--select", "fact_weather").values()
    finally:
        passed.connection.execute("delete from core.fact_weather")
    failures = passed.rows(
        """
        select
            observed,
            (select count(*) from ops.check_failure where check_result_id = result.check_result_id)
        from ops.check_result as result
        where status = 'fail' and observed = 150
        """
    )
    assert failures == [(150, 100)]


@pytest.fixture
def as_dbt(built: Dbt) -> Iterator[Callable[..., object]]:
    """Run a statement as dbt's role, the owner of the models; what was inserted is deleted afterwards."""
    with psycopg.connect(os.environ["AIRFLOW_CONN_WAREHOUSE_TRANSFORMER"], autocommit=True) as transformer:
        yield transformer.execute
        transformer.execute("delete from core.fact_weather")


@pytest.fixture
def incremental(built: Dbt, loader: Loader) -> None:
    """An incremental build that has claimed 15 February."""
    line = {"order_id": "O", "product_id": "P", "order_date": "2024-02-15", "order_amount": "1"}
    loader.load("sales_fact", "2024-02-15", rows=[{**line, "created_at": "2024-02-15 10:00:00"}])
    claim(loader, "a_run", is_full_refresh=False)
    loader.connection.execute(
        "insert into ops.dirty_date select 'weather_data', dirty_date, batch_id, marked_at from ops.dirty_date"
    )
    loader.connection.execute("update ops.dirty_date set claimed_by = 'a_run', claimed_at = now()")


@pytest.mark.usefixtures("incremental")
def test_tests_of_a_model_that_is_rebuilt_from_all_rows_read_all_of_it(
    built: Dbt, loader: Loader, as_dbt: Callable[..., object]
) -> None:
    as_dbt(
        """
        insert into core.fact_weather (city, temperature_category, precipitation_category, date_key)
        values ('Nowhere', 'Purple', 'No Rain', '2024-03-15')
        """
    )
    statuses = []
    for refreshed in ("{}", "{fact_sales}", "{fact_weather}"):
        loader.connection.execute("update ops.build set refreshed_models = %s", [refreshed])
        statuses.append(built.test("--select", "fact_weather")[WEATHER.partition(" ")[2]])
    assert statuses == ["pass", "pass", "fail"]


@pytest.mark.usefixtures("incremental")
@pytest.mark.parametrize(
    ("day", "status"), [("2024-02-14", "pass"), ("2024-02-15", "fail"), ("2024-02-16", "pass"), ("2024-03-15", "pass")]
)
def test_tests_of_an_incremental_build_read_the_claimed_periods(
    built: Dbt, as_dbt: Callable[..., object], day: str, status: str
) -> None:
    as_dbt(
        """
        insert into core.fact_weather (city, temperature_category, precipitation_category, date_key)
        values ('Nowhere', 'Purple', 'No Rain', %s)
        """,
        [day],
    )
    statuses = built.test("--select", "fact_weather")
    assert statuses[WEATHER.partition(" ")[2]] == status


@pytest.mark.usefixtures("incremental")
@pytest.mark.parametrize(("month", "status"), [("2024-01-01", "pass"), ("2024-02-01", "fail"), ("2024-12-01", "fail")])
def test_tests_of_an_incremental_build_read_later_periods_where_these_are_rebuilt(
    built: Dbt, as_dbt: Callable[..., object], month: str, status: str
) -> None:
    as_dbt("alter table core.int_cohort_monthly_sales rename to kept")
    try:
        # Without its key, so that a row can be there twice.
        as_dbt("create table core.int_cohort_monthly_sales as select * from core.kept")
        as_dbt(
            """
            insert into core.int_cohort_monthly_sales (order_month, cohort_month, active_customers, revenue)
            select %s, '2024-01-01', 1, 1 from generate_series(1, 2)
            """,
            [month],
        )
        assert set(built.test("--select", "int_cohort_monthly_sales,test_type:generic").values()) == {status}
    finally:
        as_dbt("drop table core.int_cohort_monthly_sales")
        as_dbt("alter table core.kept rename to int_cohort_monthly_sales")


def test_message_of_a_test_that_cannot_run_is_kept_as_it_is(
    built: Dbt, passed: Loader, as_dbt: Callable[..., object], postgres: State
) -> None:
    name = passed.value("select current_database()")
    as_dbt("alter table core.fact_weather rename to kept")
    # Only an administrator may write code.
    with psycopg.connect(postgres.dsn(name, "postgres"), autocommit=True) as administrator:
        administrator.execute(
            r"""
            create function core.broken() returns text language plpgsql as $$
            begin
                raise exception using message = 'It''s "broken": 100 % of \\it, {{ all }} of %(it)s';
            end $$
            """
        )
    try:
        as_dbt(
            """
            create view core.fact_weather as
            select city, core.broken() as temperature_category, precipitation_category, date_key from core.kept
            """
        )
        as_dbt("insert into core.kept (city, date_key) values ('Nowhere', '2024-02-15')")
        (message,) = built.errors("--select", WEATHER.partition(" ")[2])
    finally:
        as_dbt("drop view if exists core.fact_weather")
        with psycopg.connect(postgres.dsn(name, "postgres"), autocommit=True) as administrator:
            administrator.execute("drop function core.broken")
        as_dbt("alter table core.kept rename to fact_weather")
    assert r"""It's "broken": 100 % of \\it, {{ all }} of %(it)s""" in message
    last = "select status, message from ops.check_result where subject = %s order by check_result_id desc limit 1"
    assert passed.rows(last, [WEATHER]) == [("fail", message)]


def test_dbt_tests_fail_without_a_result(evaluate, passed: Loader) -> None:
    passed.connection.execute("delete from ops.check_result where subject = %s", [WEATHER])
    assert evaluate("dbt_tests", DAY) == [("dbt tests", "fail", f"{WEATHER} has no result")]


def test_dbt_tests_fail_with_results_from_before_the_claim(evaluate, passed: Loader) -> None:
    assert evaluate("dbt_tests", DAY)[0][1] == "pass"
    # Cleared and claimed again: the models are rebuilt, and not tested yet.
    passed.connection.execute("update ops.build set claimed_at = clock_timestamp()")
    passed.connection.execute("update ops.rebuild set rebuilt_at = clock_timestamp()")
    ((_, status, message),) = evaluate("dbt_tests", DAY)
    assert status == "fail"
    assert message.count("has no result") == 5
    assert message.endswith(f"; and {len(expected_tests()) - 5} more")


@pytest.mark.parametrize(("is_published", "status"), [(True, "pass"), (False, "fail")])
def test_dbt_tests_use_the_last_published_build_where_nothing_is_built(
    evaluate, passed: Loader, is_published: bool, status: str
) -> None:
    passed.connection.execute("update ops.check_result set run_id = 'before'")
    passed.connection.execute("update ops.rebuild set run_id = 'before'")
    passed.connection.execute(
        "update ops.build set run_id = 'before', finished_at = now(), is_published = %s", [is_published]
    )
    claim(passed, "a_run")
    ((_, actual, message),) = evaluate("dbt_tests", DAY)
    assert actual == status
    assert message == (
        f"{len(expected_tests())} tests passed in the last build, of run before"
        if is_published
        else "this run has built nothing, and the last build was not published"
    )


def test_dbt_hook_records_nothing_outside_a_run(built: Dbt, loader: Loader) -> None:
    built.test("--select", "fact_weather")
    assert loader.value("select count(*) from ops.check_result") == 0


def test_expected_tests_leave_out_tests_of_excluded_models() -> None:
    without = expected_tests() - expected_tests(excluded_models={"fact_weather"})
    assert WEATHER in without
    assert "core.fact_weather relationships_fact_weather_date_key__date_key__ref_dim_date_" in without
    assert not any(test.startswith("core.fact_sales ") for test in without)


def test_dbt_tests_fail_with_a_result_of_before_the_model_was_built_again(evaluate, passed: Loader) -> None:
    """The model's task was cleared alone: its tests have not seen what it has built."""
    passed.connection.execute("update ops.rebuild set rebuilt_at = clock_timestamp()")
    ((_, status, message),) = evaluate("dbt_tests", DAY)
    assert status == "fail"
    assert f"{WEATHER} has no result" in message
    assert "dim_products" not in message
