"""White space at the ends of texts: the warehouse, a shop's Postgres and Python agree on each character of Unicode."""

import sys
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from ecommerce.common.blanks import BLANKS, clean_text, is_not_blank, is_trimmed_at_source, trimmed_at_source

CHARACTERS = [chr(code) for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
TEXTS = [text for c in CHARACTERS for text in (c, f"{c}a", f"a{c}", f"{c}a{c}b{c}")]


@pytest.fixture
def warehouse(warehouse_dsn: str) -> psycopg.Connection:
    return psycopg.connect(warehouse_dsn)


def differing(connection: psycopg.Connection, value: sql.Composable, expected: Callable[[str], object]) -> list[str]:
    """The texts of which a database's value is another than Python's."""
    query = sql.SQL("select text, {} from unnest(%s::text[]) as text").format(value)
    with connection:
        return [text for text, value in connection.execute(query, [TEXTS]) if value != expected(text)]


def test_warehouse_cleans_each_character_as_python_does(warehouse: psycopg.Connection) -> None:
    assert differing(warehouse, sql.SQL("ops.clean_text(text)"), clean_text) == []


def test_source_trims_each_character_as_python_does(warehouse: psycopg.Connection) -> None:
    text = sql.Identifier("text")
    assert differing(warehouse, trimmed_at_source(text, "UTF8"), lambda text: text.strip(BLANKS)) == []
    assert differing(warehouse, is_not_blank(text), lambda text: clean_text(text) is not None) == []


def test_function_is_inlined_and_its_index_is_used(warehouse: psycopg.Connection) -> None:
    with warehouse as connection:
        connection.execute("set enable_seqscan = off")
        plan = connection.execute(
            "explain verbose select ops.clean_text(reason) from raw.refund where ops.clean_text(order_id) = 'O1'"
        ).fetchall()
    lines = [line for (line,) in plan]
    assert any("refund_order_id" in line for line in lines), lines
    assert not any("clean_text" in line for line in lines), lines


def test_null_stays_null(warehouse: psycopg.Connection) -> None:
    with warehouse as connection:
        assert connection.execute("select ops.clean_text(null)").fetchone() == (None,)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "MULE_INTERNAL"])
def test_source_without_known_characters_passes_texts_of_visible_ascii(
    warehouse: psycopg.Connection, encoding: str
) -> None:
    condition = is_trimmed_at_source(sql.Identifier("text"), encoding)
    assert differing(warehouse, condition, lambda text: "!" <= text[0] <= "~" and "!" <= text[-1] <= "~") == []
