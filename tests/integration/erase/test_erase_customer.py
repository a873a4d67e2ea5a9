"""
A customer is erased from a warehouse that is loaded, built and published; then everything is searched.

The tests of this module build on each other: each does one thing more to the warehouse, and the customer stays away.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException
from psycopg import sql

from ecommerce.build import lease
from ecommerce.common.connections import LOADER, PUBLISHER, TRANSFORMER, warehouse
from ecommerce.common.connections import postgres as connect
from ecommerce.common.errors import ErasureError, HalfErased
from ecommerce.common.personal_data import treatment_of
from ecommerce.common.sources import SOURCES
from ecommerce.erase.erase_customer import EraseCustomer
from ecommerce.erase.erasure import Sessions, survey
from ecommerce.erase.personal_tables import personal_tables
from ecommerce.erase.run_conf import FORGOTTEN
from ecommerce.load.quarantine_reader import QuarantineReader
from ecommerce.load.replay import Choice, replay
from ecommerce.prune.packing import pack_messages
from ecommerce.publish.rollback import roll_back
from tests.integration.conftest import SHOP_TABLES
from tests.integration.dbt_runs import Dbt
from tests.integration.published_shop import publish_run
from tests.integration.shop_pages.conftest import AS_OF, FIRST_LOADED, LONG_ORDER, event_columns
from tests.integration.support import ALL_COLUMNS, RUN, Loader

KEY, NAME, FORMER_NAME, E_MAIL = "CUST001", 'Zacharias "Zach" O\'Bräin', "Customer 1", "Zach.OBrain@Mail.example"
#: What must be nowhere: in lower case, and as JSON spells it.
SOUGHT = ("cust001", "zacharias", "o'bräin", "customer 1", "c1@example.org", "zach.obrain@mail.example")

#: Facts and sums, which stay to the cent; by customer, without who it is.
SUMS = """
select 'lines', count(*), sum(order_amount), sum(contribution_amount), count(distinct customer_key) from core.fact_sales
union all
select 'refunds', count(*), sum(refund_amount), null, count(distinct customer_key) from core.fact_refunds
union all
select 'events', count(*), null, null, count(distinct customer_id) from core.fact_customer_events
union all
select 'subscriptions', count(*), sum(monthly_fee), null, count(distinct customer_id) from core.fact_subscriptions
union all
select 'segments', total_orders, lifetime_value, null, null from marts.customer_segments
union all
select 'revenue', count(*), sum(daily_revenue), null, null from marts.daily_revenue
order by 1, 2, 3
"""


@pytest.fixture(scope="module")
def sessions(connection: psycopg.Connection) -> Iterator[Sessions]:
    with warehouse(PUBLISHER) as publisher, connect(LOADER) as loader, connect(TRANSFORMER) as transformer:
        yield Sessions(loader, transformer, publisher)


@pytest.fixture(scope="module")
def shop(shop_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(shop_dsn, autocommit=True) as shop:
        shop.execute("drop schema public cascade; create schema public")
        shop.execute(SHOP_TABLES.encode())
        shop.execute(ALL_COLUMNS.encode())
        yield shop


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    (folder / "task.log").write_text(f"loaded {KEY} of {E_MAIL.upper()}\nnot CUST0012\n")
    return folder


@pytest.fixture(scope="module", autouse=True)
def customer_everywhere(
    connection: psycopg.Connection, loader: Loader, dbt: Dbt, shop: psycopg.Connection, logs: Path
) -> None:
    """The customer in each place where one can be; the shop has the same rows, with what raw will not have any more."""
    people = loader.rows(
        "select customer_id, customer_name, customer_email, start_date::text, status from raw.customer"
    )
    names = ("customer_id", "customer_name", "customer_email", "start_date", "status")
    changed = [dict(zip(names, row, strict=True)) for row in people]
    changed = [{**row, "customer_name": NAME, "customer_email": E_MAIL} if row["customer_id"] == KEY else row
               for row in changed]  # fmt: skip
    loader.load("customer", AS_OF, rows=changed)
    # What raw gets of a shop that has more of a customer.
    connection.execute("alter table raw.customer add birthday date, add phones bigint[]")
    connection.execute("update raw.customer set birthday = '1980-05-17', phones = '{4930123456}'")
    connection.execute("update raw.refund set reason = 'for ' || %s where refund_id = 'R3'", [NAME])
    bad = {"order_id": "BAD2", "product_id": "P1", "customer_id": f" {KEY}", "order_date": AS_OF, "order_amount": "-2",
           "created_at": f"{AS_OF} 13:00:00"}  # fmt: skip
    known = [{column.name: None for column in SOURCES["sales_fact"].columns} | row
             for row in _texts(loader, "sales_fact")]  # fmt: skip
    loader.load("sales_fact", FIRST_LOADED, AS_OF, rows=[*known, bad])
    message = f'{{"customer_id": "{KEY}", "product_id": "P1", "interaction_type": "view", "timestamp": "never"}}'
    payload = {"topic": "customer_interactions", "partition": 0, "offset": 99, "published_at": None, "key": KEY,
               "value": message}  # fmt: skip
    for content in (payload, {**payload, "offset": 98, "value": f"no JSON, but {E_MAIL}"}):
        connection.execute(
            """
            insert into ops.quarantine (batch_id, source, reason, payload, quarantined_at)
            select max(batch_id), 'kafka_stream', 'of ' || %s, %s, now() from ops.load_batch
            """,
            [KEY, psycopg.types.json.Jsonb(content)],
        )
    connection.execute(
        """
        insert into ops.review (order_id, status, note, rules, reviewed_by)
        values (%(order)s, 'watch', %(text)s, '{}', 'a')
        """,
        {"order": LONG_ORDER, "text": f"{NAME} called, {KEY}. Not CUST0012"},
    )
    for statement in (
        "insert into ops.incident_note (incident, note, noted_by) values ('a', %(text)s, 'b')",
        "insert into ops.alert (incident, dag_id, severity, message, first_run_id, last_run_id, opened_at,"
        " last_seen_at) values ('a', 'b', 'warn', %(text)s, 'c', 'd', now(), now())",
        "insert into ops.decision (run_id, check_name, subjects, message, days, difference, asked_at, reason, decision,"
        " decided_at) values ('a', 'b', array[%(text)s], %(text)s, '{}', to_jsonb(%(text)s::text), now(), %(text)s,"
        " 'approved', now())",
        "insert into ops.check_failure (check_result_id, bad_row) select max(check_result_id),"
        " jsonb_build_object('customer_id', %(key)s::text, 'name', %(name)s::text) from ops.check_result",
    ):
        connection.execute(
            statement.encode(), {"text": f"{FORMER_NAME}, now {NAME} <{E_MAIL}>, {KEY}", "key": KEY, "name": NAME}
        )
    for source in ("sales_fact", "refund", "customer", "subscription_data"):
        _fill(shop, loader, source)
    dbt.run()
    publish_run(connection, "a_second_run")
    # Messages of the customer are packed, and others are not.
    with warehouse(LOADER) as session:
        assert [*pack_messages(session, datetime(2024, 3, 1, 12, tzinfo=UTC), "a_run")]


def _texts(loader: Loader, source: str) -> list[dict[str, Any]]:
    """The current rows of a source in raw, as texts."""
    names = [column.name for column in SOURCES[source].columns]
    columns = ", ".join(f'"{name}"::text' for name in names)
    key = ", ".join(SOURCES[source].key)
    rows = loader.rows(f"select distinct on ({key}) {columns} from raw.{source} order by {key}, _batch_id desc")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _fill(shop: psycopg.Connection, loader: Loader, source: str) -> None:
    for row in _texts(loader, source):
        held = {name: value for name, value in row.items() if value is not None}
        if source == "subscription_data":
            # The default profile has the numbers of customers.
            held["customer_id"] = str(int(held["customer_id"].removeprefix("CUST")))
        names, places = (
            sql.SQL(", ").join(map(sql.Identifier, held)),
            sql.SQL(", ").join([sql.Placeholder()] * len(held)),
        )
        shop.execute(
            sql.SQL("insert into {} ({}) values ({})").format(sql.Identifier(source), names, places),
            list(held.values()),
        )


def hits(connection: psycopg.Connection, folder: Path) -> dict[str, int]:
    """
    Where in the whole database, in the statistics of its columns and in the log files the customer is.

    Each table of each schema is searched as text, so whatever a row has in any column, and so in any index, is found.
    """
    pattern = "|".join(text.replace(".", "[.]") for text in SOUGHT)
    # Not within a longer key.
    pattern = f"(?i)({pattern})(?![0-9])"
    found = {}
    for schema, table in connection.execute(
        """
        select nspname, relname
        from pg_class
        inner join pg_namespace on pg_namespace.oid = relnamespace
        where relkind in ('r', 'p', 'm') and nspname !~ '^pg_|^information_schema$'
        """
    ).fetchall():
        query = sql.SQL("select count(*) from {} as held where held::text ~ {}").format(
            sql.Identifier(schema, table), sql.Literal(pattern)
        )
        found[f"{schema}.{table}"] = connection.execute(query).fetchone()[0]  # type: ignore[index]
    statistics = sql.SQL("select count(*) from pg_stats where pg_stats::text ~ {}").format(sql.Literal(pattern))
    found["pg_stats"] = connection.execute(statistics).fetchone()[0]  # type: ignore[index]
    for path in folder.rglob("*"):
        found[path.name] = sum(text in path.read_text().lower().replace("cust0012", "") for text in SOUGHT)
    return {place: count for place, count in found.items() if count}


def test_every_column_of_texts_is_erased_or_declared_never_personal(sessions: Sessions) -> None:
    unknown = [
        f"{table}.{column}"
        for session in (sessions.loader, sessions.transformer, sessions.publisher)
        for schema, table, column in session.execute(
            """
            select nspname, relname, attname
            from pg_attribute
            inner join pg_class on pg_class.oid = attrelid
            inner join pg_namespace on pg_namespace.oid = relnamespace
            where
                relkind in ('r', 'p')
                and relowner = current_user::regrole
                and nspname !~ '^pg_|^information_schema$'
                and attnum > 0
                and not attisdropped
                and format_type(atttypid, null) ~ 'text|char|json|xml|name|citext|hstore'
            """
        ).fetchall()
        if treatment_of(schema, table, column) is None
    ]
    assert unknown == []
    # What an erasure itself looks at, by the catalog's categories of types, is no less.
    assert sum(len(table.columns) for table in personal_tables(sessions.publisher)) > 20


def test_dry_run_lists_every_place_and_changes_nothing(
    connection: psycopg.Connection, loader: Loader, sessions: Sessions, logs: Path
) -> None:
    before, everything = hits(connection, logs), loader.everything()
    receipt = survey(sessions, E_MAIL.lower(), logs=[logs])
    assert loader.everything() == everything
    listed = {place.split(" of ")[0].rpartition(".")[0] for place in receipt.places if not place.startswith("log")}
    assert set(before) - {"pg_stats", "task.log", "ops.publication_delta"} == listed - {"ops"} | {
        table for table in listed if table == "ops.publication_delta"
    }
    assert before.keys() >= {"raw.customer", "raw.refund", "ops.quarantine", "ops.review", "ops.publication_delta",
                             "ops.alert", "ops.decision", "ops.check_failure", "ops.incident_note", "core.dim_customer",
                             "marts.order_for_reviews", "pg_stats", "task.log"}  # fmt: skip
    assert receipt.places["raw.customer.customer_id"] == 2
    assert receipt.places["raw.customer.birthday"] == receipt.places["raw.customer.phones"] == 2
    assert not any(text in line.lower() for line in receipt.lines() for text in SOUGHT)


def test_unknown_customer_is_refused(sessions: Sessions) -> None:
    with pytest.raises(ErasureError, match="no customer with this key"):
        survey(sessions, "CUST00")


class Run:
    """The run of the task, as Airflow gives it to the task."""

    dag_id, run_id, triggering_user_name = "erase_customer", "an_erasure", "admin"


def poke(customer: str, *, dry_run: bool) -> Any:
    """What the task returns."""
    context: Any = {"params": {"customer": customer, "dry_run": dry_run}, "dag_run": Run(), "ti": None}
    return EraseCustomer(task_id="erase").poke(context)


def _full_disk(*_: Any, **__: Any) -> Any:
    raise OSError("the disk is full")


@pytest.fixture(scope="module")
def erased(
    connection: psycopg.Connection, loader: Loader, logs: Path, customer_everywhere: None
) -> Iterator[Mapping[str, Any]]:
    sums = loader.rows(SUMS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECOMMERCE_LOG_FOLDERS", str(logs))
        # A first try ends before raw is changed: loads would now store the customer under two keys.
        with pytest.MonkeyPatch.context() as broken:
            broken.setattr("ecommerce.erase.erasure.erase_in_logs", _full_disk)
            with pytest.raises(OSError, match="the disk is full"):
                poke(E_MAIL, dry_run=False)
        interrupted = "the erasure of a customer was interrupted .* start erase_customer again"
        with pytest.raises(HalfErased, match=interrupted):
            loader.load("customer", AS_OF, rows=[])
        with pytest.raises(HalfErased, match=interrupted):
            lease.take(connection, "a_dag", "a run", project="p", full_refresh=False)
        done = poke(E_MAIL, dry_run=False)
        assert done.is_done
        yield {"sums": sums, "places": done.xcom_value["places"]}


def test_nothing_names_the_customer_and_sums_stay(
    connection: psycopg.Connection, loader: Loader, erased: Mapping[str, Any], logs: Path
) -> None:
    assert hits(connection, logs) == {}
    assert loader.rows(SUMS) == erased["sums"]
    theirs = "select count(*), count(birthday), count(phones), count(start_date) from raw.customer where customer_id"
    assert loader.rows(f"{theirs} not like 'CUST%'") == [(2, 0, 0, 2)]
    # Others are as they were.
    others = loader.rows(f"{theirs} like 'CUST%'")
    assert others[0][0] > 0
    assert len(set(others[0])) == 1
    assert loader.value("select note from ops.review").endswith("Not CUST0012")
    assert "not CUST0012" in (logs / "task.log").read_text()
    assert loader.value("select count(*) from raw.customer where customer_name = 'Customer 2'") == 1
    ((run_id, user, done, places),) = loader.rows(
        "select run_id, requested_by, erased_at is not null, places from ops.erasure"
    )
    assert (run_id, user, done) == ("an_erasure", "admin", True)
    assert places == erased["places"]
    assert loader.value("select count(*) from ops.erased_value where kind = 'e_mail'") == 2


def test_rebuild_from_raw_gives_the_same_rows(
    connection: psycopg.Connection, loader: Loader, dbt: Dbt, erased: Mapping[str, Any], logs: Path
) -> None:
    tables = [model for model in dbt.tables if model.schema in ("core", "marts_build")]

    def content() -> dict[str, list[tuple]]:
        return {str(table): loader.rows(f"select t::text from {table} as t order by 1") for table in tables}

    before = content()
    dbt.run("--full-refresh")
    after = content()
    for table in before:
        assert before[table] == after[table], table
    assert hits(connection, logs) == {}
    publish_run(connection, "after_rebuild")
    assert loader.rows("select sum(rows_inserted + rows_updated + rows_deleted) from ops.publication"
                       " where run_id = 'after_rebuild'") == [(0,)]  # fmt: skip
    assert hits(connection, logs) == {}


def test_rollback_to_before_the_erasure_brings_nobody_back(
    connection: psycopg.Connection, loader: Loader, erased: Mapping[str, Any], logs: Path
) -> None:
    first = loader.value("select min(publication_id) from ops.publication")
    with warehouse(PUBLISHER) as publisher:
        # It checks that each mart is, but for the customer, as that publication left it.
        changes = roll_back(publisher, "rollback_publication", "a_rollback", to=first)
    assert changes
    assert sum(change.total for change in changes)
    assert hits(connection, logs) == {}
    with warehouse(PUBLISHER) as publisher:
        roll_back(publisher, "rollback_publication", "back_again")
    assert loader.rows(SUMS) == erased["sums"]
    assert hits(connection, logs) == {}


def test_replay_brings_nobody_back(
    connection: psycopg.Connection, loader: Loader, erased: Mapping[str, Any], logs: Path
) -> None:
    connection.execute(
        """
        update ops.quarantine
        set corrected = (payload ->> 'value')::jsonb || '{"timestamp": "2024-03-01T09:00:00Z"}'
        where payload ->> 'offset' = '99'
        """
    )
    choice = Choice(SOURCES["kafka_stream"])
    (result,) = replay(
        connection, choice, lambda source, _, condition: QuarantineReader(source, connection, condition), run=RUN
    )
    assert result.rows_loaded == 1
    assert loader.value("select customer_id from raw.kafka_stream where _offset = 99").startswith("erased-")
    assert hits(connection, logs) == {}


def test_source_read_again_changes_nothing(
    connection: psycopg.Connection, loader: Loader, shop: psycopg.Connection, erased: Mapping[str, Any], logs: Path
) -> None:
    rejected = loader.value("select count(*) from ops.quarantine")
    for source in ("customer", "subscription_data", "refund", "sales_fact"):
        result = loader.load(source, FIRST_LOADED, AS_OF)
        assert (result.rows_loaded, result.rows_removed) == (0, 0), source
        assert result.rows_unchanged == result.rows_read > 0
    bad = {"order_id": "BAD2", "product_id": "P1", "customer_id": f" {KEY}", "order_date": AS_OF, "order_amount": "-2",
           "created_at": f"{AS_OF} 13:00:00"}  # fmt: skip
    known = _texts(loader, "sales_fact")
    result = loader.load("sales_fact", FIRST_LOADED, AS_OF, rows=[*known, bad])
    assert (result.rows_loaded, result.rows_quarantined) == (0, 0)
    assert loader.value("select count(*) from ops.quarantine") == rejected
    assert hits(connection, logs) == {}


def test_first_load_of_a_window_brings_nobody_back(
    connection: psycopg.Connection, loader: Loader, shop: psycopg.Connection, erased: Mapping[str, Any], logs: Path
) -> None:
    before = loader.rows("select order_id, line_number, customer_id from raw.sales_fact order by 1, 2")
    connection.execute("delete from raw.sales_fact")
    loader.load("sales_fact", FIRST_LOADED, AS_OF)
    assert loader.rows("select order_id, line_number, customer_id from raw.sales_fact order by 1, 2") == before
    assert hits(connection, logs) == {}


def test_message_of_the_customer_that_is_rejected_again_is_stored_without_the_customer(
    connection: psycopg.Connection, loader: Loader, erased: Mapping[str, Any], logs: Path
) -> None:
    # A view by the customer, and one whose time is no time.
    rows = [
        {"customer_id": f"{KEY}\u00a0", "product_id": "P2", "interaction_type": "view", "timestamp": time,
         "_topic": "customer_interactions", "_partition": "1", "_offset": str(offset)}
        for offset, time in enumerate(("2024-03-01T08:00:00Z", "never"))
    ]  # fmt: skip
    result = loader.load("kafka_stream", AS_OF, rows=rows, columns=event_columns(), lineage=())
    assert (result.rows_loaded, result.rows_quarantined) == (1, 1)
    assert loader.value("select customer_id from raw.kafka_stream where _partition = 1").startswith("erased-")
    assert hits(connection, logs) == {}


def test_erased_customer_is_not_erased_under_the_new_key(loader: Loader, sessions: Sessions, erased: Any) -> None:
    with pytest.raises(ErasureError, match="erased already"):
        survey(sessions, loader.value("select replacement from ops.erased_value where kind = 'customer_id'"))
    # The former key finds nobody's data any more.
    assert survey(sessions, KEY).places == {}


def test_task_refuses_in_words_that_name_nobody(erased: Any) -> None:
    for customer in ("nobody@example.org", " ", FORGOTTEN):
        with pytest.raises(AirflowFailException) as refused:
            poke(customer, dry_run=True)
        assert "nobody@" not in str(refused.value)
