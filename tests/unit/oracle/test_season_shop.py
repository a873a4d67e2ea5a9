"""The season shop: always the same bytes, and each edge case of seasons and weather visible in the marts."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.oracle.compute import MARTS, compute
from tests.oracle.season_shop import FIRST, LAST, write_season_shop


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    folder = tmp_path_factory.mktemp("season_shop")
    assert write_season_shop(folder) == (FIRST, LAST)
    with compute(folder, FIRST, LAST) as connection:
        yield connection


def test_same_seed_writes_the_same_season_shop(tmp_path: Path) -> None:
    def digest(name: str, seed: int) -> str:
        write_season_shop(tmp_path / name, seed=seed)
        return hashlib.sha256((tmp_path / name / "sales_fact.csv").read_bytes()).hexdigest()

    assert digest("one", 1) == digest("again", 1) != digest("other", 2)


@pytest.mark.parametrize("mart", ["seasonal_index", "weather_sales_impact", "weather_correlation"])
def test_key_of_a_season_mart_is_unique(oracle: duckdb.DuckDBPyConnection, mart: str) -> None:
    [(rows, distinct)] = oracle.execute(
        f"select count(*), count(distinct ({', '.join(MARTS[mart].key)})) from marts.{mart}"
    ).fetchall()
    assert rows == distinct != 0


def test_twelve_months_average_100(oracle: duckdb.DuckDBPyConnection) -> None:
    """A category of eleven months has none."""
    rows = oracle.execute(
        """
        select category_name, count(*), avg(index_percent)::double
        from marts.seasonal_index
        group by 1
        order by 1 nulls last
        """
    ).fetchall()
    assert [name for name, _, _ in rows] == ["All categories", "December", "Gone", "Later", "Tea", None]
    assert {months for _, months, _ in rows} == {12}
    assert all(abs(average - 100) < 0.01 for _, _, average in rows)


@pytest.mark.parametrize(
    ("mart", "case"),
    [
        ("seasonal_index", "category_name is null and is_reliable"),
        ("seasonal_index", "years_used = 3"),
        ("seasonal_index", "category_name = 'Later' and not is_reliable and strength is null and years_used = 2"),
        ("seasonal_index", "category_name = 'Gone' and is_reliable and years_used = 1"),
        ("seasonal_index", "category_name = 'December' and month_of_year = 12 and index_percent > 1000"),
        ("seasonal_index", "index_percent = 0 and highest = 0"),
        ("seasonal_index", "strength between 0.1 and 0.99"),
        ("weather_sales_impact", "revenue_index > 105"),
        ("weather_sales_impact", "revenue_index is not null and city = 'Aden'"),
        ("weather_correlation", "is_significant and ci_low > 0 and city = 'Berlin' and lag_days = 0"),
        ("weather_correlation", "not is_significant and city = 'Berlin' and factor = 'temperature'"),
        ("weather_correlation", "correlation is null and raw_correlation is null and days > 600 and city = 'Aden'"),
        ("weather_correlation", "correlation is null and days > 600 and city = 'Kiel' and factor = 'precipitation'"),
        ("weather_correlation", "days = 0 and city = 'Kiel' and factor = 'temperature'"),
        ("weather_correlation", "days between 1 and 29 and city = 'Ulm' and correlation is null"),
        ("weather_correlation", "abs(raw_correlation) > 0.15 and abs(correlation) < 0.05"),
    ],
)
def test_season_case_occurs_in_mart(oracle: duckdb.DuckDBPyConnection, mart: str, case: str) -> None:
    [(rows,)] = oracle.execute(f"select count(*) from marts.{mart} where {case}").fetchall()
    assert rows != 0


@pytest.mark.parametrize(
    "case",
    ["sales_ratio is null and isodow(order_date) = 7", "sales_ratio is null and isodow(order_date) < 7", "revenue = 0"],
)
def test_day_without_ratio_occurs(oracle: duckdb.DuckDBPyConnection, case: str) -> None:
    [(days,)] = oracle.execute(f"select count(*) from shop.comparable_day where {case}").fetchall()
    assert days != 0
