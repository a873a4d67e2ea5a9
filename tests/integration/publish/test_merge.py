"""Merging a built mart into the published one: both are equal afterwards, whatever has changed before."""

import logging
import random
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal

import psycopg
import pytest

from ecommerce.build import lease
from ecommerce.common.errors import RollbackError
from ecommerce.publish.marts import checksum
from ecommerce.publish.merge import MartChange
from ecommerce.publish.publication import publish
from ecommerce.publish.rollback import roll_back
from tests.integration.support import Loader, checks_passed

COLUMNS = "id int not null, part text, value numeric(18, 2)"
RULE = "unique nulls not distinct (id, part)"


@pytest.fixture
def mart(loader: Loader) -> Iterator[Loader]:
    """`marts_build.figures` with a hundred rows, published."""
    loader.connection.execute("drop table if exists marts_build.figures, marts.figures cascade")
    make(loader)
    republish(loader)
    yield loader
    loader.connection.execute("drop table marts_build.figures, marts.figures cascade")


def make(loader: Loader) -> None:
    """Create the built table anew, as dbt does for a model that is not incremental."""
    loader.connection.execute("drop table if exists marts_build.figures")
    loader.connection.execute(f"create table marts_build.figures ({COLUMNS}, {RULE})".encode())
    loader.connection.execute("insert into marts_build.figures select n, null, n from generate_series(1, 100) as n")


def republish(loader: Loader) -> MartChange:
    lease.take(loader.connection, "a_dag", "a_run", project="p", full_refresh=False)
    with checks_passed(loader.connection, "a_run"):
        (done,) = publish(loader.connection, "a_run")
    return done


def assert_equal(loader: Loader) -> None:
    for one, other in (("marts", "marts_build"), ("marts_build", "marts")):
        query = f"select count(*) from (table {one}.figures except table {other}.figures) as differs"
        assert loader.value(query) == 0, f"rows of {one} are not in {other}"
    recorded = loader.value("select checksum from ops.publication order by publication_id desc limit 1")
    assert recorded == Decimal(checksum(loader.connection, "figures", ["id", "part", "value"]))


CHANGES = {
    "a row changed": "update marts_build.figures set value = value + 1 where id = 7",
    "a row gone": "delete from marts_build.figures where id = 8",
    "a row more": "insert into marts_build.figures values (101, 'new', 1)",
    "a key moved": "update marts_build.figures set id = 102 where id = 9",
    "one gone, another more": "delete from marts_build.figures where id = 10;"
    " insert into marts_build.figures values (103, null, 1)",
    "written again as it was": "update marts_build.figures set value = value where id between 20 and 30",
    "a null": "update marts_build.figures set value = null where id = 11",
    "all gone": "delete from marts_build.figures",
    "rewritten in place": "truncate marts_build.figures;"
    " insert into marts_build.figures select n, null, n * 2 from generate_series(1, 90) as n",
    "moved in its file": "vacuum full marts_build.figures",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_merge_publishes_any_change_of_the_built_table(mart: Loader, change: str) -> None:
    for statement in change.split(";"):
        mart.connection.execute(statement.encode())
    republish(mart)
    assert_equal(mart)
    assert republish(mart).total == 0


def test_mart_gets_the_indexes_that_its_model_got_later(mart: Loader) -> None:
    mart.connection.execute("create index on marts_build.figures (part, value)")
    mart.connection.execute("create index of_a_reader on marts.figures (value)")
    for _ in range(2):
        republish(mart)
        indexes = mart.connection.execute(
            "select indexdef from pg_indexes where tablename = 'figures' and schemaname = 'marts'"
        )
        assert sorted(row[0].split("btree ")[1] for row in indexes) == [
            "(id, part) NULLS NOT DISTINCT",
            "(part, value)",
            "(value)",
        ]


def test_merge_compares_only_rows_built_since(mart: Loader) -> None:
    """Measured by the index scans that Postgres counts: one for each row of `marts` that is looked up by its key."""
    read = "select idx_scan from pg_stat_user_tables where schemaname = 'marts' and relname = 'figures'"
    mart.connection.execute("drop table marts_build.figures; drop table marts.figures; delete from ops.published_mart")
    mart.connection.execute(
        "create table marts_build.figures (id int primary key, part text, value numeric(18, 2));"
        " insert into marts_build.figures select n, null, n from generate_series(1, 20000) as n"
    )
    republish(mart)
    mart.connection.execute("analyze marts.figures; update marts_build.figures set value = 0 where id in (1, 2, 3)")
    mart.connection.execute("select pg_stat_force_next_flush()")
    before = mart.value(read)
    assert republish(mart) == MartChange("figures", 0, 3, 0)
    mart.connection.execute("select pg_stat_force_next_flush()")
    assert mart.value(read) == before + 3
    assert_equal(mart)


TAMPERINGS = {
    "a row changed": "update marts.figures set value = -1 where id = 50",
    "a row gone": "delete from marts.figures where id = 50",
    "a row more": "insert into marts.figures values (500, null, 1)",
    "one for another": "delete from marts.figures where id = 50; insert into marts.figures values (500, null, 1)",
}


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
def test_merge_compares_every_row_after_a_change_by_hand(
    mart: Loader, tampering: str, caplog: pytest.LogCaptureFixture
) -> None:
    for statement in tampering.split(";"):
        mart.connection.execute(statement.encode())
    with caplog.at_level(logging.WARNING):
        assert republish(mart).total
    assert "changed by something besides publications" in caplog.text
    assert_equal(mart)


def test_merge_compares_every_row_after_a_rollback(mart: Loader, caplog: pytest.LogCaptureFixture) -> None:
    mart.connection.execute("update marts_build.figures set value = 0 where id < 5")
    republish(mart)
    assert roll_back(mart.connection, "a_dag", "back") == [MartChange("figures", 0, 4, 0)]
    checksums = mart.rows("select checksum from ops.publication order by publication_id")
    assert checksums[2] == checksums[0] != checksums[1]
    with caplog.at_level(logging.WARNING):
        assert republish(mart) == MartChange("figures", 0, 4, 0)
    assert "something besides publications" not in caplog.text, "a rollback is a publication"
    assert_equal(mart)


def test_merge_publishes_rows_committed_after_the_last_publication(
    mart: Loader, other_connection: psycopg.Connection
) -> None:
    other_connection.autocommit = False
    other_connection.execute("update marts_build.figures set value = 77 where id = 60")
    mart.connection.execute("update marts_build.figures set value = 0 where id = 61")
    assert republish(mart) == MartChange("figures", 0, 1, 0)
    other_connection.commit()
    assert republish(mart) == MartChange("figures", 0, 1, 0)
    assert_equal(mart)


@pytest.mark.parametrize("seed", range(8))
def test_merge_equals_the_build_after_any_history(mart: Loader, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(15):
        step = chance.choice([*CHANGES, *(f"by hand: {name}" for name in TAMPERINGS), "made anew", "back", "failed"])
        if step == "made anew":
            make(mart)
        elif step == "back":
            known = mart.value("select count(distinct publication_id) from ops.publication")
            if known > 1:
                # A change by hand cannot be rolled back; the next publication corrects it.
                with suppress(RollbackError):
                    roll_back(mart.connection, "a_dag", "back")
        elif step == "failed":
            with mart.connection.transaction(force_rollback=True):
                republish(mart)
        else:
            name = step.removeprefix("by hand: ")
            for statement in (TAMPERINGS if step.startswith("by hand") else CHANGES)[name].split(";"):
                with suppress(psycopg.errors.UniqueViolation):
                    mart.connection.execute(statement.encode())
        if chance.random() < 0.7:
            republish(mart)
            assert_equal(mart)
    republish(mart)
    assert_equal(mart)
