"""White space at the ends of texts: the warehouse, a shop's Postgres and Python agree on each character of Unicode."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from ecommerce.common.blanks import BLANKS, clean_text, is_not_blank, is_trimmed_at_source, trimmed_at_source

#: With each character that could be a blank: alone, at both ends, and inside.
TEXTS = [
    text
    for character in (*map(chr, range(1, 0x3100)), "\ufeff", "\U0001f600")
    for text in (character, f"{character}a", f"b{character}", f"{character} a\t{character}b {character}")
]


@pytest.fixture
def warehouse(warehouse_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(warehouse_dsn) as connection:
        yield connection


def differing(connection: psycopg.Connection, value: sql.Composable, expected: Callable[[str], object]) -> list[str]:
    """The texts of which a database's value is another than Python's."""
    query = sql.SQL("select text, {} from unnest(%s::text[]) as text").format(value)
    return [text for text, value in connection.execute(query, [TEXTS]) if value != expected(text)]


def characters_that_change(connection: psycopg.Connection, value: sql.Composable) -> set[str]:
    """Of all characters of Unicode, those at the ends of a text that a database's value has not."""
    query = sql.SQL("""
        select chr(code)
        from (
            select code, chr(code) || 'a' || chr(code) as text
            from generate_series(1, 1114111) as code
            where code not between 55296 and 57343
        ) as character
        where {} is distinct from text
    """).format(value)
    return {character for (character,) in connection.execute(query)}


def test_warehouse_cleans_each_character_as_python_does(warehouse: psycopg.Connection) -> None:
    cleaned = sql.SQL("ops.clean_text(text)")
    assert characters_that_change(warehouse, cleaned) == set(BLANKS)
    assert differing(warehouse, cleaned, clean_text) == []


def test_source_trims_each_character_as_python_does(warehouse: psycopg.Connection) -> None:
    trimmed = trimmed_at_source(sql.Identifier("text"), "UTF8")
    assert characters_that_change(warehouse, trimmed) == set(BLANKS)
    assert differing(warehouse, trimmed, lambda text: text.strip(BLANKS)) == []


def test_source_knows_blank_texts_as_python_does(warehouse: psycopg.Connection) -> None:
    assert differing(warehouse, is_not_blank(sql.Identifier("text")), lambda text: clean_text(text) is not None) == []


def test_function_is_inlined_and_its_index_is_used(warehouse: psycopg.Connection) -> None:
    warehouse.execute("set enable_seqscan = off")
    plan = warehouse.execute(
        "explain verbose select ops.clean_text(reason) from raw.refund where ops.clean_text(order_id) = 'O1'"
    ).fetchall()
    lines = [line for (line,) in plan]
    assert any("refund_order_id" in line for line in lines), lines
    assert not any("clean_text" in line for line in lines), lines


def test_null_stays_null(warehouse: psycopg.Connection) -> None:
    assert warehouse.execute("select ops.clean_text(null)").fetchone() == (None,)


def test_source_without_known_characters_passes_texts_of_visible_ascii(warehouse: psycopg.Connection) -> None:
    condition = is_trimmed_at_source(sql.Identifier("text"), "SQL_ASCII")
    assert differing(warehouse, condition, lambda text: "!" <= text[0] <= "~" and "!" <= text[-1] <= "~") == []
