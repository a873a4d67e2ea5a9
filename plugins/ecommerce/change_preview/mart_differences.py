"""Compare a mart as it was built before a change with the mart after it: columns, rows, sums and single figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from psycopg import Connection, sql

from ecommerce.publish.marts import Mart, columns_of, count_rows, fetch_number, key_object, key_of

#: How many keys and figures are named.
NAMED = 5
_NUMBERS = ("numeric", "smallint", "integer", "bigint", "real", "double precision")


@dataclass(frozen=True)
class ChangedFigure:
    """
    A figure of one row that differs.

    :param key: column → value
    """

    key: Mapping[str, Any]
    before: Decimal | None
    after: Decimal | None


@dataclass(frozen=True)
class NumericColumn:
    """
    A column of numbers in all rows.

    :param before: its sum; None if no row has a value
    :param rows: how many rows that are on both sides have another value
    :param largest: the largest differences, also of rows that are on one side only
    """

    name: str
    before: Decimal | None
    after: Decimal | None
    rows: int = 0
    largest: Sequence[ChangedFigure] = ()

    @property
    def is_changed(self) -> bool:
        """Whether any row has another value, or a row with a value is on one side only."""
        return bool(self.rows or self.largest or self.before != self.after)


@dataclass(frozen=True)
class OneSide:
    """Rows whose keys are on one side only: how many, and the first of these keys."""

    rows: int
    keys: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class MartDifference:
    """
    What a change makes of a mart.

    :param is_new: the mart is not there before; `is_gone`: not there after
    :param added: columns with their types; `gone` likewise
    :param retyped: column, type before, type after
    :param keys: the columns of the key before and after, if they are not the same; then rows cannot be matched
    :param changed: rows that are on both sides with other values
    :param texts: column that is no number → how many rows that are on both sides have another value
    """

    mart: str
    is_new: bool = False
    is_gone: bool = False
    rows_before: int = 0
    rows_after: int = 0
    added: Sequence[tuple[str, str]] = ()
    gone: Sequence[tuple[str, str]] = ()
    retyped: Sequence[tuple[str, str, str]] = ()
    keys: tuple[Sequence[str], Sequence[str]] | None = None
    only_before: OneSide = OneSide(0)
    only_after: OneSide = OneSide(0)
    changed: int = 0
    numbers: Sequence[NumericColumn] = ()
    texts: Mapping[str, int] = field(default_factory=dict)

    @property
    def has_other_columns(self) -> bool:
        """Whether a column is added, gone or has another type."""
        return bool(self.added or self.gone or self.retyped)

    @property
    def is_equal(self) -> bool:
        """Whether nothing at all differs."""
        return not (
            self.is_new
            or self.is_gone
            or self.has_other_columns
            or self.keys
            or self.only_before.rows
            or self.only_after.rows
            or self.changed
        )


def compare_mart(connection: Connection, mart: str, before: str, after: str, scratch: str) -> MartDifference:
    """
    Compare two tables of a mart.

    :param before: the schema of the table as it was; `after`: as it is now
    :param scratch: a schema for the rows that differ
    """
    old, new = columns_of(connection, before, mart), columns_of(connection, after, mart)
    tables = {"before": sql.Identifier(before, mart), "after": sql.Identifier(after, mart)}
    if not old or not new:
        rows = count_rows(connection, tables["after" if new else "before"])
        return MartDifference(
            mart, is_new=not old, is_gone=not new, rows_before=0 if new else rows, rows_after=rows if new else 0
        )
    old_types, new_types = ({name: kind for name, kind, _ in columns} for columns in (old, new))
    columns: dict[str, Any] = {
        "added": [(name, kind) for name, kind in new_types.items() if name not in old_types],
        "gone": [(name, kind) for name, kind in old_types.items() if name not in new_types],
        "retyped": [
            (name, kind, new_types[name])
            for name, kind in old_types.items()
            if name in new_types and new_types[name] != kind
        ],
        "rows_before": count_rows(connection, tables["before"]),
        "rows_after": count_rows(connection, tables["after"]),
    }
    sums = {
        side: _sums(connection, tables[side], [name for name, kind in types.items() if _is_number(kind)])
        for side, types in (("before", old_types), ("after", new_types))
    }
    keys = key_of(connection, before, mart) or [], key_of(connection, after, mart) or []
    if not keys[1] or keys[0] != keys[1]:
        numbers = [NumericColumn(name, sums["before"].get(name), total) for name, total in sums["after"].items()]
        return MartDifference(mart, **columns, keys=keys, numbers=numbers)
    differing = _DifferingRows(
        connection,
        sql.Identifier(scratch, mart),
        Mart(
            mart,
            oid=0,
            columns={name: kind for name, kind in new_types.items() if name in old_types},
            key=keys[1],
            not_null={name for name, _, is_not_null in old if is_not_null}
            & {name for name, _, is_not_null in new if is_not_null},
        ),
    )
    differing.create(tables, comparable={name for name in new_types if _is_comparable(name, old_types, new_types)})
    return MartDifference(mart, **columns, **differing.counts(), **differing.columns(sums))


def _is_number(kind: str) -> bool:
    return kind.startswith(_NUMBERS)


def _is_comparable(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    """Whether the values of a column have an order or an equality on both sides."""
    if name not in old or name not in new:
        return False
    return old[name] == new[name] or (_is_number(old[name]) and _is_number(new[name]))


def _sums(connection: Connection, table: sql.Identifier, names: Sequence[str]) -> dict[str, Decimal | None]:
    """The exact sums of columns of numbers."""
    if not names:
        return {}
    totals = sql.SQL(", ").join(sql.SQL("sum({}::numeric)").format(sql.Identifier(name)) for name in names)
    row = connection.execute(sql.SQL("select {} from {}").format(totals, table)).fetchone()
    return dict(zip(names, row or (), strict=True))


class _DifferingRows:
    """The rows of a mart that differ, as a table: the key, on which side they are, and their values on both."""

    def __init__(self, connection: Connection, table: sql.Identifier, mart: Mart) -> None:
        self._connection = connection
        self._table = table
        self._mart = mart
        self._compared: list[str] = []

    def create(self, tables: Mapping[str, sql.Identifier], comparable: set[str]) -> None:
        """Find the rows, by one join of both tables."""
        self._compared = [name for name in self._mart.columns if name in comparable and name not in self._mart.key]
        values = [
            sql.SQL("{}.{} as {}").format(sql.Identifier(side), sql.Identifier(name), _value(side, name))
            for name in self._compared
            for side in ("old", "new")
        ]
        differs = [sql.SQL("old.{0} is distinct from new.{0}").format(sql.Identifier(name)) for name in self._compared]
        self._connection.execute(
            sql.SQL("""
                create table {table} as
                select {columns}
                from (select true as is_there, * from {before}) as old
                full join (select true as is_there, * from {after}) as new on {key_condition}
                where {differs}
            """).format(
                table=self._table,
                columns=sql.SQL(", ").join(
                    [
                        sql.SQL("{} as key").format(key_object(self._mart.key, "new", "old")),
                        sql.SQL("old.is_there is null as is_only_after"),
                        sql.SQL("new.is_there is null as is_only_before"),
                        *values,
                    ]
                ),
                before=tables["before"],
                after=tables["after"],
                key_condition=self._mart.key_condition,
                differs=sql.SQL(" or ").join(
                    [sql.SQL("old.is_there is null"), sql.SQL("new.is_there is null"), *differs]
                ),
            )
        )

    def counts(self) -> dict[str, Any]:
        """How many rows are on which side, as `MartDifference` has them."""
        return {
            "only_before": self._one_side("is_only_before"),
            "only_after": self._one_side("is_only_after"),
            "changed": self._count(sql.SQL("true")),
        }

    def columns(self, sums: Mapping[str, Mapping[str, Decimal | None]]) -> dict[str, Any]:
        """What differs of each column, as `MartDifference` has it."""
        numbers = [
            NumericColumn(name, sums["before"].get(name), total, *self._figures(name))
            for name, total in sums["after"].items()
            if name not in self._mart.key
        ]
        texts = {
            name: rows
            for name in self._compared
            if name not in sums["after"] and (rows := self._count(self._differs(name)))
        }
        return {"numbers": numbers, "texts": texts}

    def _figures(self, name: str) -> tuple[int, list[ChangedFigure]]:
        """How many rows of both sides have another value of a column, and the largest differences."""
        if name not in self._compared:
            return 0, []
        largest = self._connection.execute(
            sql.SQL("""
                select key, {old}::numeric, {new}::numeric
                from {table}
                where {differs}
                order by abs(coalesce({new}::numeric, 0) - coalesce({old}::numeric, 0)) desc, key::text
                limit {limit}
            """).format(
                old=_value("old", name),
                new=_value("new", name),
                table=self._table,
                differs=self._differs(name),
                limit=sql.Literal(NAMED),
            )
        ).fetchall()
        return self._count(self._differs(name)) if largest else 0, [ChangedFigure(*row) for row in largest]

    def _differs(self, name: str) -> sql.Composed:
        return sql.SQL("{} is distinct from {}").format(_value("old", name), _value("new", name))

    def _count(self, condition: sql.Composable) -> int:
        """How many rows of both sides meet a condition."""
        return fetch_number(
            self._connection,
            sql.SQL("""
                select count(*)
                from {}
                where not is_only_before and not is_only_after and {}
            """).format(self._table, condition),
        )

    def _one_side(self, side: str) -> OneSide:
        keys = self._connection.execute(
            sql.SQL("select key from {} where {} order by key::text limit {}").format(
                self._table, sql.Identifier(side), sql.Literal(NAMED)
            )
        ).fetchall()
        count = sql.SQL("select count(*) from {} where {}").format(self._table, sql.Identifier(side))
        return OneSide(fetch_number(self._connection, count), [key for (key,) in keys])


def _value(side: str, name: str) -> sql.Identifier:
    """The column of the table of differing rows that has a column's value of one side."""
    return sql.Identifier(f"{side} {name}")
