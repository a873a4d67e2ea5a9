"""What differs between two tables of a mart: columns, rows, sums to the cent, and the largest single differences."""

from collections.abc import Iterator
from decimal import Decimal

import psycopg
import pytest

from ecommerce.change_preview.mart_differences import ChangedFigure, MartDifference, OneSide, compare_mart


@pytest.fixture
def session(previewer: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A session with three schemas of its own, which are gone afterwards."""
    with previewer.transaction(force_rollback=True):
        previewer.execute("create schema old_side; create schema new_side; create schema scratch")
        yield previewer


def compare(session: psycopg.Connection, before: str = "", after: str = "") -> MartDifference:
    """Compare the tables that these scripts make, which begin with the columns."""
    for schema, script in (("old_side", before), ("new_side", after)):
        if script:
            columns, _, values = script.partition(" values ")
            session.execute(f"create table {schema}.mart {columns}".encode())
            if values:
                session.execute(f"insert into {schema}.mart values {values}".encode())
    return compare_mart(session, "mart", "old_side", "new_side", "scratch")


def test_rows_are_matched_by_key_also_where_it_is_null(session: psycopg.Connection) -> None:
    columns = "(day date, city text, revenue numeric(18, 2), note text, unique nulls not distinct (day, city))"
    found = compare(
        session,
        f"{columns} values ('2024-01-01', null, 10.10, 'a'), ('2024-01-01', 'Rome', 5.05, 'b'), "
        "('2024-01-02', 'Oslo', 1, 'c')",
        f"{columns} values ('2024-01-01', null, 10.11, 'a'), ('2024-01-01', 'Rome', 5.05, 'x'), "
        "('2024-01-03', 'Oslo', 2.5, 'c')",
    )
    oslo = {"day": "2024-01-02", "city": "Oslo"}, {"day": "2024-01-03", "city": "Oslo"}
    assert (found.rows_before, found.rows_after, found.changed) == (3, 3, 2)
    assert (found.only_before, found.only_after) == (OneSide(1, [oslo[0]]), OneSide(1, [oslo[1]]))
    (revenue,) = found.numbers
    assert (revenue.before, revenue.after, revenue.rows) == (Decimal("16.15"), Decimal("17.66"), 1)
    assert revenue.largest == [
        ChangedFigure(oslo[1], None, Decimal("2.50")),
        ChangedFigure(oslo[0], Decimal("1.00"), None),
        ChangedFigure({"day": "2024-01-01", "city": None}, Decimal("10.10"), Decimal("10.11")),
    ]
    assert found.texts == {"note": 1}
    assert not found.is_equal


def test_columns_that_are_added_gone_or_retyped_are_named(session: psycopg.Connection) -> None:
    found = compare(
        session,
        "(id text primary key, a numeric(18, 2), b int, c text, d date) values ('1', 1.25, 7, 'x', '2024-01-01')",
        "(id text primary key, a numeric(18, 4), e int, c int, d date) values ('1', 1.2512, 8, 9, '2024-01-01')",
    )
    assert (found.added, found.gone) == ([("e", "integer")], [("b", "integer")])
    assert found.retyped == [("a", "numeric(18,2)", "numeric(18,4)"), ("c", "text", "integer")]
    sums = {column.name: (column.before, column.after, column.rows) for column in found.numbers}
    assert sums == {
        "a": (Decimal("1.25"), Decimal("1.2512"), 1), "e": (None, Decimal(8), 0), "c": (None, Decimal(9), 0),
    }  # fmt: skip
    assert found.changed == 1


def test_equal_mart_is_equal(session: psycopg.Connection) -> None:
    table = "(id text primary key, a numeric, b text[]) values ('1', null, '{x}'), ('2', 0.1, null)"
    found = compare(session, table, table)
    assert found.is_equal
    assert [(column.name, column.after, column.is_changed) for column in found.numbers] == [
        ("a", Decimal("0.1"), False)
    ]


@pytest.mark.parametrize("key", ["(id, n)", ""])
def test_rows_under_another_key_are_counted_and_added_up(session: psycopg.Connection, key: str) -> None:
    columns = "(id text not null, n int not null, a numeric(18, 2){}) values ('1', 1, 2.5)"
    found = compare(session, columns.format(", primary key (id)"), columns.format(f", unique {key}" if key else ""))
    assert found.keys == (["id"], ["id", "n"] if key else [])
    assert [(column.name, column.before, column.after) for column in found.numbers] == [
        ("n", Decimal(1), Decimal(1)), ("a", Decimal("2.50"), Decimal("2.50")),
    ]  # fmt: skip
    assert not found.is_equal


def test_mart_on_one_side_only_is_new_or_gone(session: psycopg.Connection) -> None:
    found = compare(session, after="(id text primary key) values ('1'), ('2')")
    assert (found.is_new, found.is_gone, found.rows_before, found.rows_after) == (True, False, 0, 2)
    session.execute("alter table new_side.mart set schema old_side")
    found = compare(session)
    assert (found.is_new, found.is_gone, found.rows_before, found.rows_after) == (False, True, 2, 0)
