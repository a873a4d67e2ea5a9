"""Who a customer is stands in raw, core and the quarantine: in no log, no reason, nothing that `inspector` reads."""

import json
import logging
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ecommerce.common.connections import postgres as connect
from ecommerce.common.errors import QuarantineOverflow, SourceError
from ecommerce.common.sources import PERSONAL_COLUMNS, SOURCES
from include.demo.state import State
from tests.integration.load.events import Produce, event
from tests.integration.support import Loader, acting_as

DAY = "2024-03-01"
#: A name and an address that are in no file of the project, so that whoever finds them has found the planted ones.
NAME, MAIL = "Planted Person", "planted.person@victim.example"


@pytest.fixture
def inspector(warehouse_dsn: str, postgres: State) -> Iterator[psycopg.Connection]:
    """A session of the role `inspector`."""
    parts = conninfo_to_dict(warehouse_dsn) | {"user": "inspector", "password": postgres.passwords["inspector"]}
    with psycopg.connect(make_conninfo("", **parts), autocommit=True) as connection:
        yield connection


def all_that_it_reads(connection: psycopg.Connection) -> str:
    """Every row of every column that a role may read, as text."""
    relations = connection.execute(
        """
        select pg_class.oid::regclass::text, array_agg(attname::text)
        from pg_class
        inner join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
        where
            relnamespace::regnamespace::text = any('{raw,ops,core,marts,quality}')
            and relkind in ('r', 'v', 'm')
            and has_column_privilege(pg_class.oid, attnum, 'select')
        group by pg_class.oid
        """
    ).fetchall()
    assert {"raw.customer", "ops.quarantine_shown", "ops.load_batch"} <= {name for name, _ in relations}
    found = []
    for name, columns in relations:
        query = sql.SQL("select {} from {}").format(sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(name))
        found.append(f"{name}: {connection.execute(query).fetchall()}")
    return "\n".join(found)


def assert_hidden(text: str) -> None:
    assert NAME not in text
    assert "victim.example" not in text


def test_registry_says_which_columns_are_personal() -> None:
    assert sorted(PERSONAL_COLUMNS) == ["customer_email", "customer_name"]


def test_reasons_quote_no_personal_value(
    loader: Loader, inspector: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    person = {"customer_name": NAME, "customer_email": MAIL}
    loader.load(
        "customer",
        DAY,
        rows=[
            {"customer_id": "C1", **person},
            {"customer_id": "C2", "start_date": f"asked {MAIL}", **person},
            {"customer_id": "C3", "customer_name": NAME * 100, "customer_email": MAIL},
            {"customer_id": "C4", "customer_name": NAME, "customer_email": f"x {MAIL} " * 100},
            {"customer_id": None, **person},
        ],
    )
    order = {"product_id": "P1", "order_date": DAY, "created_at": f"{DAY} 12:00:00", "order_amount": "1"}
    loader.load(
        "sales_fact",
        DAY,
        rows=[
            {"order_id": "O1", **order, "order_amount": MAIL},
            {"order_id": "O2", **order, "payment_method": f"{MAIL};".ljust(1_100, "x")},
        ],
    )
    reasons = [reason for (reason,) in loader.rows("select reason from ops.quarantine order by quarantine_id")]
    assert reasons == [
        "start_date is not a date such as 2024-01-31: asked …@…",
        "customer_name is longer than 1,000 bytes",
        "customer_email is longer than 1,000 bytes",
        "customer_id is missing",
        "order_amount is not an amount of money (at most 16 digits): …@…",
        "payment_method is longer than 1,000 bytes: …@…;" + "x" * (80 - len(f"{MAIL};")),
    ]
    # The rows themselves are kept as they came, for those who may read them.
    assert MAIL in str(loader.rows("select payload from ops.quarantine"))
    assert_hidden(all_that_it_reads(inspector))
    assert_hidden(caplog.text)


def test_refused_message_shows_fields_of_the_registry_only(
    loader: Loader, produce: Produce, inspector: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    at = f"{DAY}T10:00:00"
    _, with_more = event("C1", "yesterday", customer_email=MAIL, contact={"name": NAME}, **{MAIL: 1})
    _, in_a_field = event("C2", at, interaction_type={"by": MAIL})
    produce(
        (at, with_more),
        (at, in_a_field),
        (at, event("C3", f"{at} {MAIL}")[1]),
        (at, f"{NAME}, {MAIL}: not JSON"),
        (at, json.dumps([NAME, MAIL])),
        event("C4", at, customer_email=MAIL, **{MAIL: 1}),
    )
    assert loader.load("kafka_stream", DAY, max_rejected_share=1.0).rows_quarantined == 5
    shown = [
        payload.get("value")
        for (payload,) in inspector.execute("select payload from ops.quarantine_shown order by payload -> 'offset'")
    ]
    assert shown == [
        {"customer_id": "C1", "product_id": "P1", "interaction_type": "view", "timestamp": "yesterday"},
        {"customer_id": "C2", "product_id": "P1", "interaction_type": "(not shown)", "timestamp": at},
        {"customer_id": "C3", "product_id": "P1", "interaction_type": "view", "timestamp": f"{at} …@…"},
        None,
        None,
    ]
    assert_hidden(all_that_it_reads(inspector))
    assert_hidden(caplog.text)


def test_correction_of_a_message_shows_fields_of_the_registry_only(
    loader: Loader, produce: Produce, inspector: psycopg.Connection
) -> None:
    produce((f"{DAY}T10:00:00", "x"))
    loader.load("kafka_stream", DAY, max_rejected_share=1.0)
    loader.connection.execute(
        "update ops.quarantine set payload = payload || jsonb_build_object('corrected', %s::jsonb)",
        [json.dumps({"customer_id": "C1", "customer_email": MAIL})],
    )
    ((payload,),) = inspector.execute("select payload from ops.quarantine_shown").fetchall()
    assert payload["corrected"] == {"customer_id": "C1"}


def test_failed_load_names_no_person(
    loader: Loader, inspector: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bad = [{"customer_id": None, "customer_name": NAME, "customer_email": MAIL, "start_date": MAIL} for _ in range(20)]
    with pytest.raises(QuarantineOverflow) as overflow:
        loader.load("customer", DAY, rows=bad)
    assert_hidden(str(overflow.value))
    assert_hidden(all_that_it_reads(inspector))
    assert_hidden(caplog.text)


def test_error_of_the_warehouse_shows_no_row(
    loader: Loader, insert: Callable[..., None], inspector: psycopg.Connection
) -> None:
    """Postgres quotes the whole row that breaks a constraint."""
    insert("customer", customer_id="C1", customer_name=NAME, customer_email=MAIL)
    loader.connection.execute("alter table raw.customer add constraint none check (customer_id is null)")
    try:
        with pytest.raises(psycopg.errors.CheckViolation) as violation, connect("warehouse") as connection:
            Loader(connection).load("customer", DAY)
    finally:
        loader.connection.execute("alter table raw.customer drop constraint none")
    assert "Failing row contains (not shown)" in str(violation.value)
    assert_hidden(str(violation.value))
    assert "Failing row contains (not shown)" in loader.value("select error from ops.load_batch")
    assert_hidden(all_that_it_reads(inspector))


def test_error_of_a_source_shows_no_value(
    loader: Loader, insert: Callable[..., None], shop: psycopg.Connection
) -> None:
    insert("customer", customer_id="C1", customer_name=NAME, customer_email=MAIL)
    shop.execute("alter table customer rename to people")
    shop.execute(
        """
        create view customer as
        select customer_id, customer_name, customer_email, customer_email::date as start_date, end_date, status
        from people
        """
    )
    with pytest.raises((SourceError, psycopg.Error)) as failure, connect("warehouse") as connection:
        Loader(connection).load("customer", DAY)
    error: BaseException | None = failure.value
    while error is not None:
        assert_hidden(str(error))
        error = error.__cause__ or error.__context__
    assert "…@…" in str(failure.value)


def test_new_column_of_a_table_with_personal_columns_is_hidden(
    loader: Loader, inspector: psycopg.Connection, postgres: State
) -> None:
    with acting_as(loader.connection, "loader"):
        loader.connection.execute("alter table raw.customer add column phone text")
    try:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            inspector.execute("select phone from raw.customer")
    finally:
        loader.connection.execute("alter table raw.customer drop column phone")


@pytest.mark.parametrize("source", SOURCES)
def test_inspector_reads_each_column_of_raw_that_is_not_personal(inspector: psycopg.Connection, source: str) -> None:
    for column in SOURCES[source].columns:
        query = sql.SQL("select {} from {}").format(sql.Identifier(column.name), sql.Identifier("raw", source))
        if column.is_personal:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                inspector.execute(query)
        else:
            inspector.execute(query)
