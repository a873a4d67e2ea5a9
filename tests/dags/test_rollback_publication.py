"""A publication is taken back by its DAG, and the next run of the warehouse goes forward again."""

from datetime import timedelta

from include.demo.airflow_api import AirflowApi
from include.demo.runs import run_dag
from tests.dags.conftest import Demo


def test_a_rollback_and_forward_again(whole_range: Demo) -> None:
    demo, day = whole_range, str(whole_range.last - timedelta(days=1))
    change = (
        "update sales_fact set order_amount = order_amount + %s where order_id ="
        " (select min(order_id) from sales_fact where created_at::date = %s and order_amount > 0)"
    )
    run = ("run", "--from", day, "--to", day, "--sources", "sales_fact")
    before = demo.marts()
    demo.query(change, 1, day, database="shop")
    try:
        assert demo.command(*run).returncode == 0
        published = demo.marts()
        assert published["daily_revenue"] != before["daily_revenue"]

        api = AirflowApi(demo.state.airflow_url, "admin", demo.state.passwords["admin"])
        assert run_dag(api, "rollback_publication", {})
        assert demo.marts() == before
        assert len(demo.query("select distinct restores from marts.published where restores is not null")) == 1

        # Nothing new at the source: it is built and published all the same.
        assert demo.command(*run).returncode == 0
        assert demo.marts() == published
    finally:
        demo.query(change, -1, day, database="shop")
        outcome = demo.command(*run)
    assert outcome.returncode == 0, outcome.stderr
    assert demo.marts() == before
