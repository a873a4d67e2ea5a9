"""What the rows of a template have to be, before any of them is loaded: the rules for Postgres and MySQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ecommerce.common.errors import ShopError
from ecommerce.common.shop import SourceLocation
from ecommerce.common.sources import Column, Source
from ecommerce.common.value_rules import SOURCE_TYPES, column_of
from ecommerce.common.windows import Window
from ecommerce.extract.reader_protocol import ColumnType


class TemplateRows(Protocol):
    """The rows of a template for a window, as their server can be asked about them."""

    def time_outside(self, column: str) -> Sequence[str | None]:
        """The time of one row that lies outside of the window; empty if there is none."""

    def repeated_key(self, columns: Sequence[Column]) -> Sequence[str]:
        """
        A key that more than one row of the window has; empty if there is none.

        Keys are compared as they are loaded: trimmed, and what null means filled in. A key with a part that is null or
        blank is none, since such a row goes to quarantine.
        """


def is_private(column: str) -> bool:
    """Whether a column is the template's own, and none of the source: it is neither loaded nor noted as a new one."""
    return column.startswith("_")


def fail_if_wrong(
    source: Source, location: SourceLocation, window: Window, types: Mapping[str, ColumnType], rows: TemplateRows
) -> None:
    """
    Fail at a row outside of the window, and at two rows of the window with one key.

    Of a version log one row of a key is taken and the others are quarantined, which fails the load if they are many.
    Of a window, each lost row would be lost money.

    :param types: the template's columns
    :raises ShopError: with the row's time or key
    """
    needed = {column.name for column in source.columns if column.required}
    if source.window_column is None or not needed <= types.keys() or not _has_right_types(source, types):
        # The comparison with the registry says which column is missing, or has another type.
        return
    if location.is_bound:
        for time in rows.time_outside(source.window_column):
            raise ShopError(
                f"{source.name}: {location.where} was asked for {window}, and gives a row whose {source.window_column} "
                f"is {time or 'null'}; compare %(start)s and %(end)s with what becomes {source.window_column}, or "
                "%(start_at)s and %(end_at)s if it has no time zone"
            )
    columns = [column_of(source, name) for name in source.key]
    if values := rows.repeated_key(columns):
        key = ", ".join(f"{column.name} {value}" for column, value in zip(columns, values, strict=True))
        raise ShopError(f"{source.name}: {location.where} gives more than one row for {key}; {_advice(source, types)}")


def _advice(source: Source, types: Mapping[str, ColumnType]) -> str:
    """What to do about a key that comes twice."""
    if missing := [name for name in source.key if name not in types]:
        return (
            f"it has no column {missing[0]}: give one that tells these rows apart, "
            "for example by `row_number() over (partition by …)`"
        )
    return "let it give one, for example by a join that finds one row, or by `group by`"


def _has_right_types(source: Source, types: Mapping[str, ColumnType]) -> bool:
    needed = {*source.key, source.window_column}
    return all(
        types[column.name].name in SOURCE_TYPES[column.kind]
        for column in source.columns
        if column.name in needed and column.name in types
    )
