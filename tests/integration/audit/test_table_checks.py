"""Kinds `uniqueness`, `orphans`, `distribution`, `quarantined`, `schema_drift` and `sql`: limits and bad rows."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import psycopg
import pytest
from psycopg.types.json import Jsonb

from ecommerce.audit import table_checks
from ecommerce.common.errors import SchemaDrift
from ecommerce.common.sources import SOURCES, NewColumns
from tests.integration.support import Loader, Row, acting_as

Only = Callable[..., str]
DAY = "2024-03-01"


@pytest.fixture
def core(loader: Loader) -> Callable[[str], None]:
    """Run statements as the owner of `core`, which has none of the tests' tables yet."""
    loader.connection.execute("drop table if exists core.t, core.parent, core.child, core.dim, core.fact cascade")

    def core(statements: str) -> None:
        with acting_as(loader.connection, "transformer"):
            loader.connection.execute(statements.encode())

    return core


# -- uniqueness --------------------------------------------------------------------------------------------------------


def test_uniqueness_fails_for_duplicate_key(evaluate, only: Only, core: Callable[[str], None], loader: Loader) -> None:
    core("create table core.t as select n / 2 as id, 'x' as place from generate_series(2, 6) as n")
    check = only("kind: uniqueness, tables: [{table: core.t, key: [id, place]}]")
    ((subject, status, message),) = evaluate(check, DAY)
    assert (subject, status) == ("core.t", "fail")
    assert message.startswith("2 rows repeat the id, place of another row, e.g. ")
    kept = loader.rows("select bad_row from ops.check_failure order by 1")
    assert kept == [({"id": 1, "place": "x", "rows": 2},), ({"id": 2, "place": "x", "rows": 2},)]
    core("delete from core.t where ctid not in (select min(ctid) from core.t group by id)")
    assert evaluate(check, DAY) == [("core.t", "pass", "0 rows repeat the id, place of another row")]


@pytest.mark.parametrize(
    ("index", "rules_out_duplicates"),
    [
        ("unique index on core.t (id)", True),
        ("unique index on core.t (id, place)", True),
        ("unique index on core.t (id, place, more)", False),
        ("unique index on core.t (id) where id > 3", False),
        ("unique index on core.t (abs(id))", False),
        ("index on core.t (id)", False),
        # Nulls are not equal to each other in such an index.
        ("unique index on core.t (may_be_null)", False),
        ("unique index on core.t (may_be_null) nulls not distinct", True),
        ("unique index on core.t (id) include (may_be_null)", True),
        ("unique index on core.t (id, may_be_null)", False),
        ("unique index on core.t (id, may_be_null) nulls not distinct", True),
    ],
)
def test_uniqueness_counts_nothing_with_a_unique_index(
    evaluate, only: Only, core: Callable[[str], None], index: str, rules_out_duplicates: bool
) -> None:
    core(
        f"create table core.t (id int not null, place int not null, more int not null, may_be_null int);create {index}"
    )
    key = {"(may_be_null)": "may_be_null", "(id, may_be_null)": "id, may_be_null"}.get(
        re.findall(r"\(.*?\)", index)[0], "id, place"
    )
    check = only(f"kind: uniqueness, tables: [{{table: core.t, key: [{key}]}}]")
    ((_, status, message),) = evaluate(check, DAY)
    assert status == "pass"
    assert message == (
        f"no duplicates: {key} has a unique index"
        if rules_out_duplicates
        else f"0 rows repeat the {key} of another row"
    )


@pytest.mark.parametrize("columns", ["id, part", "part, id"])
def test_uniqueness_finds_duplicates_that_an_index_with_a_nullable_column_lets_in(
    evaluate, only: Only, core: Callable[[str], None], columns: str
) -> None:
    core(f"create table core.t (id int not null, part int); create unique index on core.t ({columns})")
    core("insert into core.t values (1, null), (1, 2), (1, 3), (2, null), (2, null)")
    check = only("kind: uniqueness, tables: [{table: core.t, key: [id]}]")
    ((_, status, message),) = evaluate(check, DAY)
    assert (status, message[: message.index(",")]) == ("fail", "3 rows repeat the id of another row")
    check = only("kind: uniqueness, tables: [{table: core.t, key: [id, part]}]")
    ((_, status, message),) = evaluate(check, DAY)
    assert (status, message[: message.index(", e.g.")]) == ("fail", "1 rows repeat the id, part of another row")


# -- orphans -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def facts(core: Callable[[str], None]) -> Callable[[str], None]:
    """
    Two days of ten facts each: customers 0 to 7 are known, 8 is inferred, and 9 is not in the dimension, which has two
    versions of each.
    """
    core(
        f"""
        create table core.dim as
        select n as customer, n = 8 as is_inferred, version
        from generate_series(0, 8) as n
        cross join generate_series(1, 2) as version;

        create table core.fact as
        select day, n as customer, n as order_id
        from generate_series(0, 9) as n
        cross join unnest(array[date '{DAY}', date '{DAY}' + 1]) as day
        """
    )
    return core


ORPHANS = (
    "kind: orphans, links: [{table: core.fact, key: customer, parent: core.dim, known_when: not is_inferred, day: day}]"
)


@pytest.mark.parametrize(
    ("limits", "status"),
    [("fail_above: 20", "pass"), ("fail_above: 19.9", "fail"), ("warn_above: 5, fail_above: 50", "warn")],
)
def test_orphans_compare_their_share_with_the_limits(
    evaluate, only: Only, facts, loader: Loader, limits: str, status: str
) -> None:
    check = only(f"{ORPHANS}, {limits}")
    message = "2 of 10 rows (20.00 %) have a customer that is unknown in core.dim"
    assert evaluate(check, DAY) == [("core.fact customer", status, message)]
    kept = [row["order_id"] for (row,) in loader.rows("select bad_row from ops.check_failure order by 1")]
    assert kept == ([] if status == "pass" else [8, 9])


def test_orphans_check_only_days_of_the_run_and_pass_with_few_rows(evaluate, only: Only, facts) -> None:
    facts(f"delete from core.fact where day = '{DAY}' and customer >= 8")
    assert evaluate(only(f"{ORPHANS}, fail_above: 0"), DAY)[0][1] == "pass"
    assert evaluate(only(f"{ORPHANS}, fail_above: 0"), "2024-03-02")[0][1] == "fail"
    assert evaluate(only(f"{ORPHANS}, fail_above: 0, minimum_rows: 11"), "2024-03-02")[0][1] == "pass"
    assert evaluate(only(f"{ORPHANS}, fail_above: 0"), "2024-05-05")[0][1] == "pass", "no rows at all"


# -- the distribution of categories ------------------------------------------------------------------------------------


@pytest.fixture
def paid(loader: Loader) -> Callable[..., None]:
    """Insert a number of orders of a day for each payment method."""

    def paid(day: str, **methods: int) -> None:
        for method, n in methods.items():
            loader.connection.execute(
                """
                insert into raw.sales_fact (
                    order_id, line_number, product_id, customer_id, order_date, order_amount, created_at,
                    payment_method, _batch_id, _loaded_at
                )
                select
                    gen_random_uuid()::text, 1, 'P', 'C', %(day)s::date, 1, %(day)s::date,
                    nullif(%(method)s, 'nothing'), 0, now()
                from generate_series(1, %(n)s)
                """,
                {"day": day, "method": method, "n": n},
            )

    return paid


DISTRIBUTION = (
    "kind: distribution, warn_above: 25, fail_above: 75, minimum_rows: 10, reference_days: 30,"
    " columns: [{table: raw.sales_fact, column: payment_method, day: order_date}]"
)


def test_distribution_compares_the_window_with_the_days_before(evaluate, only: Only, paid, loader: Loader) -> None:
    check = only(DISTRIBUTION)
    paid("2024-02-20", card=60, paypal=40)
    paid("2024-03-01", card=6, paypal=4)
    paid("2024-03-02", card=6, nothing=4)
    paid("2024-03-03", visa=10)
    assert evaluate(check, "2024-03-01")[0][1] == "pass"
    assert evaluate(check, "2024-03-02") == [
        (
            "raw.sales_fact payment_method",
            "warn",
            "the mix of payment_method differs by 40.00 % from the 30 days before; (none) 0.0 % → 40.0 %,"
            " paypal 40.0 % → 0.0 %, card 60.0 % → 60.0 %",
        )
    ]
    ((_, status, message),) = evaluate(check, "2024-03-03")
    assert status == "fail"
    assert message.startswith("the mix of payment_method differs by 100.00 %")
    assert {row["category"] for (row,) in loader.rows("select bad_row from ops.check_failure")} == {
        "(none)", "card", "paypal", "visa",
    }  # fmt: skip


def test_distribution_passes_with_few_rows_and_ignores_known_incidents(evaluate, only: Only, paid) -> None:
    paid("2024-02-20", card=60)
    paid("2024-03-03", visa=10)
    many = DISTRIBUTION.replace("minimum_rows: 10", "minimum_rows: 11")
    too_few = "too few rows to compare: 10 in the window, 60 before it"
    assert evaluate(only(many), "2024-03-03")[0][1:] == ("pass", too_few)
    check = only(DISTRIBUTION, incidents="[{name: Visa day, first_day: 2024-03-02, last_day: 2024-03-04}]")
    assert evaluate(check, "2024-03-03")[0][2] == "too few rows to compare: 0 in the window, 60 before it"
    # Days before the reference do not count.
    assert evaluate(only(DISTRIBUTION), "2024-04-02")[0][2].endswith("0 in the window, 10 before it")


def test_distribution_that_was_approved_warns_until_it_changes(evaluate, only: Only, paid, loader: Loader) -> None:
    check, subject = only(DISTRIBUTION), "raw.sales_fact payment_method"
    paid("2024-02-20", card=60)
    paid("2024-03-03", visa=9, card=1)
    assert evaluate(check, "2024-03-03")[0][1] == "fail"
    figures = [{"subject": subject, "day": "2024-03-03", "value": 90.0}]
    loader.connection.execute(
        """
        insert into ops.decision (
            run_id, check_name, subjects, message, days, figures, difference, asked_at, decision, decided_at, decided_by
        )
        values ('a_run', 'it', '{}', '', '{2024-03-03}', %s, '[]', now(), 'approved', now(), 'Ada')
        """,
        [Jsonb(figures)],
    )
    ((_, status, message),) = evaluate(check, "2024-03-03")
    assert status == "warn"
    assert message.endswith("; approved by Ada")
    # Another window is another figure, and so is another mix.
    assert evaluate(check, "2024-03-02", "2024-03-03")[0][1] == "fail"
    paid("2024-03-03", visa=30)
    assert evaluate(check, "2024-03-03")[0][1] == "fail"


# -- the quarantine ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "status"), [(4, "pass"), (5, "pass"), (6, "warn"), (15, "warn"), (16, "fail"), (20, "fail")]
)
def test_quarantined_compares_the_share_of_the_last_load_with_the_limits(
    evaluate, only: Only, loader: Loader, bad: int, status: str
) -> None:
    check = only("kind: quarantined, minimum_rows: 5, warn_above: 5, fail_above: 15")
    rows = [{"product_id": f"P{n}", "product_name": None if n < bad else "Ball"} for n in range(100)]
    loader.load("product", DAY, rows=rows)
    # Loading the same rows again adds nothing to the quarantine, and the share stays.
    assert loader.load("product", DAY, rows=rows).rows_quarantined == 0
    ((subject, actual, message),) = evaluate(check, DAY)
    assert (subject, actual) == ("product", status)
    assert message.startswith(f"{bad} of 100 rows were rejected ({bad}.00 %)")
    assert status == "pass" or f"{bad}x product_name" in message


def orders(day: str, good: int, bad: int) -> list[Row]:
    """Orders of a day; the bad ones lack a required value."""
    return [
        {
            **{"order_id": f"{day}-{n}", "product_id": "P", "customer_id": "C", "order_date": day, "order_amount": "5"},
            "created_at": f"{day} 12:00:00",
            **({"order_amount": None} if n < bad else {}),
        }
        for n in range(good + bad)
    ]


def test_quarantined_compares_the_share_of_the_worst_day(evaluate, only: Only, loader: Loader) -> None:
    """31 % of a day's orders are 8 % of a load that reads three earlier days as well."""
    check = only("kind: quarantined, warn_above: 5, fail_above: 15")
    days = ["2024-02-27", "2024-02-28", "2024-02-29"]
    rows = [row for day in days for row in orders(day, good=130, bad=0)] + orders(DAY, good=92, bad=42)
    loader.load("sales_fact", days[0], DAY, rows=rows)
    expected = f"{DAY}: 42 of 134 rows were rejected (31.34 %): 42x order_amount is missing"
    assert evaluate(check, DAY) == [("sales_fact", "fail", expected)]


@pytest.mark.parametrize(
    ("bad", "status", "message"),
    [
        (9, "pass", "9 of 120 rows were rejected (7.50 %)"),
        (10, "warn", f"{DAY}: 10 of 20 rows were rejected (50.00 %): 10x order_amount is missing"),
    ],
)
def test_quarantined_day_with_few_rejected_rows_only_warns(
    evaluate, only: Only, loader: Loader, bad: int, status: str, message: str
) -> None:
    """Half of a small day's orders must not stop a run, but somebody should hear of it."""
    check = only("kind: quarantined, minimum_rows: 10, minimum_rows_of_day: 25, warn_above: 10, fail_above: 15")
    rows = orders("2024-02-29", good=100, bad=0) + orders(DAY, good=20 - bad, bad=bad)
    loader.load("sales_fact", "2024-02-29", DAY, rows=rows)
    assert evaluate(check, DAY) == [("sales_fact", status, message)]


def test_quarantined_gives_the_reasons_of_the_worst_day(evaluate, only: Only, loader: Loader) -> None:
    check = only("kind: quarantined, warn_above: 5, fail_above: 15")
    rows = orders("2024-02-29", good=970, bad=30) + orders(DAY, good=70, bad=30)
    loader.load("sales_fact", "2024-02-29", DAY, rows=rows)
    expected = f"{DAY}: 30 of 100 rows were rejected (30.00 %): 30x order_amount is missing"
    assert evaluate(check, DAY) == [("sales_fact", "fail", expected)]


def test_quarantined_counts_the_reasons_of_this_load_only(evaluate, only: Only, loader: Loader) -> None:
    """Rows of other days wait in quarantine as well, and what was rejected before is rejected again."""
    check = only("kind: quarantined, minimum_rows: 5, warn_above: 5, fail_above: 15")
    loader.load("sales_fact", "2024-01-31", rows=orders("2024-01-31", good=300, bad=51))
    for _ in range(2):
        loader.load("sales_fact", DAY, rows=orders(DAY, good=94, bad=6))
    expected = "6 of 100 rows were rejected (6.00 %): 6x order_amount is missing"
    assert evaluate(check, DAY) == [("sales_fact", "warn", expected)]


def test_quarantined_counts_rows_without_a_day_with_the_load_that_read_them(
    evaluate, only: Only, loader: Loader
) -> None:
    check = only("kind: quarantined, minimum_rows: 5, warn_above: 5, fail_above: 15")
    undated = [{**row, "created_at": "no time"} for row in orders(DAY, good=6, bad=0)]
    loader.load("sales_fact", DAY, rows=undated + orders(DAY, good=100, bad=0)[6:])
    ((_, status, message),) = evaluate(check, DAY)
    assert (status, message[:48]) == ("warn", "6 of 100 rows were rejected (6.00 %): 6x created")


# -- the source's columns ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("fault", "status", "sentence"),
    [
        ("alter customer_name type varchar(40)", "pass", "its columns are as expected"),
        ("add loyalty_tier text", "warn", "column loyalty_tier is new (text)"),
        ("drop status", "fail", "column status (text) is gone"),
        ("rename status to state", "fail", "column state is new (text); column status (text) is gone"),
        ("alter start_date type text", "fail", "column start_date is text, expected date"),
    ],
)
def test_schema_drift_warns_for_new_column_and_fails_for_other_changes(
    evaluate,
    loader: Loader,
    insert: Callable[..., None],
    shop: psycopg.Connection,
    fault: str,
    status: str,
    sentence: str,
) -> None:
    insert("customer", customer_id="C1", customer_name="Ada")
    loader.load("customer", DAY)
    loader.load("product", DAY, rows=[{"product_id": "P", "product_name": "Ball"}])
    as_expected = "its columns are as expected"
    assert evaluate("schema_drift", DAY) == [("product", "pass", as_expected), ("customer", "pass", as_expected)]
    shop.execute(f"alter table customer {fault}".encode())
    with nullcontext() if status != "fail" else pytest.raises(SchemaDrift):
        loader.load("customer", DAY)
    assert evaluate("schema_drift", DAY) == [("product", "pass", as_expected), ("customer", status, sentence)]
    assert evaluate("schema_drift", DAY, sources=["product"]) == [("product", "pass", as_expected)]


def test_schema_drift_warns_once_of_a_column_that_raw_has_taken_over(
    evaluate, loader: Loader, insert: Callable[..., None], shop: psycopg.Connection
) -> None:
    ignoring, evolving = (replace(SOURCES["customer"], new_columns=policy) for policy in NewColumns)
    insert("customer", customer_id="C1")
    shop.execute("alter table customer add loyalty_tier text, add _mark text")
    mark = "column _mark is new (text)"
    both = f"{mark}; column loyalty_tier is new (text)"
    try:
        # Ignored, it warns with each load; taken over, no more. Raw marks its own columns with an underscore.
        for source, expected in ((ignoring, both), (ignoring, both), (evolving, mark), (evolving, mark)):
            loader.load(source, DAY)
            assert evaluate("schema_drift", DAY) == [("customer", "warn", expected)]
        # Raw keeps a column that the registry ignores again, and gets no more of it.
        loader.load(ignoring, DAY)
        assert evaluate("schema_drift", DAY) == [("customer", "warn", both)]
        loader.connection.execute("delete from ops.schema_change")
        for expected in (both, mark):
            loader.load(evolving, DAY)
            assert evaluate("schema_drift", DAY) == [("customer", "warn", expected)]
    finally:
        loader.connection.execute("alter table raw.customer drop column if exists loyalty_tier")


# -- a file of SQL -----------------------------------------------------------------------------------------------------


def test_dated_ahead_warns_with_the_orders(evaluate, loader: Loader) -> None:
    loader.connection.execute(
        """
        insert into raw.sales_fact (
            order_id, line_number, product_id, customer_id, order_date, order_amount, created_at, _batch_id, _loaded_at
        )
        select 'O' || n, 1, 'P', 'C', date '2024-02-28' + n, 1, '2024-03-01 10:00', 0, now()
        from generate_series(1, 4) as n
        """
    )
    ((subject, status, message),) = evaluate("dated_ahead", DAY)
    assert (subject, status) == ("orders_dated_ahead", "warn")
    assert message.startswith("2 bad rows, e.g. {")
    kept = [row["order_id"] for (row,) in loader.rows("select bad_row from ops.check_failure order by 1")]
    assert kept == ["O3", "O4"]
    assert evaluate("dated_ahead", "2024-03-02")[0][1:] == ("pass", "0 bad rows")


def test_sql_check_keeps_at_most_a_hundred_bad_rows(
    evaluate, only: Only, loader: Loader, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_checks, "FOLDER", tmp_path)
    (tmp_path / "many.sql").write_text("select n, n %% 2 as odd from generate_series(1, 250) as n -- bad\n;")
    assert evaluate(only("kind: sql, file: many.sql"), DAY)[0][1] == "fail"
    assert loader.value("select count(*) from ops.check_failure") == 100
    assert evaluate(only("kind: sql, file: many.sql, severity: warn"), DAY)[0][1] == "warn"
    assert evaluate(only("kind: sql, file: many.sql, warn_above: 249, fail_above: 250"), DAY)[0][1] == "warn"
