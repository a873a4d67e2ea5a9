"""Changes of a source's columns: new ones are recorded or added by policy, missing and retyped ones fail the load."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date

import psycopg
import pytest

from ecommerce.common.errors import QuarantineOverflow, SchemaDrift
from ecommerce.common.shop import SourceLocation
from ecommerce.common.sources import SOURCES, NewColumns
from ecommerce.common.windows import Window
from ecommerce.extract.postgres_reader import PostgresReader
from tests.integration.load.events import Produce, event
from tests.integration.support import Loader

Insert = Callable[..., None]
DAY = "2024-03-01"
EVOLVING = replace(SOURCES["customer"], new_columns=NewColumns.EVOLVE)

NOTED = "select source, column_name, change, expected, found, policy, batch_id, last_batch_id from ops.schema_change"


@pytest.fixture(autouse=True)
def raw_as_it_was(loader: Loader) -> Iterator[None]:
    """What `evolve` adds to raw goes with the test."""
    yield
    loader.connection.execute("alter table raw.customer drop column if exists tier, drop column if exists score")


@pytest.mark.parametrize(
    ("change", "says", "noted"),
    [
        (
            "alter table sales_fact alter order_amount type text",
            "column order_amount is text and no longer numeric",
            [("order_amount", "retyped", "numeric", "text")],
        ),
        (
            "alter table sales_fact drop product_id, alter created_at type text",
            "column product_id (text) is missing; column created_at is text and no longer timestamp",
            [
                ("created_at", "retyped", "timestamp", "text"),
                ("product_id", "missing", "text", None),
            ],
        ),
        (
            "alter table sales_fact alter order_date type text",
            "column order_date is text and no longer date",
            [("order_date", "retyped", "date", "text")],
        ),
    ],
)
def test_missing_or_retyped_column_fails_load(
    loader: Loader, shop: psycopg.Connection, insert: Insert, change: str, says: str, noted: list[tuple]
) -> None:
    insert("sales_fact", order_id="O1", order_date=DAY, created_at=f"{DAY} 12:00", product_id="P", customer_id="C",
           order_amount=1)  # fmt: skip
    loader.load("sales_fact", DAY)
    held = loader.rows("select * from raw.sales_fact")
    shop.execute(change.encode())
    sentence = (
        "sales_fact: the table public.sales_fact at the connection 'shop_postgres' is not what was expected: "
        f"{says}. Nothing was loaded. Change the source back, or the template that gives its columns "
        "(docs/your_shop.md)"
    )
    with pytest.raises(SchemaDrift, match=f"^{re.escape(sentence)}$"):
        loader.load("sales_fact", DAY)
    assert loader.rows("select * from raw.sales_fact") == held
    ((batch_id, error),) = loader.rows("select batch_id, error from ops.load_batch where status = 'failed'")
    assert error == sentence
    assert loader.rows(f"{NOTED} order by column_name") == [
        ("sales_fact", *change, "fail", batch_id, batch_id) for change in noted
    ]


def test_missing_column_is_named_where_it_was_read(loader: Loader, shop: psycopg.Connection) -> None:
    """Also where that is not the place in the shop's profile."""
    shop.execute("create table if not exists old_sales (order_id text)")
    place = SourceLocation(source="sales_fact", connection="shop_postgres", table="public.old_sales")
    window = Window.of_days(date.fromisoformat(DAY), date.fromisoformat(DAY))
    with pytest.raises(SchemaDrift, match=r"^sales_fact: the table public\.old_sales at the connection "):
        loader.load("sales_fact", DAY, reader=PostgresReader(SOURCES["sales_fact"], place, window))


def test_new_column_is_recorded_once_and_ignored(loader: Loader, shop: psycopg.Connection, insert: Insert) -> None:
    shop.execute("alter table customer add tier varchar(10), add score numeric(5,1)")
    insert("customer", customer_id="C1", tier="gold", score=1)
    first = loader.load("customer", DAY).batch_id
    second = loader.load("customer", DAY)
    assert (second.rows_unchanged, second.rows_loaded) == (1, 0)
    assert loader.rows(f"{NOTED} order by column_name") == [
        ("customer", "score", "new", None, "numeric(5,1)", "ignore", first, second.batch_id),
        ("customer", "tier", "new", None, "character varying(10)", "ignore", first, second.batch_id),
    ]
    assert loader.value("select count(*) from information_schema.columns where column_name = 'tier'") == 0


def test_new_column_is_added_where_policy_is_evolve(loader: Loader, shop: psycopg.Connection, insert: Insert) -> None:
    insert("customer", customer_id="C1")
    loader.load(EVOLVING, DAY)
    shop.execute(
        "alter table customer add tier varchar(10), add score numeric(5,1), add settings jsonb, add _batch_id text"
    )
    shop.execute("update customer set tier = 'gold', score = 1.5")
    insert("customer", customer_id="C2", tier="iron")
    changed = loader.load(EVOLVING, DAY)
    # C1 says more than it did: a version of its own.
    assert (changed.rows_loaded, changed.rows_unchanged) == (2, 0)
    assert loader.rows("select customer_id, tier, score::text from raw.customer order by _batch_id, customer_id") == [
        ("C1", None, None),
        ("C1", "gold", "1.5"),
        ("C2", "iron", None),
    ]
    assert loader.rows("select column_name, policy from ops.schema_change order by column_name") == [
        ("_batch_id", "evolve"),
        ("score", "evolve"),
        ("settings", "evolve"),
        ("tier", "evolve"),
    ]
    assert loader.load(EVOLVING, DAY).rows_unchanged == 2
    # Gone again at the source, it is left in raw, and is no reason to fail: the registry never asked for it.
    shop.execute("alter table customer drop tier, drop score")
    assert loader.load(EVOLVING, DAY).rows_unchanged == 2


def test_added_column_that_is_retyped_fails_load(loader: Loader, shop: psycopg.Connection, insert: Insert) -> None:
    """The registry does not know it; raw does."""
    try:
        shop.execute("alter table customer add points bigint")
        insert("customer", customer_id="C1", points=7)
        loader.load(EVOLVING, DAY)
        shop.execute("alter table customer alter points type timestamp using '2024-03-01 10:00'")
        with pytest.raises(SchemaDrift, match="points is timestamp without time zone and no longer bigint"):
            loader.load(EVOLVING, DAY)
        assert loader.rows("select customer_id, points from raw.customer") == [("C1", 7)]
    finally:
        loader.connection.execute("alter table raw.customer drop column if exists points")


def test_new_message_field_is_recorded_once_and_ignored(loader: Loader, produce: Produce) -> None:
    produce(event("C1", f"{DAY}T10:00:00"), event("C2", f"{DAY}T10:00:00", device="phone"))
    first = loader.load("kafka_stream", DAY).batch_id
    produce(*(event(f"D{n}", f"{DAY}T11:00:00", device="phone", version=2) for n in range(150)))
    second = loader.load("kafka_stream", DAY)
    assert second.rows_loaded == 150
    assert loader.rows(f"{NOTED} order by column_name") == [
        ("kafka_stream", "device", "new", None, "JSON", "ignore", first, second.batch_id),
        ("kafka_stream", "version", "new", None, "JSON", "ignore", second.batch_id, second.batch_id),
    ]


def test_dry_run_adds_and_records_nothing(loader: Loader, shop: psycopg.Connection, insert: Insert) -> None:
    shop.execute("alter table customer add tier text")
    insert("customer", customer_id="C1", tier="gold")
    before = loader.everything()
    assert loader.load(EVOLVING, DAY, dry_run=True).rows_loaded == 1
    assert loader.everything() == before


SEEN = "select column_name from ops.source_column where source = 'sales_fact' order by 1"


@pytest.fixture
def order(insert: Insert) -> Insert:
    """Insert an order of the day into the shop."""
    day = {"order_date": DAY, "created_at": f"{DAY} 12:00"}
    return lambda **values: insert(
        "sales_fact", **{"order_id": "O1", "product_id": "P", "order_amount": 1, **day, **values}
    )


OPTIONAL = ("customer_id", "line_number", "order_quantity", "payment_method", "shipping_cost", "tax_amount",
            "discount_applied", "order_status")  # fmt: skip


def test_optional_columns_that_source_never_had_are_null_or_default(
    loader: Loader, shop: psycopg.Connection, order: Insert
) -> None:
    for name in OPTIONAL:
        shop.execute(f"alter table sales_fact drop {name}".encode())
    order()
    result = loader.load("sales_fact", DAY)
    assert (result.rows_loaded, result.rows_quarantined) == (1, 0)
    assert loader.rows(f"select {', '.join(OPTIONAL)} from raw.sales_fact") == [
        tuple(1 if name == "line_number" else None for name in OPTIONAL)
    ]
    assert loader.rows(SEEN) == [("created_at",), ("order_amount",), ("order_date",), ("order_id",), ("product_id",)]
    assert loader.rows(NOTED) == []
    assert loader.load("sales_fact", DAY).rows_unchanged == 1


def test_optional_column_is_loaded_from_when_source_has_it(
    loader: Loader, shop: psycopg.Connection, order: Insert
) -> None:
    shop.execute("alter table sales_fact drop tax_amount")
    order()
    loader.load("sales_fact", DAY)
    shop.execute("alter table sales_fact add tax_amount numeric(8, 2)")
    unchanged = loader.load("sales_fact", DAY)
    assert (unchanged.rows_unchanged, unchanged.days_marked) == (1, 0)
    assert loader.value(
        "select batch_id from ops.source_column where source = 'sales_fact' and column_name = 'tax_amount'"
    ) == unchanged.batch_id  # fmt: skip
    shop.execute("update sales_fact set tax_amount = 0.19")
    assert loader.load("sales_fact", DAY).rows_loaded == 1
    assert str(loader.value("select tax_amount from raw.sales_fact")) == "0.19"
    assert loader.rows(NOTED) == []


def test_optional_column_that_vanishes_fails_load_until_a_person_agrees(
    loader: Loader, shop: psycopg.Connection, order: Insert
) -> None:
    order(payment_method="card", shipping_cost=2)
    first = loader.load("sales_fact", DAY)
    shop.execute("alter table sales_fact drop payment_method, drop shipping_cost")
    agree = (
        "delete from ops.source_column where source = 'sales_fact' and column_name in "
        "('payment_method', 'shipping_cost')"
    )
    says = (
        "column payment_method (text) is missing, and earlier loads had it; column shipping_cost (numeric) is missing, "
        "and earlier loads had it. Nothing was loaded. Change the source back, or the template that gives its columns "
        "(docs/your_shop.md). If the source has dropped a column for good, and nulls are to take its "
        f"place: {agree}"
    )
    for _ in range(2):
        with pytest.raises(SchemaDrift, match=rf"{re.escape(says)}$"):
            loader.load("sales_fact", DAY)
    assert loader.rows("select payment_method, _batch_id from raw.sales_fact") == [("card", first.batch_id)]
    assert loader.rows("select column_name, change, policy from ops.schema_change order by 1") == [
        ("payment_method", "missing", "fail"),
        ("shipping_cost", "missing", "fail"),
    ]
    loader.connection.execute(agree.encode())
    assert loader.load("sales_fact", DAY).rows_loaded == 1
    assert loader.rows("select payment_method, shipping_cost from raw.sales_fact") == [(None, None)]


def test_columns_of_a_load_that_failed_are_not_seen(loader: Loader, shop: psycopg.Connection, order: Insert) -> None:
    for number in range(12):
        order(product_id=None, customer_id=str(number))
    with pytest.raises(QuarantineOverflow):
        loader.load("sales_fact", DAY)
    loader.load("sales_fact", DAY, dry_run=True, max_rejected_rows=12)
    assert loader.rows(SEEN) == []
    shop.execute("alter table sales_fact drop payment_method")
    assert loader.load("sales_fact", DAY, max_rejected_rows=12).rows_quarantined == 12


def test_unchanged_columns_are_written_once(loader: Loader, order: Insert) -> None:
    order()
    loader.load("sales_fact", DAY)
    before = loader.rows("select xmin::text, * from ops.source_column order by column_name")
    assert len(before) == len(SOURCES["sales_fact"].columns)
    loader.load("sales_fact", DAY)
    assert loader.rows("select xmin::text, * from ops.source_column order by column_name") == before
