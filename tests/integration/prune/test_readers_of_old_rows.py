"""
A warehouse whose rows of ops are all old is pruned, and whatever reads them finds what it found before.

Loads, a rollback, the erasure's list, the calendar, and above all a full refresh: it gives the same rows.
"""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from ecommerce.common.connections import PUBLISHER, warehouse
from ecommerce.common.errors import SourceError
from ecommerce.common.sources import SOURCES
from ecommerce.load.offsets import StoredOffsets
from ecommerce.prune import prune_warehouse
from ecommerce.prune.prune_warehouse import PruneWarehouse
from ecommerce.prune.retention_file import read_retention
from ecommerce.publish.kept_publications import KEPT_QUERY
from ecommerce.publish.rollback import roll_back
from shop_pages import status
from tests.integration.dbt_runs import Dbt
from tests.integration.published_shop import connection, dbt, loader, publish_run
from tests.integration.shop_pages.conftest import AS_OF, DAY_BEFORE, FIRST_LOADED, event_columns, events, orders
from tests.integration.support import Loader

__all__ = ["connection", "dbt", "loader"]

#: So many days are added to the age of each row of ops.
AGE = 1000


def _load_again(loader: Loader) -> None:
    """Loads that change nothing: the warehouse has these rows."""
    loader.load(
        "sales_fact", FIRST_LOADED, AS_OF, rows=[*orders(), {**orders()[0], "order_id": "BAD", "order_amount": "-1"}]
    )
    loader.load("kafka_stream", DAY_BEFORE, AS_OF, rows=events(), columns=event_columns(), lineage=())


def _grow_old(connection: psycopg.Connection) -> None:
    for table, columns in connection.execute(
        """
        select relname::text, array_agg(attname::text)
        from pg_attribute
        inner join pg_class on pg_class.oid = attrelid
        where
            relnamespace = 'ops'::regnamespace
            and relkind = 'r'
            and atttypid = 'timestamptz'::regtype
            and attnum > 0
            and not attisdropped
        group by relname
        """
    ).fetchall():
        changes = sql.SQL(", ").join(
            sql.SQL("{0} = {0} - interval '1 day' * {1}").format(sql.Identifier(column), AGE) for column in columns
        )
        connection.execute(sql.SQL("update ops.{} set {}").format(sql.Identifier(table), changes))


def _seen(connection: psycopg.Connection) -> dict[str, Any]:
    """What features read of ops, and all of raw."""
    loader = Loader(connection)
    with connection.cursor(row_factory=dict_row) as cursor:
        # A cell's batch is the last one of the day; the same source, day and state.
        calendar = cursor.execute(status.CALENDAR.encode(), {"first": FIRST_LOADED, "last": AS_OF}).fetchall()
        checks = cursor.execute(status.CHECKS.encode()).fetchall()
    everything = loader.everything()
    untouched = {
        name: rows
        for name, rows in everything.items()
        # Messages are packed: all of them are looked at below.
        if (name.startswith("raw.") and not name.startswith("raw.kafka_stream"))
        or name.removeprefix("ops.") in ("erasure", "erased_value", "erasure_salt", "kafka_offset", "loaded_day",
                                         "publication_delta", "published_mart", "build", "review", "dirty_date")
    }  # fmt: skip
    return untouched | {
        "messages": loader.rows("select * from raw.kafka_stream_all order by _partition, _offset"),
        "calendar": calendar,
        "checks": checks,
        "source_status": loader.rows("select * from ops.source_status order by source"),
        "as_of": loader.rows("select * from ops.as_of"),
        "publications": loader.rows(KEPT_QUERY),
        "offsets": StoredOffsets(connection, SOURCES["kafka_stream"]).of("customer_interactions"),
        "waiting": loader.rows("select * from ops.quarantine where replayed_at is null order by quarantine_id"),
    }


def _prune(run_id: str) -> dict[str, int]:
    """Rows that are gone by place; messages are packed, too."""
    context: Any = {"params": {"dry_run": False}, "dag_run": SimpleNamespace(dag_id="d", run_id=run_id)}
    return {one["place"]: one["deleted"] for one in PruneWarehouse(task_id="prune").execute(context)}


@pytest.fixture(scope="module")
def seen(
    connection: psycopg.Connection, loader: Loader, dbt: Dbt, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What was seen before a warehouse with a history was pruned; afterwards the tests see the pruned one."""
    _load_again(loader)
    with pytest.raises(SourceError):
        loader.load("sales_fact", DAY_BEFORE, AS_OF, reader=_Broken())
    # A message that was rejected, and is good now: the quarantine has a row that nothing reads any more.
    connection.execute(
        """
        insert into ops.quarantine (batch_id, source, reason, payload, quarantined_at, replayed_at)
        select max(batch_id), 'sales_fact', 'r', '{}', now(), now() from ops.load_batch where rows_loaded > 0
        """
    )
    connection.execute("update marts_build.daily_revenue set daily_orders = daily_orders + 1")
    publish_run(connection, "second")
    for number in range(20):
        _load_again(loader)
        connection.execute(
            "insert into ops.check_result (checked_at, run_id, check_name, subject, status, message)"
            " select clock_timestamp(), 'gone', 'volume', 'raw.refund', 'pass', '' from generate_series(1, 2)"
        )
        if number % 10 == 9:
            publish_run(connection, f"run {number}")
    connection.execute("update marts_build.daily_revenue set daily_orders = daily_orders - 1")
    publish_run(connection, "last")
    _grow_old(connection)
    before = _seen(connection)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prune_warehouse, "add_note", lambda context, text: None)
        retention = read_retention()
        told = replace(retention, days={**retention.days, "raw.kafka_stream": 400})
        patch.setattr(prune_warehouse, "read_retention", lambda: told)
        patch.setattr(prune_warehouse, "conf", SimpleNamespace(get=lambda *_: str(tmp_path_factory.mktemp("logs"))))
        gone = _prune("a_prune")
    return {"before": before, "gone": gone}


class _Broken:
    """A reader whose source does not answer."""

    columns: tuple[str, ...] = ()
    topics: tuple[()] = ()

    def read(self, resume: Any) -> Any:
        raise SourceError("no answer")


def test_rows_were_old_enough_to_go(seen: dict[str, Any]) -> None:
    assert seen["gone"]["ops.load_batch"] >= 40
    assert seen["gone"]["ops.check_result"] == 20
    assert seen["gone"]["ops.quarantine"] == 1
    assert seen["gone"]["raw.kafka_stream"] == len(events())


def test_readers_find_what_they_found_before(connection: psycopg.Connection, seen: dict[str, Any]) -> None:
    after = _seen(connection)
    for what, found in seen["before"].items():
        assert after[what] == found, what


def test_source_read_again_changes_nothing(loader: Loader, seen: dict[str, Any]) -> None:
    offsets = StoredOffsets(loader.connection, SOURCES["kafka_stream"])
    raw = {name: rows for name, rows in loader.everything().items() if name.startswith("raw.")}
    assert raw["raw.kafka_stream"] == []
    waiting = loader.value("select count(*) from ops.quarantine")
    assert offsets._has_all("customer_interactions", 0, 0, len(events()))
    _load_again(loader)
    assert {name: rows for name, rows in loader.everything().items() if name.startswith("raw.")} == raw
    # The rejected row is known.
    assert loader.value("select count(*) from ops.quarantine") == waiting


def test_full_refresh_gives_the_same_rows(loader: Loader, dbt: Dbt, seen: dict[str, Any]) -> None:
    tables = [model for model in dbt.tables if model.schema in ("core", "marts_build")]

    def content() -> dict[str, list[tuple]]:
        return {str(table): loader.rows(f"select t::text from {table} as t order by 1") for table in tables}

    before = content()
    assert sum(map(len, before.values())) > 100
    dbt.run("--full-refresh")
    after = content()
    for table in before:
        assert before[table] == after[table], table


def test_publication_can_still_be_taken_back(
    connection: psycopg.Connection, loader: Loader, seen: dict[str, Any]
) -> None:
    orders_of_mart = "select sum(daily_orders) from marts.daily_revenue"
    now = loader.value(orders_of_mart)
    with warehouse(PUBLISHER) as publisher:
        assert roll_back(publisher, "rollback_publication", "a_rollback")
    assert loader.value(orders_of_mart) == now + loader.value("select count(*) from marts.daily_revenue")
