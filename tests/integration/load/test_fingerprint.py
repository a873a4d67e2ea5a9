"""Fingerprints of days: two rows have the same one exactly where raw stores the same."""

from dataclasses import replace
from datetime import date

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from ecommerce.common.fingerprint import Fingerprint, fingerprints
from ecommerce.common.sources import SOURCES, Column, Kind
from ecommerce.common.value_rules import typed
from tests.integration.support import Loader

DAY = date(2024, 3, 1)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["", " ", "a", "A", "a ", "a\t", "ß", "SS", "\u00a0", "\ufeff"]
)
DECIMALS = st.builds(
    lambda sign, whole, fraction: f"{sign}{whole}{fraction}",
    st.sampled_from(["", "-"]),
    st.integers(0, 999),
    st.sampled_from(["", ".0", ".00", ".5", ".50", ".39", ".07"]),
)
INTEGERS = st.integers(-(2**31), 2**31 - 1).map(str)
DATES = st.dates().map(str) | st.sampled_from(["infinity", "-infinity"])
TIMES = st.datetimes().map(lambda moment: moment.isoformat(sep=" ")) | st.sampled_from(["infinity", "-infinity"])
INSTANTS = st.builds(
    lambda moment, zone: f"{moment.isoformat(sep=' ')}{zone}",
    st.datetimes().filter(lambda moment: 2 < moment.year < 9998),
    st.sampled_from(["Z", "+02", "-05:30"]),
)

#: Kind of the column, its type at the source, texts of its values.
CASES = [
    (Kind.TEXT, "text", TEXTS),
    (Kind.TEXT, "varchar", TEXTS),
    (Kind.TEXT, "citext", TEXTS),
    (Kind.TEXT, "bpchar", TEXTS),
    *(
        (kind, "numeric", DECIMALS)
        for kind in (Kind.NUMBER, Kind.MONEY, Kind.POSITIVE_MONEY, Kind.FRACTION, Kind.AMOUNT)
    ),
    (Kind.NUMBER, "float8", DECIMALS),
    (Kind.NUMBER, "int8", INTEGERS),
    (Kind.INTEGER, "int4", INTEGERS),
    (Kind.LONG, "int8", INTEGERS),
    (Kind.BOOLEAN, "bool", st.sampled_from(["true", "false"])),
    (Kind.DATE, "date", DATES),
    (Kind.TIMESTAMP, "timestamp", TIMES),
    (Kind.INSTANT, "timestamptz", INSTANTS),
]


def variants(source_type: str, text: str) -> list[str]:
    """Values that differ from a value in sign, scale, case or blanks alone."""
    if source_type in ("text", "varchar", "citext", "bpchar"):
        return [text, text.swapcase(), f"{text} ", f" {text}", f"{text}\t"]
    if source_type in ("numeric", "float8"):
        return [text, text.removeprefix("-"), f"-{text.removeprefix('-')}", f"{text}0" if "." in text else f"{text}.0"]
    return [text]


def pairs(source_type: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str | None, str | None]]:
    return values.flatmap(
        lambda text: st.tuples(st.just(text), st.sampled_from(variants(source_type, text)) | values | st.none())
    )


@pytest.fixture(scope="module")
def citext(warehouse_dsn: str) -> str:
    """The schema of the extension."""
    with psycopg.connect(warehouse_dsn, autocommit=True) as connection:
        connection.execute("create extension if not exists citext with schema raw")
    return "raw"


@pytest.mark.parametrize(
    ("kind", "source_type", "values"), CASES, ids=[f"{kind.value}-{source_type}" for kind, source_type, _ in CASES]
)
def test_fingerprints_are_equal_exactly_where_raw_stores_the_same(
    loader: Loader, citext: str, kind: Kind, source_type: str, values: st.SearchStrategy[str]
) -> None:
    column = Column("value", kind)
    source = replace(SOURCES["sales_fact"], columns=(column,))
    type_name = sql.SQL(f"{citext}.citext" if source_type == "citext" else source_type)

    def fingerprint(text: str | None, *, stored: bool) -> tuple[Fingerprint, str | None]:
        """As the source or as raw computes it, and what raw stores."""
        at_source = sql.SQL("(select {day}::timestamp as created_at, {text}::{type} as value) as source_row").format(
            day=sql.Literal(DAY), text=sql.Literal(text), type=type_name
        )
        raw_value = typed(source, column, source_type)
        raw_row = sql.SQL("(select created_at, {value} as value from {row}) as raw_row").format(
            value=raw_value, row=at_source
        )
        table = raw_row if stored else at_source
        found = fingerprints(
            loader.connection,
            source,
            table,
            [sql.Identifier("value")],
            7,
            day=sql.SQL("created_at::date"),
            inside=sql.SQL("true"),
            passes=sql.SQL("true"),
        )
        row = loader.connection.execute(sql.SQL("select value::text from {}").format(raw_row)).fetchone()
        assert row is not None
        return found[DAY], row[0]

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(pairs(source_type, values), st.booleans(), st.booleans())
    def check(pair: tuple[str | None, str | None], first_is_stored: bool, second_is_stored: bool) -> None:
        one, other = pair
        first, first_value = fingerprint(one, stored=first_is_stored)
        second, second_value = fingerprint(other, stored=second_is_stored)
        if first == second:
            assert first_value == second_value
        elif first_is_stored == second_is_stored:
            # The same side hashes the same value alike, unless two values of the source are stored as one.
            assert one != other

    check()


def test_fingerprint_sees_flipped_sign_scale_and_case(loader: Loader) -> None:
    def total(kind: Kind, expression: str) -> Fingerprint:
        source = replace(SOURCES["sales_fact"], columns=(Column("value", kind),))
        table = sql.SQL(f"(select timestamp '2024-03-01' as created_at, {expression} as value) as source_row")
        return fingerprints(
            loader.connection,
            source,
            table,
            [sql.Identifier("value")],
            7,
            day=sql.SQL("created_at::date"),
            inside=sql.SQL("true"),
            passes=sql.SQL("true"),
        )[DAY]

    assert total(Kind.NUMBER, "11.39") != total(Kind.NUMBER, "-11.39")
    assert total(Kind.NUMBER, "1.0") != total(Kind.NUMBER, "1.00")
    assert total(Kind.TEXT, "'a'::text") != total(Kind.TEXT, "'A'::text")
    assert total(Kind.TEXT, "null::text") != total(Kind.TEXT, "''::text")
