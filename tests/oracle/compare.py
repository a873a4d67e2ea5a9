"""Compare the published marts of a warehouse with the expected ones, row by row and column by column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import psycopg
from psycopg import sql

from tests.oracle.compute import MARTS, UTC, Mart, TimeZones, compute

EXAMPLES = 5

# Both sides write decimals with ten places: 5, 5.0 and 5.00 are equal, and a value that was not rounded differs.
DECIMAL = "decimal(38, 10)"

Row = Mapping[str, str | None]


@dataclass(frozen=True)
class Difference:
    """
    A row that differs, as text; a row that only one side has is ``None`` on the other.

    :param columns: the columns that differ; empty if only one side has the row
    :param note: the reason if there is no row to show, e.g. the mart does not exist
    """

    mart: str
    expected: Row | None = None
    found: Row | None = None
    columns: tuple[str, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        if self.note:
            return f"{self.mart}: {self.note}"
        if self.found is None:
            return f"{self.mart}: missing {self.expected}"
        if self.expected is None:
            return f"{self.mart}: not expected {self.found}"
        changes = ", ".join(f"{name} {self.expected[name]} → {self.found[name]}" for name in self.columns)
        return f"{self.mart}: {changes}\n    expected {self.expected}\n    found    {self.found}"


@dataclass(frozen=True)
class MartComparison:
    """The comparison of one mart: row counts of both sides, rows that differ, and the first of them by key."""

    mart: str
    rows_expected: int
    rows_found: int
    rows_different: int
    differences: tuple[Difference, ...]

    @property
    def is_equal(self) -> bool:
        return not self.differences

    @property
    def problems(self) -> str:
        """What differs, in a few words; empty if nothing does."""
        notes = [difference.note for difference in self.differences if difference.note]
        rows = [f"{self.rows_different:,} rows differ"] if self.rows_different else []
        return "; ".join([*rows, *notes])


def compare(folder: Path, first: date, last: date, dsn: str, zones: TimeZones = UTC) -> list[Difference]:
    """
    Compare the marts of a warehouse that has loaded a window with those expected from the source files.

    :param folder: see :func:`tests.oracle.compute.compute`, as for ``first``, ``last`` (inclusive) and ``zones``
    :param dsn: libpq connection string of the warehouse, a role that can read ``marts``
    :return: the first differences of each mart; empty if all marts are equal
    """
    return [difference for mart in compare_marts(folder, first, last, dsn, zones) for difference in mart.differences]


def compare_marts(folder: Path, first: date, last: date, dsn: str, zones: TimeZones = UTC) -> list[MartComparison]:
    """Compare each mart, all in one snapshot of the warehouse. Parameters as for :func:`compare`."""
    with compute(folder, first, last, zones) as oracle, psycopg.connect(dsn) as warehouse:
        warehouse.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        warehouse.execute("set datestyle = 'ISO'")
        return [compare_mart(oracle, warehouse, name) for name in MARTS]


def compare_mart(oracle: duckdb.DuckDBPyConnection, warehouse: psycopg.Connection, name: str) -> MartComparison:
    """
    Compare one mart: every column that both sides have; a column that only one side has is a difference, too.

    :param oracle: holds the expected ``marts.<name>``; temporary tables for the comparison are left in it
    :param warehouse: holds the published ``marts.<name>``
    """
    expected_kinds = {column: kind for column, kind, *_ in oracle.execute(f"describe marts.{name}").fetchall()}
    rows_expected = _count(oracle, f"marts.{name}")
    columns_found = _columns_found(warehouse, name)
    if not columns_found:
        return MartComparison(name, rows_expected, 0, rows_expected, (Difference(name, note="does not exist"),))
    notes = _column_notes(name, list(expected_kinds), columns_found)
    kinds = {column: kind for column, kind in expected_kinds.items() if column in columns_found}
    mart = MARTS[name]
    if not set(mart.key) <= kinds.keys():
        return MartComparison(name, rows_expected, 0, rows_expected, notes)

    _fetch(oracle, warehouse, name, list(kinds))
    oracle.execute(f"create or replace temp table different as {_differences(name, mart, kinds)}")
    examples = oracle.execute(
        f"select expected, found, columns from different order by {', '.join(mart.key)} limit {EXAMPLES}"
    ).fetchall()
    return MartComparison(
        mart=name,
        rows_expected=rows_expected,
        rows_found=_count(oracle, "found"),
        rows_different=_count(oracle, "different"),
        differences=(
            *notes,
            *(Difference(name, expected, found, tuple(columns)) for expected, found, columns in examples),
        ),
    )


def _column_notes(name: str, expected: Sequence[str], found: Sequence[str]) -> tuple[Difference, ...]:
    absent = [column for column in expected if column not in found]
    unexpected = [column for column in found if column not in expected]
    notes = []
    if absent:
        notes.append(f"has no column {', '.join(absent)}")
    if unexpected:
        notes.append(f"has a column that is not expected: {', '.join(unexpected)}")
    return tuple(Difference(name, note=note) for note in notes)


def _count(oracle: duckdb.DuckDBPyConnection, table: str) -> int:
    [(rows,)] = oracle.execute(f"select count(*) from {table}").fetchall()
    return int(rows)


def _columns_found(warehouse: psycopg.Connection, mart: str) -> list[str]:
    """The columns of a published mart in their order; none if it does not exist."""
    query = """
        select attname from pg_attribute
        where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped
        order by attnum
    """
    return [column for (column,) in warehouse.execute(query, [f"marts.{mart}"])]


def _fetch(oracle: duckdb.DuckDBPyConnection, warehouse: psycopg.Connection, mart: str, columns: list[str]) -> None:
    """Copy a mart, as text, into the oracle's table ``found``."""
    copy = sql.SQL(r"copy (select {} from {}) to stdout (format csv, null '\N')").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier("marts", mart)
    )
    types = ", ".join(f"'{column}': 'varchar'" for column in columns)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "mart.csv"
        with file.open("wb") as target, warehouse.cursor().copy(copy) as rows:
            for block in rows:
                target.write(block)
        oracle.execute(rf"""
            create or replace temp table found as from read_csv(
                '{file}', columns = {{{types}}}, auto_detect = false, header = false, delim = ',',
                quote = '"', escape = '"', nullstr = '\N', allow_quoted_nulls = false
            )
        """)


def _differences(name: str, mart: Mart, kinds: Mapping[str, str]) -> str:
    """Compose the query for the rows that differ: both versions (null if a side has none) and the columns."""
    versions = ", ".join(f"{column} := {column}" for column in kinds)
    expected = ", ".join(f"{_expected_text(column, kind)} as {column}" for column, kind in kinds.items())
    found = ", ".join(f"{_found_text(column, kind)} as {column}" for column, kind in kinds.items())
    keys = ", ".join(mart.key)
    same_key = " and ".join(
        f"expected.version.{column} is not distinct from found.version.{column}" for column in mart.key
    )
    either_key = ", ".join(
        f"coalesce(expected.version.{column}, found.version.{column}) as {column}" for column in mart.key
    )
    differing = ", ".join(
        f"case when {_differs(column, mart.tolerances.get(column))} then '{column}' end" for column in kinds
    )
    # If a key occurs twice in the warehouse, the second row has no match and so differs.
    return f"""
        with expected as (
            select struct_pack({versions}) as version, 1 as occurrence
            from (select {expected} from marts.{name})
        ),

        found as (
            select struct_pack({versions}) as version, row_number() over (partition by {keys}) as occurrence
            from (select {found} from temp.found)
        )

        select
            {either_key},
            expected.version as expected,
            found.version as found,
            case
                when expected.occurrence = found.occurrence
                    then list_filter([{differing}], lambda differing: differing is not null)
                else []
            end as columns
        from expected
        full join found on {same_key} and expected.occurrence = found.occurrence
        where expected.occurrence is null or found.occurrence is null or len(columns) > 0
    """


def _is_number(kind: str) -> bool:
    return kind.startswith(("DECIMAL", "HUGEINT", "BIGINT", "INTEGER"))


def _number_text(value: str) -> str:
    return f"rtrim(rtrim({value}::{DECIMAL}::varchar, '0'), '.')"


def _expected_text(column: str, kind: str) -> str:
    return _number_text(column) if _is_number(kind) else f"{column}::varchar"


def _found_text(column: str, kind: str) -> str:
    """As :func:`_expected_text`, but a text that is no value of the type (`NaN`) stays as it is, and so differs."""
    if _is_number(kind):
        return f"coalesce({_number_text(f'try_cast({column} as {DECIMAL})')}, {column})"
    return f"coalesce(try_cast({column} as boolean)::varchar, {column})" if kind == "BOOLEAN" else column


def _differs(column: str, tolerance: Decimal | None) -> str:
    expected, found = f"expected.version.{column}", f"found.version.{column}"
    if tolerance is None:
        return f"{expected} is distinct from {found}"
    distance = f"abs({expected}::{DECIMAL} - try_cast({found} as {DECIMAL}))"
    return f"({expected} is distinct from {found} and coalesce({distance} > {tolerance}, true))"
