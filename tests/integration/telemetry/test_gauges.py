"""The gauges have the figures of the ledgers."""

import psycopg
import pytest

from ecommerce.build.dag_files import WAREHOUSE_DAG
from ecommerce.common.sources import SOURCES
from ecommerce.load.batches import RunIdentity
from ecommerce.telemetry.emit_metrics import EmitMetrics
from ecommerce.telemetry.gauges import Gauge, read_gauges
from tests.integration.support import Loader

DAY = "2024-03-01"
RUN = RunIdentity(WAREHOUSE_DAG, "the run")


def order(order_id: str, amount: str) -> dict[str, str | None]:
    return {
        "order_id": order_id,
        "product_id": "P1",
        "order_date": DAY,
        "order_amount": amount,
        "created_at": f"{DAY} 10:00:00",
    }


def by_name(gauges: list[Gauge]) -> dict[str, dict[str | None, float]]:
    found: dict[str, dict[str | None, float]] = {}
    for gauge in gauges:
        found.setdefault(gauge.name.removeprefix("ecommerce."), {})[gauge.of] = gauge.value
    return found


def test_new_warehouse_has_only_the_time_of_measuring(connection: psycopg.Connection) -> None:
    assert list(by_name(read_gauges(connection, list(SOURCES)))) == ["measured_at"]


def test_sources_have_rows_of_their_last_load_and_lag_since_their_last_day(
    connection: psycopg.Connection, loader: Loader
) -> None:
    loader.load("sales_fact", DAY, rows=[order("O1", "5"), order("O2", "6"), order("O3", "-1")], run=RUN)
    loader.load("sales_fact", DAY, rows=[order("O1", "5"), order("O2", "7"), order("O3", "-1")])
    loader.load("product", DAY, rows=[{"product_id": "P1", "product_name": "One"}], run=RUN)
    connection.execute(
        """
        insert into ops.load_batch (source, window_start, window_end, status, started_at, finished_at)
        values ('product', '2024-03-02', '2024-03-03', 'failed', now(), now())
        """
    )
    found = by_name(read_gauges(connection, ["sales_fact", "product"]))
    assert found["rows_read"] == {"sales_fact": 3, "product": 1}
    assert found["rows_loaded"] == {"sales_fact": 1, "product": 1}
    # The rejected row is in quarantine since the load before.
    assert found["rows_quarantined"] == {"sales_fact": 0, "product": 0}
    assert found["rows_rejected"] == {"sales_fact": 1, "product": 0}
    assert found["rows_waiting"] == {"sales_fact": 1, "product": 0}
    assert found["source_failed"] == {"sales_fact": 0, "product": 1}
    since = loader.value("select extract(epoch from now() - timestamptz '2024-03-02 00:00Z')::float8")
    assert found["source_lag_seconds"] == pytest.approx({"sales_fact": since, "product": since}, abs=60)
    assert found["measured_at"][None] == pytest.approx(loader.value("select extract(epoch from now())::float8"), abs=60)
    # One that the shop does not have (any more) has no gauge.
    assert set(by_name(read_gauges(connection, ["product"]))["rows_read"]) == {"product"}


def test_day_that_has_not_ended_has_no_lag(connection: psycopg.Connection, loader: Loader) -> None:
    today = str(loader.value("select ops.shop_day(now())"))
    loader.load("product", today, rows=[{"product_id": "P1", "product_name": "One"}])
    assert by_name(read_gauges(connection, ["product"]))["source_lag_seconds"] == {"product": 0}


def test_run_has_seconds_by_step_and_its_checks_by_their_last_results(connection: psycopg.Connection) -> None:
    connection.execute(
        """
        insert into ops.load_batch (source, window_start, window_end, status, started_at, finished_at, dag_id, run_id)
        select 'product', '2024-03-01', '2024-03-02', 'loaded', now() - interval '2 hours' + begins * interval '1 s',
            now() - interval '2 hours' + ends * interval '1 s', dag_id, 'the run'
        -- The other DAG has a run of the same name.
        from (values (0, 4, 'ecommerce_warehouse'), (2, 10, 'ecommerce_warehouse'), (-900, 900, 'extract_product'))
            as load (begins, ends, dag_id);

        insert into ops.build (run_id, dag_id, is_full_refresh, project_digest, claimed_at, finished_at, is_published)
        values ('the run', 'ecommerce_warehouse', false, '', now() - interval '2 hours' + interval '12 s', now(), true);

        insert into ops.rebuild (run_id, model, period, sources, rows_inserted, rebuilt_at)
        values ('the run', 'daily_revenue', 'all', '{}', 1, now() - interval '2 hours' + interval '42 s');

        insert into ops.check_result (checked_at, run_id, check_name, subject, status, message)
        select now() - interval '2 hours' + after * interval '1 s', run_id, check_name, 'x', status, ''
        from (values
            (20, 'the run', 'volume', 'fail'), (47, 'the run', 'volume', 'warn'), (45, 'the run', 'freshness', 'pass'),
            (46, 'the run', 'amount', 'pass'), (48, 'another run', 'amount', 'fail')
        ) as result (after, run_id, check_name, status);

        insert into ops.publication
            (publication_id, run_id, mart, rows_inserted, rows_updated, rows_deleted, published_at, restores)
        values
            (1, 'the run', 'daily_revenue', 1, 0, 0, now() - interval '2 hours' + interval '50 s', null),
            -- A rollback is a publication, too, but no run of the warehouse.
            (2, 'a rollback', 'daily_revenue', 0, 0, 1, now() - interval '1 hour', 1);
        """
    )
    found = by_name(read_gauges(connection, []))
    assert found["run_seconds"] == {"extract": 10, "claim": 2, "build": 30, "quality": 5, "publish": 3}
    assert found["checks"] == {"pass": 2, "warn": 1, "fail": 0}
    assert found["publication_age_seconds"][None] == pytest.approx(3600, abs=60)


def test_task_sends_what_it_measures(
    connection: psycopg.Connection, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Gauge] = []
    monkeypatch.setattr("ecommerce.telemetry.emit_metrics.send", sent.extend)
    loader.load("product", DAY, rows=[{"product_id": "P1", "product_name": "One"}])
    assert EmitMetrics(task_id="emit").execute({}) == len(sent) == 8
    assert Gauge("ecommerce.rows_read", 1, "product") in sent
