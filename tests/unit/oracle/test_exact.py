"""The oracle's exact arithmetic, compared with Python's Decimal and Fraction."""

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.oracle.compute import open_oracle

WIDE = Context(prec=80, rounding=ROUND_HALF_UP)
MONEY = st.decimals(Decimal("-9999999999.99"), Decimal("9999999999.99"), places=2)


@pytest.fixture(scope="module")
def oracle() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_oracle() as connection:
        yield connection


def value(oracle: duckdb.DuckDBPyConnection, expression: str) -> object:
    [(result,)] = oracle.execute(f"select {expression}").fetchall()
    return result


def rounded(exact: Fraction, places: int) -> Decimal:
    """Round half away from zero, computed with integers."""
    steps = abs(exact) * 10**places
    whole = Decimal(int(steps + Fraction(1, 2))).scaleb(-places, WIDE)
    return -whole if exact < 0 else whole


@given(MONEY, MONEY.filter(bool))
@example(Decimal("10.01"), Decimal("2"))
@example(Decimal("-10.01"), Decimal("2"))
@example(Decimal("10.01"), Decimal("-2"))
@example(Decimal("9999999999.99"), Decimal("0.01"))
def test_ratio_and_percent_are_the_exact_quotient_rounded_once(
    oracle: duckdb.DuckDBPyConnection, numerator: Decimal, denominator: Decimal
) -> None:
    exact = Fraction(numerator) / Fraction(denominator)
    arguments = f"{numerator}::decimal(38, 2), {denominator}::decimal(38, 2)"
    assert value(oracle, f"ratio({arguments})") == rounded(exact, 2)
    assert value(oracle, f"ratio_1({arguments})") == rounded(exact, 1)
    assert value(oracle, f"percent({arguments})") == rounded(exact * 100, 2)


@given(st.decimals(Decimal("-9999999999"), Decimal("9999999999"), places=12))
@example(Decimal("2.005"))
@example(Decimal("-2.005"))
@example(Decimal("2.004999999999"))
@example(Decimal("499.995"))
def test_to_cents_rounds_half_away_from_zero(oracle: duckdb.DuckDBPyConnection, amount: Decimal) -> None:
    expected = amount.quantize(Decimal("0.01"), ROUND_HALF_UP, WIDE)
    assert value(oracle, f"to_cents('{amount:f}'::decimal(38, 12))") == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("ratio(1, 0)", None),
        ("percent(0, 0.00)", None),
        ("ratio(null, 3)", None),
        ("ratio(3, null)", None),
        ("percent(0, 3)", Decimal("0.00")),
        ("ratio(7::hugeint, 2::bigint)", Decimal("3.50")),
        ("percent(1, 32)", Decimal("3.13")),
        ("ratio(30 * 7, 48)", Decimal("4.38")),
    ],
)
def test_quotients_without_value_are_null_and_halves_are_rounded_up(
    oracle: duckdb.DuckDBPyConnection, expression: str, expected: Decimal | None
) -> None:
    assert value(oracle, expression) == expected
