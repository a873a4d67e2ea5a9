"""
The rows that publications have replaced (`ops.publication_delta`), without a customer, so that a rollback brings nobody
back.

A rollback checks by a checksum that a mart is as a publication had left it. The checksum is the exclusive or of the
hashes of all rows, so each publication's becomes right again by the hashes of the rows that the erasure changes: those
that the mart had after that publication.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from psycopg import Connection, sql

from ecommerce.common.personal_data import Treatment
from ecommerce.erase.person import Person
from ecommerce.erase.personal_tables import PersonalTable, is_key, names_person, new_key, without_person
from ecommerce.erase.receipt import Counts
from ecommerce.publish.marts import column_list, key_object, key_of, published_columns


class _Row(NamedTuple):
    """A row of a mart as JSON, before and after the erasure."""

    old: str
    new: str


def erase_replaced_rows(connection: Connection, mart: PersonalTable, person: Person, *, dry_run: bool) -> Counts:
    """
    Take the customer out of a mart's replaced rows, and correct the checksums; the rows that were changed.

    Call it before the mart itself is changed.
    """
    place = f"ops.publication_delta of {mart.name}"
    old_row, key = sql.SQL("delta.old_row"), sql.SQL("delta.key")
    is_affected = sql.SQL("({} or {})").format(_is_affected(mart, old_row, person), _is_affected(mart, key, person))
    names = {
        "mart": sql.Literal(mart.name),
        "is_affected": is_affected,
        "new_row": _erased(mart, old_row, person),
        "new_key": _erased(mart, key, person),
    }
    count = connection.execute(
        sql.SQL("select count(*) from ops.publication_delta as delta where mart = {mart} and {is_affected}").format(
            **names
        )
    ).fetchone()
    if not dry_run:
        _correct_checksums(connection, mart, person, names)
        connection.execute(
            sql.SQL("""
                update ops.publication_delta as delta
                set key = {new_key}, old_row = {new_row}
                where mart = {mart} and {is_affected}
            """).format(**names)
        )
    return {place: count[0]} if count and count[0] else {}


def _is_affected(mart: PersonalTable, row: sql.Composable, person: Person) -> sql.Composed:
    """Condition: a row as JSON is of the customer, or names the customer."""
    conditions: list[sql.Composable] = [sql.SQL("false")]
    for column in mart.columns:
        value = sql.SQL("({} ->> {})").format(row, sql.Literal(column.name))
        if column.treatment is Treatment.KEY:
            conditions.append(is_key(value, list(person.keys)))
        elif column.treatment in (Treatment.SEARCHED, Treatment.FREE_TEXT):
            conditions.append(names_person(value, person, in_json=column.form != "text"))
    return sql.SQL("({})").format(sql.SQL(" or ").join(conditions))


def _erased(mart: PersonalTable, row: sql.Composable, person: Person) -> sql.Composable:
    """SQL: a row as JSON without the customer; null for no row. What a row does not have, it does not get."""
    values = {column: sql.SQL("({} ->> {})").format(row, sql.Literal(column.name)) for column in mart.columns}
    is_theirs = sql.SQL(" or ").join(
        [sql.SQL("false"), *(is_key(values[column], list(person.keys)) for column in mart.treated(Treatment.KEY))]
    )
    erased = row
    for column, value in values.items():
        kept = sql.SQL("({} -> {})").format(row, sql.Literal(column.name))
        cases: list[sql.Composable] = []
        if column.treatment is Treatment.KEY:
            cases.append(
                sql.SQL("when {} then to_jsonb({})").format(
                    is_key(value, list(person.keys)), new_key(value, person.keys)
                )
            )
        if column.treatment in (Treatment.EMPTIED, Treatment.FREE_TEXT):
            cases.append(sql.SQL("when {} then 'null'::jsonb").format(is_theirs))
        if column.treatment in (Treatment.SEARCHED, Treatment.FREE_TEXT):
            in_json = column.form != "text"
            new = (
                sql.SQL("({})::jsonb").format(without_person(sql.SQL("{}::text").format(kept), person, in_json=True))
                if in_json
                else sql.SQL("to_jsonb({})").format(without_person(value, person))
            )
            cases.append(sql.SQL("when {} then {}").format(names_person(value, person, in_json=in_json), new))
        erased = sql.SQL("""
            {erased} || case
                when {row} ? {name} then jsonb_build_object({name}, case {cases} else {kept} end)
                else '{{}}'::jsonb
            end
        """).format(erased=erased, row=row, name=sql.Literal(column.name), cases=sql.SQL(" ").join(cases), kept=kept)
    return erased


def _correct_checksums(
    connection: Connection, mart: PersonalTable, person: Person, names: Mapping[str, sql.Composable]
) -> None:
    """Correct the checksum of each publication of the mart, from the last to the first whose rows are known."""
    key = key_of(connection, "marts", mart.name)
    columns = set(published_columns(connection, mart.name))
    if key is None:
        # No rollback restores such a mart.
        return
    rows = _current_rows(connection, mart, key, person)
    replaced = _replaced_rows(connection, names, rows.keys())
    publications = connection.execute(
        """
        select publication_id, undo_by, columns, checksum
        from ops.publication
        where mart = %s
        order by publication_id desc
        """,
        [mart.name],
    ).fetchall()
    for publication_id, undo_by, had_columns, checksum in publications:
        if checksum is not None and rows and columns.issuperset(had_columns):
            corrected = int(checksum) ^ _hash_difference(connection, mart, had_columns, list(rows.values()))
            connection.execute(
                "update ops.publication set checksum = %s where mart = %s and publication_id = %s",
                [corrected, mart.name, publication_id],
            )
        # The rows before this publication.
        match undo_by:
            case "rows":
                for row_key, row in replaced.get(publication_id, {}).items():
                    rows.pop(row_key, None)
                    if row is not None:
                        rows[row_key] = row
            case "emptying":
                rows = {}
            case _:
                return


def _current_rows(connection: Connection, mart: PersonalTable, key: list[str], person: Person) -> dict[str, _Row]:
    """By key as JSON, the rows of the mart that the erasure changes."""
    row = sql.SQL("current_row.content")
    found = connection.execute(
        sql.SQL("""
            select current_row.key::text, current_row.content::text, ({new})::text
            from (
                select {key} as key, to_jsonb(mart) as content
                from {mart} as mart
            ) as current_row
            where {is_affected}
        """).format(
            key=key_object(key, "mart"),
            mart=mart.identifier,
            new=_erased(mart, row, person),
            is_affected=_is_affected(mart, row, person),
        )
    ).fetchall()
    return {row_key: _Row(old, new) for row_key, old, new in found}


def _replaced_rows(
    connection: Connection, names: Mapping[str, sql.Composable], current_keys: Collection[str]
) -> dict[int, dict[str, _Row | None]]:
    """
    By publication and key, the rows that it has replaced: those that the erasure changes, and None for all others.

    Only of keys of which a row is changed. A row that the erasure does not change counts as none: its hash stays.
    """
    found = connection.execute(
        sql.SQL("""
            select
                delta.publication_id,
                delta.key::text,
                case when {is_affected} then delta.old_row::text end,
                case when {is_affected} then ({new_row})::text end
            from ops.publication_delta as delta
            where delta.mart = {mart} and (
                delta.key = any({current_keys}::jsonb[])
                or delta.key in (
                    select delta.key
                    from ops.publication_delta as delta
                    where delta.mart = {mart} and {is_affected}
                )
            )
        """).format(current_keys=sql.Literal(list(current_keys)), **names)
    )
    replaced: dict[int, dict[str, _Row | None]] = {}
    for publication_id, key, old, new in found:
        replaced.setdefault(publication_id, {})[key] = None if old is None else _Row(old, new)
    return replaced


def _hash_difference(connection: Connection, mart: PersonalTable, columns: list[str], rows: list[_Row]) -> int:
    """The exclusive or of the hashes of rows before and after the erasure, over these columns."""
    difference = 0
    for version in zip(*rows, strict=True):
        found = connection.execute(
            sql.SQL("""
                select coalesce(bit_xor(hash_record_extended(row({columns}), 0)), 0)
                from unnest(%s::text[]) as each (content)
                cross join lateral jsonb_populate_record(null::{mart}, each.content::jsonb) as mart
            """).format(columns=column_list("mart", columns), mart=mart.identifier),
            [list(version)],
        ).fetchone()
        difference ^= int(found[0]) if found else 0
    return difference
