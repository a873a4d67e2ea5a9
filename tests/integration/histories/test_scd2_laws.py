"""The SCD2 dimensions on random version logs, compared with the contract in plain Python."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from ecommerce.common.sources import SOURCES
from tests.integration.dbt_runs import Dbt
from tests.integration.histories.versions import (
    EVER_SINCE,
    FOR_EVER,
    Logged,
    Version,
    customer_versions,
    product_versions,
)

#: Examples of one to four keys with their logs, a dimension; ECOMMERCE_TEST_HISTORIES=100 for the long form.
EXAMPLES = 10 * int(os.environ.get("ECOMMERCE_TEST_HISTORIES", "10"))

START = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
HOUR = 3600

UNKNOWN_KEYS = "int_unknown_keys"
CUSTOMER_TRACKED = (
    "customer_name", "customer_email", "customer_since_date", "customer_end_date", "customer_status", "is_deleted",
)  # fmt: skip
PRODUCT_TRACKED = (
    "product_name", "category_id", "category_name", "subcategory", "brand", "supplier_id", "cost_price",
    "retail_price", "margin_percent", "is_discontinued",
)  # fmt: skip


@dataclass
class Dimension:
    """A dimension's query with that of the keys it infers, and its tests, as dbt compiled them."""

    name: str
    key: str
    natural_key: str
    tracked: tuple[str, ...]
    queries: dict[str, str]
    tests: dict[str, str]
    connection: psycopg.Connection

    def build(self) -> None:
        """What dbt does, inside the caller's transaction."""
        for name, query in self.queries.items():
            self.connection.execute(f"truncate core.{name}; insert into core.{name} {query}".encode())

    def violations(self) -> set[str]:
        """The tests that find something."""
        # Counted by the server: Python has no infinite time.
        counts = {name: f"select count(*) from ({query}) as found" for name, query in self.tests.items()}
        return {name for name, count in counts.items() if self.connection.execute(count.encode()).fetchone() != (0,)}

    def rows(self) -> dict[str | None, list[dict[str, Any]]]:
        """Natural key (null: the fixed member) → its versions in order; instants as seconds, to read infinity."""
        cursor = self.connection.execute(
            f"select to_jsonb(held) - 'valid_from' - 'valid_to', {', '.join(self.tracked)},"
            " extract(epoch from valid_from), extract(epoch from valid_to)"
            f" from core.{self.name} as held order by valid_from".encode()
        )
        found: dict[str | None, list[dict[str, Any]]] = {}
        for flat, *values, valid_from, valid_to in cursor:
            row = {**flat, **dict(zip(self.tracked, values, strict=True))}
            found.setdefault(flat[self.natural_key], []).append(row | {"valid_from": valid_from, "valid_to": valid_to})
        return found


@pytest.fixture(scope="module")
def session(warehouse_dsn: str, dbt: Dbt) -> Iterator[psycopg.Connection]:
    """An empty, built warehouse."""
    dbt.run("--select", UNKNOWN_KEYS, "dim_customer", "dim_products", "--full-refresh")
    with psycopg.connect(warehouse_dsn, autocommit=True) as session:
        yield session


@pytest.fixture(scope="module")
def dimensions(session: psycopg.Connection, dbt: Dbt) -> dict[str, Dimension]:
    compiled = dbt.compiled(UNKNOWN_KEYS, "dim_customer", "dim_products")
    assert {UNKNOWN_KEYS, "dim_customer", "dim_products"} <= compiled.keys()
    made = {}
    for name, key, natural_key, tracked in (
        ("dim_customer", "customer_key", "customer_id", CUSTOMER_TRACKED),
        ("dim_products", "product_key", "product_id", PRODUCT_TRACKED),
    ):
        tests = {test: query for test, query in compiled.items() if test.startswith("scd2_") and name in test}
        assert len(tests) == 3, tests.keys()
        queries = {model: compiled[model] for model in (UNKNOWN_KEYS, name)}
        made[name] = Dimension(name, key, natural_key, tracked, queries, tests, session)
    return made


def logs(values: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[Logged]]:
    """The rows of one key, as the loader writes them: times never go back, and no tombstone opens or follows one."""
    rows = st.tuples(st.sampled_from((0, 1, 30)), st.sampled_from((False, False, True)), values)

    def log(drawn: list[tuple[int, bool, dict[str, Any]]]) -> list[Logged]:
        kept: list[Logged] = []
        opens = START
        for hours, is_deleted, row in drawn:
            opens += hours * HOUR
            if is_deleted and (not kept or kept[-1].is_deleted):
                continue
            kept.append(Logged(opens, {} if is_deleted else row, is_deleted))
        return kept

    return st.lists(rows, max_size=7).map(log)


def one_of(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


CUSTOMER = st.fixed_dictionaries(
    {
        "customer_name": one_of("Ada", "Bo", None),
        "customer_email": one_of("a@b.c", "nowhere", None),
        "start_date": one_of(None, datetime(2023, 1, 1).date()),
        "end_date": one_of(None, datetime(2024, 1, 1).date()),
        "status": one_of("active", "left"),
    }
)
PRODUCT = st.fixed_dictionaries({"product_name": one_of("Kettle", "Cup"), "product_category_id": one_of(None, "K1")})
CATEGORY = st.fixed_dictionaries(
    {
        "category_id": one_of("K1", "K2"),
        "category_name": one_of("Tea", "Coffee"),
        "subcategory": one_of(None, "Green"),
        "brand": one_of(None, "Acme"),
        "supplier_id": one_of(None, "S1"),
        "cost_price": one_of(None, Decimal("1.10"), Decimal("6.99")),
        "retail_price": one_of(None, Decimal(0), Decimal("9.99")),
        "margin_percent": one_of(None, None, Decimal(30)),
        "stock_level": one_of(None, 0, 4, 50),
        "reorder_point": one_of(None, 5),
        "discontinued": one_of(None, True, False),
    }
)
ZONES = one_of("UTC", "Asia/Kolkata", "America/Los_Angeles")
MANY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def append(connection: psycopg.Connection, table: str, key: dict[str, str], log: list[Logged]) -> None:
    """
    Rows of a version log; the batches of all keys are numbered on.

    A load of changes brings several versions of a key, of different times: every third row is of the batch before.
    """
    batch = 5
    for n, row in enumerate(log):
        is_same = SOURCES[table].takes_changes and n % 3 == 1 and row.opens > log[n - 1].opens
        batch += 0 if is_same else 2
        values = {
            **key, **row.values, "_is_deleted": row.is_deleted, "_batch_id": batch,
            "_valid_from": datetime.fromtimestamp(row.opens, UTC), "_loaded_at": datetime.fromtimestamp(row.opens, UTC),
        }  # fmt: skip
        connection.execute(
            sql.SQL("insert into {} ({}) values ({})").format(
                sql.Identifier("raw", table),
                sql.SQL(", ").join(map(sql.Identifier, values)),
                sql.SQL(", ").join([sql.Placeholder()] * len(values)),
            ),
            list(values.values()),
        )


def order(connection: psycopg.Connection, customer_id: str | None, product_id: str) -> None:
    """:param customer_id: None: a guest's order"""
    connection.execute(
        """
        insert into raw.sales_fact (
            order_id, line_number, product_id, customer_id, order_date, order_amount, created_at, _batch_id, _loaded_at
        )
        values (%s, 1, %s, %s, '2024-01-01', 1, '2024-01-01', 1, now())
        """,
        [f"O{customer_id}{product_id}", product_id, customer_id],
    )


def assert_lawful(dimension: Dimension, expected: dict[str, list[Version]], keys: dict[Any, str]) -> None:
    """
    No test of the dimension finds anything, and it holds what is expected.

    :param keys: (natural key, opening) → surrogate key, over all examples
    """
    dimension.build()
    assert dimension.violations() == set()
    found = dimension.rows()
    # Of all guests, or of all refunds that name no product: nothing is known of it, and nothing is inferred.
    [fixed] = found.pop(None)
    assert (fixed["valid_from"], fixed["valid_to"]) == (EVER_SINCE, FOR_EVER)
    assert (fixed["is_current"], fixed["is_inferred"]) == (True, False)
    assert {fixed[name] for name in dimension.tracked} <= {None, False}
    assert {
        key: [
            Version({name: row[name] for name in dimension.tracked}, row["valid_from"], row["valid_to"])
            for row in versions
        ]
        for key, versions in found.items()
    } == expected
    for natural_key, versions in found.items():
        assert [row["is_current"] for row in versions] == [False] * (len(versions) - 1) + [True]
        for row in versions:
            surrogate = row[dimension.key]
            assert keys.setdefault((natural_key, row["valid_from"]), surrogate) == surrogate
    assert len(set(keys.values())) == len(keys)


@pytest.mark.usefixtures("connection")
def test_dim_customer_follows_scd2_laws(dimensions: dict[str, Dimension]) -> None:
    dimension = dimensions["dim_customer"]
    keys: dict[Any, str] = {}
    renamed = {"start_date": "customer_since_date", "end_date": "customer_end_date", "status": "customer_status"}
    unknown = dict.fromkeys(CUSTOMER_TRACKED) | {"is_deleted": False}

    @MANY
    @given(st.lists(logs(CUSTOMER), min_size=1, max_size=4), ZONES)
    def law(histories: list[list[Logged]], zone: str) -> None:
        connection = dimension.connection
        with connection.transaction(force_rollback=True):
            connection.execute("select set_config('timezone', %s, true)", [zone])
            expected = {}
            for n, log in enumerate(histories):
                customer_id = f"C{n}"
                order(connection, customer_id, "P0")
                order(connection, None, f"P{n + 1}")
                append(connection, "customer", {"customer_id": customer_id}, log)
                # Without a version the order still knows of it: an inferred member.
                expected[customer_id] = [
                    Version({renamed.get(k, k): v for k, v in each.values.items()}, each.valid_from, each.valid_to)
                    for each in customer_versions(log) or [Version(unknown, Decimal("-Infinity"), Decimal("Infinity"))]
                ]
            assert_lawful(dimension, expected, keys)
            inferred = {key: [row["is_inferred"] for row in rows] for key, rows in dimension.rows().items() if key}
            assert inferred == {f"C{n}": [not log] * len(expected[f"C{n}"]) for n, log in enumerate(histories)}

    law()


@pytest.mark.usefixtures("connection")
def test_dim_products_follows_scd2_laws(dimensions: dict[str, Dimension]) -> None:
    dimension = dimensions["dim_products"]
    keys: dict[Any, str] = {}
    unknown = dict.fromkeys(PRODUCT_TRACKED) | {"is_discontinued": False}

    @MANY
    @given(st.lists(st.tuples(logs(PRODUCT), logs(CATEGORY)), min_size=1, max_size=4), ZONES)
    def law(histories: list[tuple[list[Logged], list[Logged]]], zone: str) -> None:
        connection = dimension.connection
        with connection.transaction(force_rollback=True):
            connection.execute("select set_config('timezone', %s, true)", [zone])
            expected, stock = {}, {}
            for n, (products, categories) in enumerate(histories):
                product_id = f"P{n}"
                order(connection, "C0", product_id)
                append(connection, "product", {"product_id": product_id}, products)
                append(connection, "product_category", {"product_id": product_id}, categories)
                expected[product_id] = product_versions(products, categories) or [
                    Version(unknown, Decimal("-Infinity"), Decimal("Infinity"))
                ]
                has_inventory = bool(categories) and not categories[-1].is_deleted
                stock[product_id] = categories[-1].values["stock_level"] if has_inventory else None
            assert_lawful(dimension, expected, keys)
            # Type 1: every version shows the stock of today, which is unknown of a product whose row is gone.
            shown = {key: {row["stock_level"] for row in rows} for key, rows in dimension.rows().items() if key}
            assert shown == {key: {level} for key, level in stock.items()}

    law()


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("valid_to = '2024-01-02' where valid_to = '2024-01-03'", "scd2_no_gap"),
        ("valid_to = '2024-01-04' where valid_to = '2024-01-03'", "scd2_no_gap"),
        ("valid_from = '2023-01-01' where valid_from = '-infinity'", "scd2_no_gap"),
        ("is_current = true", "scd2_no_gap"),
        ("is_current = false", "scd2_no_gap"),
        ("valid_to = '2030-01-01' where valid_to = 'infinity'", "scd2_no_gap"),
        ("{tracked} = null", "scd2_versions_differ"),
        ("{key} = gen_random_uuid() where is_current", "scd2_key_of_version"),
    ],
)
def test_each_scd2_law_detects_violation(dimensions: dict[str, Dimension], change: str, found: str) -> None:
    third = START + 48 * HOUR
    for dimension in dimensions.values():
        connection = dimension.connection
        with connection.transaction(force_rollback=True):
            connection.execute("set local timezone to 'UTC'")
            for table, column in (("customer", "customer_name"), ("product", "product_name")):
                log = [Logged(START, {column: "Old"}), Logged(third, {column: "New"})]
                append(connection, table, {f"{table}_id": "X"}, log)
            dimension.build()
            assert dimension.violations() == set()
            named = change.format(tracked=dimension.tracked[0], key=dimension.key)
            connection.execute(f"update core.{dimension.name} set {named}".encode())
            assert any(name.startswith(found) for name in dimension.violations()), dimension.violations()
