"""A warehouse from before there were order lines and refunds: what it holds stays, and loads go on without a change."""

from collections.abc import Callable
from datetime import date, datetime

import psycopg
import pytest

from ecommerce.build import lease
from ecommerce.common.connections import LOADER, PUBLISHER, warehouse
from ecommerce.common.errors import SchemaDrift
from ecommerce.load.quarantine import GONE
from tests.integration.support import Loader, acting_as

DAY = "2024-03-01"

#: The tables of `ops` as they were.
OPS_BEFORE = """
drop table ops.source_column;
drop index ops.quarantine_waiting;
create index quarantine_payload on ops.quarantine (source, md5(payload::text));
"""

#: `raw.sales_fact` as it was, without the tables that came later, and what the loads of that time left.
BEFORE = f"""
drop table raw.sales_fact, raw.refund;
create table raw.sales_fact (
    order_id text primary key,
    product_id text not null,
    customer_id text not null,
    order_date date not null,
    order_amount numeric not null,
    order_quantity integer,
    payment_method text,
    discount_applied numeric,
    shipping_cost numeric,
    created_at timestamp not null,
    _batch_id bigint not null,
    _loaded_at timestamptz not null
);
create index sales_fact_days on raw.sales_fact
using brin (created_at, order_date date_minmax_multi_ops (values_per_range = 64))
with (pages_per_range = 32, autosummarize = on);

with batch as (
    insert into ops.load_batch (source, window_start, window_end, status, rows_read, rows_loaded, rows_quarantined,
        started_at, finished_at)
    values ('sales_fact', '{DAY}', '2024-03-02', 'loaded', 4, 3, 1, now(), now()),
        ('product', '{DAY}', '2024-03-02', 'failed', 0, 0, 0, now(), now())
    returning batch_id, source
),
orders as (
    insert into raw.sales_fact
    select 'O' || n, 'P1', 'C1', '{DAY}', n, null, 'card', 0.10, null, '{DAY} 12:00', batch_id, now()
    from batch
    cross join generate_series(1, 3) as n
    where source = 'sales_fact'
)
insert into ops.quarantine (batch_id, source, reason, payload, quarantined_at)
select
    batch_id,
    source,
    'order_amount is negative: -1',
    jsonb_build_object(
        'order_id', 'O4', 'product_id', 'P1', 'customer_id', 'C1', 'order_date', '{DAY}', 'order_amount', '-1',
        'order_quantity', null, 'payment_method', 'card', 'discount_applied', '0.10', 'shipping_cost', null,
        'created_at', '{DAY} 12:00:00'
    ),
    now()
from batch
where source = 'sales_fact';
"""


def forget_applied(loader: Loader, *schemas: str) -> None:
    """Let the warehouse be one from before migrations had numbers."""
    for schema in schemas:
        with acting_as(loader.connection, "loader" if schema == "raw" else "publisher"):
            loader.connection.execute(f"comment on schema {schema} is 'include/sql of before'".encode())
    with acting_as(loader.connection, "publisher"):
        loader.connection.execute("delete from ops.migration where split_part(name, '_', 2) = any(%s)", [list(schemas)])


def upgrade() -> None:
    """Connecting is enough."""
    with warehouse(LOADER):
        pass


@pytest.fixture
def upgraded(loader: Loader) -> Loader:
    """The warehouse of before, after the scripts of now."""
    with acting_as(loader.connection, "publisher"):
        loader.connection.execute(OPS_BEFORE.encode())
    with acting_as(loader.connection, "loader"):
        loader.connection.execute(BEFORE.encode())
    forget_applied(loader, "ops", "raw")
    upgrade()
    return loader


@pytest.fixture
def shop(shop: psycopg.Connection) -> psycopg.Connection:
    """The shop as it was: no line numbers, no refunds, the four orders."""
    shop.execute("alter table sales_fact drop line_number, drop tax_amount, drop order_status; drop table refund")
    shop.execute(
        """
        insert into sales_fact (
            order_id, product_id, customer_id, order_date, order_amount, payment_method, discount_applied, created_at
        )
        select 'O' || n, 'P1', 'C1', %(day)s, case n when 4 then -1 else n end, 'card', 0.10, %(created)s
        from generate_series(1, 4) as n
        """,
        {"day": date.fromisoformat(DAY), "created": datetime.fromisoformat(f"{DAY} 12:00")},
    )
    return shop


def test_each_order_of_before_is_its_line_1(upgraded: Loader) -> None:
    query = """
        select order_id, line_number, customer_id, order_amount, tax_amount, order_status
        from raw.sales_fact
        order by 1
    """
    assert upgraded.rows(query) == [(f"O{n}", 1, "C1", n, None, None) for n in (1, 2, 3)]
    upgraded.connection.execute("insert into raw.sales_fact select * from raw.sales_fact where false")
    with pytest.raises(psycopg.errors.NotNullViolation, match="line_number"):
        upgraded.connection.execute(
            "insert into raw.sales_fact (order_id, product_id, order_date, order_amount, created_at, _batch_id,"
            " _loaded_at) values ('O5', 'P1', now(), 1, now(), 0, now())"
        )
    assert upgraded.value("select count(*) from raw.refund") == 0


def test_load_after_the_upgrade_changes_nothing(upgraded: Loader, shop: psycopg.Connection) -> None:
    before = {name: rows for name, rows in upgraded.everything().items() if name != "ops.load_batch"}
    result = upgraded.load("sales_fact", DAY)
    assert (result.rows_read, result.rows_unchanged, result.rows_removed, result.days_marked) == (4, 4, 0, 0)
    # The rejected row is the same one, though the registry has columns that its payload has not.
    assert {name: rows for name, rows in upgraded.everything().items() if name != "ops.load_batch"} == before


def test_rejected_row_of_before_is_replayed_as_line_1(upgraded: Loader, shop: psycopg.Connection) -> None:
    shop.execute("update sales_fact set order_amount = 4 where order_id = 'O4'")
    assert upgraded.load("sales_fact", DAY).rows_replayed == 1
    assert upgraded.rows("select line_number, order_amount from raw.sales_fact where order_id = 'O4'") == [(1, 4)]
    assert upgraded.value("select count(*) from ops.quarantine where starts_with(reason, %s)", [GONE]) == 0


def test_second_line_is_added_to_an_order_of_before(
    upgraded: Loader, shop: psycopg.Connection, insert: Callable[..., None]
) -> None:
    shop.execute("alter table sales_fact add line_number integer")
    insert("sales_fact", order_id="O1", line_number=2, product_id="P2", order_date=DAY, order_amount=9,
           payment_method="card", created_at=f"{DAY} 13:00")  # fmt: skip
    result = upgraded.load("sales_fact", DAY)
    assert (result.rows_loaded, result.rows_unchanged) == (1, 4)


def test_columns_of_before_count_as_seen(upgraded: Loader, shop: psycopg.Connection) -> None:
    seen = upgraded.rows("select source, column_name from ops.source_column order by 2")
    assert seen == [
        ("sales_fact", name)
        for name in (
            "created_at", "customer_id", "discount_applied", "order_amount", "order_date", "order_id",
            "order_quantity", "payment_method", "product_id", "shipping_cost",
        )
    ]  # fmt: skip
    shop.execute("alter table sales_fact drop payment_method")
    with pytest.raises(SchemaDrift, match="payment_method"):
        upgraded.load("sales_fact", DAY)


#: Versions as they were written before: batch → change date, when it was read, from when on it was valid.
VERSIONS_OF_BEFORE: dict[str, list[tuple[str | None, str, str]]] = {
    # A typo of the year, its correction, and a later change.
    "future": [
        ("2024-01-01", "2024-02-01 10:00", "2024-01-01"),
        ("2054-03-01", "2024-03-02 10:00", "2054-03-01"),
        ("2024-03-01", "2024-03-03 10:00", "2054-03-01"),
        ("2024-04-01", "2024-04-02 10:00", "2054-03-01"),
    ],
    # A change with an untouched date, a deletion, and a return with that date.
    "untouched": [
        ("2024-01-01", "2024-02-01 10:00", "2024-01-01"),
        ("2024-01-01", "2024-02-02 10:00", "2024-01-01"),
        (None, "2024-02-03 10:00", "2024-02-03 10:00"),
        ("2024-01-01", "2024-02-04 10:00", "2024-02-03 10:00"),
        ("2024-02-05", "2024-02-06 10:00", "2024-02-05"),
    ],
    # As the loader writes them now.
    "good": [
        ("2024-01-01", "2024-02-01 10:00", "2024-01-01"),
        (None, "2024-02-02 10:00", "2024-02-02 10:00"),
        ("2024-01-02", "2024-02-03 10:00", "2024-02-02 10:00"),
    ],
}


def test_change_times_of_before_are_repaired_once(loader: Loader) -> None:
    """No version is valid from after its read, or reaches back without a later change date than before."""
    for product, read in VERSIONS_OF_BEFORE.items():
        for batch, (last_updated, loaded_at, valid_from) in enumerate(read, start=1):
            loader.connection.execute(
                """
                insert into raw.product_category (
                    product_id, category_id, last_updated, _valid_from, _is_deleted, _batch_id, _loaded_at
                )
                values (%s, 'K', %s, %s::timestamp at time zone 'UTC', %s, %s, %s::timestamp at time zone 'UTC')
                """,
                [product, last_updated, valid_from, product == "untouched" and last_updated is None, batch, loaded_at],
            )
    loader.connection.execute(
        """
        insert into ops.build (run_id, dag_id, is_full_refresh, project_digest, claimed_at, finished_at, is_published)
        values ('before', 'a_dag', false, 'p', now(), now(), true)
        """
    )
    query = """
        select product_id, to_char(_valid_from at time zone 'UTC', 'MM-DD HH24') from raw.product_category
        order by product_id desc, _batch_id
    """
    repaired = [
        *(("untouched", time) for time in ("01-01 00", "02-02 10", "02-03 10", "02-04 10", "02-05 00")),
        *(("good", time) for time in ("01-01 00", "02-02 10", "02-02 10")),
        *(("future", time) for time in ("01-01 00", "03-02 10", "03-03 10", "04-01 00")),
    ]
    for _ in range(2):
        forget_applied(loader, "raw")
        upgrade()
        assert loader.rows(query) == repaired
    claim = lease.take(loader.connection, "a_dag", "next", project="p", full_refresh=False)
    assert claim is not None
    assert claim.is_full_refresh


def test_rows_of_before_count_as_loaded(loader: Loader) -> None:
    rows = [
        {
            "order_id": f"O{n}",
            "product_id": "P",
            "order_date": DAY,
            "order_amount": "1",
            "created_at": f"2024-03-0{n} 10:00",
        }
        for n in (1, 2)
    ]
    loader.load("sales_fact", DAY, "2024-03-02", rows=rows)
    query = "select day::text, rows from ops.loaded_day where source = 'sales_fact' order by 1"
    noted = loader.rows(query)
    assert noted == [("2024-03-01", 1), ("2024-03-02", 1)]
    with acting_as(loader.connection, "publisher"):
        loader.connection.execute("drop table ops.loaded_day")
    forget_applied(loader, "ops", "raw")
    upgrade()
    assert loader.rows(query) == noted
    # Applied again, the scripts do not take what was lost meanwhile for what was loaded.
    with acting_as(loader.connection, "loader"):
        loader.connection.execute("delete from raw.sales_fact")
    forget_applied(loader, "raw")
    upgrade()
    assert loader.rows(query) == noted


def test_keys_of_version_logs_of_before_are_trimmed(
    loader: Loader, shop: psycopg.Connection, insert: Callable[..., None]
) -> None:
    """And the ledger, by which raw is counted, has as many rows of each load as raw."""
    for product in ("P1\t", "\u00a0P2", "P3", "P4"):
        insert("product", product_id=product, product_name="Cup")
    loader.load("product", DAY)
    shop.execute("delete from product where product_id = 'P4'")
    loader.load("product", DAY)
    with acting_as(loader.connection, "loader"):
        loader.connection.execute(
            """
            update raw.product set product_id = product_id || E'\t' where product_id in ('P1', 'P2');
            -- In one batch two spellings of one key, and in the next one two of a key that is gone.
            with spelled as (
                insert into raw.product
                select
                    case product_id when 'P4' then E'P4\t' else 'P2' end, product_name, product_category_id,
                    _valid_from, _is_deleted, _batch_id, _loaded_at
                from raw.product
                where product_id in (E'P2\t', 'P4')
                returning _batch_id, _is_deleted
            )
            update ops.load_batch
            set
                rows_read = rows_read + loaded.rows,
                rows_loaded = rows_loaded + loaded.rows,
                rows_removed = rows_removed + loaded.tombstones
            from (
                select
                    _batch_id,
                    count(*) filter (where not _is_deleted) as rows,
                    count(*) filter (where _is_deleted) as tombstones
                from spelled
                group by _batch_id
            ) as loaded
            where batch_id = _batch_id
            """
        )
    forget_applied(loader, "raw")
    counts = """
        select
            rows_loaded + rows_removed,
            (select count(*) from raw.product where _batch_id = batch_id)
        from ops.load_batch
        order by batch_id
    """
    assert loader.rows(counts) == [(6, 6), (2, 2)]
    upgrade()
    assert loader.rows(counts) == [(4, 4), (1, 1)]
    assert loader.rows("select distinct product_id from raw.product order by 1") == [
        ("P1",), ("P2",), ("P3",), ("P4",),
    ]  # fmt: skip
    again = loader.load("product", DAY)
    assert (again.rows_unchanged, again.rows_loaded, again.rows_removed) == (3, 0, 0)


def test_published_rank_of_before_may_become_null(loader: Loader) -> None:
    with acting_as(loader.connection, "publisher"):
        loader.connection.execute(
            """
            create table marts.product_performance_monthly (product_id text, category_rank bigint not null);
            insert into marts.product_performance_monthly values ('P1', 1)
            """
        )
    forget_applied(loader, "marts")
    with warehouse(PUBLISHER) as publisher:
        publisher.execute("insert into marts.product_performance_monthly values ('P2', null)")
    assert loader.rows("select * from marts.product_performance_monthly order by 1") == [("P1", 1), ("P2", None)]


def test_published_correlations_of_before_are_dropped(loader: Loader) -> None:
    with acting_as(loader.connection, "publisher"):
        loader.connection.execute(
            """
            create table marts.weather_sales_impact (
                city text,
                correlation_temperature_revenue numeric,
                correlation_precipitation_revenue numeric,
                days bigint
            );
            insert into marts.weather_sales_impact values ('Bonn', 0.37, 0.1, 9);
            """
        )
        loader.connection.execute("create view marts.of_mine as select * from marts.weather_sales_impact")
    forget_applied(loader, "marts")
    # A view on them keeps them, and the other scripts are applied all the same.
    with warehouse(PUBLISHER):
        assert len(loader.rows("select * from marts.weather_sales_impact")[0]) == 4
    with acting_as(loader.connection, "publisher"):
        loader.connection.execute("drop view marts.of_mine")
    forget_applied(loader, "marts")
    with warehouse(PUBLISHER):
        assert loader.rows("select * from marts.weather_sales_impact") == [("Bonn", 9)]
    loader.connection.execute("drop table marts.weather_sales_impact")


def test_scripts_may_be_applied_again(upgraded: Loader, shop: psycopg.Connection) -> None:
    upgraded.load("sales_fact", DAY)
    before = upgraded.everything()
    forget_applied(upgraded, "ops", "raw")
    upgrade()
    # Only what was applied when is new.
    after = upgraded.everything()
    assert {**after, "ops.migration": []} == {**before, "ops.migration": []}
