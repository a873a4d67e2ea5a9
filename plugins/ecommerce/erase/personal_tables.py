"""Replaces what the tables of one role have of a customer, column by column, as `common/personal_data.py` says."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import Connection, sql

from ecommerce.common.blanks import cleaned
from ecommerce.common.personal_data import Treatment, treatment_of
from ecommerce.common.sources import SOURCES
from ecommerce.erase.person import Person
from ecommerce.erase.receipt import Counts
from ecommerce.load.erased_rows import row_key


@dataclass(frozen=True)
class PersonalColumn:
    """A column that may say something of a person: one with texts, or one that is emptied in the customer's rows."""

    name: str
    form: Literal["text", "json", "array", "other"]
    type_name: str
    treatment: Treatment

    @property
    def identifier(self) -> sql.Identifier:
        """Its name in a statement."""
        return sql.Identifier(self.name)

    @property
    def text(self) -> sql.Composable:
        """SQL: its value as text."""
        return sql.SQL("{}::text").format(self.identifier)


@dataclass(frozen=True)
class PersonalTable:
    """A table with the columns of it that may say something of a person."""

    schema: str
    name: str
    columns: Sequence[PersonalColumn]

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        """Its name in a statement."""
        return sql.Identifier(self.schema, self.name)

    def treated(self, *treatments: Treatment) -> list[PersonalColumn]:
        """The columns that are treated in one of these ways."""
        return [column for column in self.columns if column.treatment in treatments]


def personal_tables(connection: Connection) -> Iterator[PersonalTable]:
    """
    The tables that the session's role owns, with all columns of texts that are not said to be never personal.

    Of other types only those that are emptied: a birthday, which raw got with a change of the source.
    """
    rows = connection.execute(
        """
        select
            pg_namespace.nspname::text,
            pg_class.relname::text,
            json_agg(
                json_build_array(
                    pg_attribute.attname,
                    case
                        when pg_type.typcategory = 'A' and types.has_texts then 'array'
                        when pg_type.typname in ('json', 'jsonb') then 'json'
                        when types.has_texts then 'text'
                        else 'other'
                    end,
                    format_type(pg_attribute.atttypid, pg_attribute.atttypmod)
                )
                order by pg_attribute.attnum
            )
        from pg_class
        inner join pg_namespace on pg_namespace.oid = pg_class.relnamespace
        inner join pg_attribute on pg_attribute.attrelid = pg_class.oid
        inner join pg_type on pg_type.oid = pg_attribute.atttypid
        left join pg_type as element on element.oid = pg_type.typelem and pg_type.typcategory = 'A'
        cross join lateral (
            select
                coalesce(element.typcategory, pg_type.typcategory) = 'S'
                or coalesce(element.typname, pg_type.typname) in ('json', 'jsonb', 'xml', 'hstore', 'citext', 'name')
                    as has_texts
        ) as types
        where
            pg_class.relowner = current_user::regrole
            and pg_class.relkind in ('r', 'p')
            and pg_class.relpersistence <> 't'
            and pg_namespace.nspname !~ '^pg_|^information_schema$'
            and pg_attribute.attnum > 0
            and not pg_attribute.attisdropped
            and pg_attribute.attgenerated = ''
        group by 1, 2
        order by 1, 2
        """
    ).fetchall()
    for schema, table, columns in rows:
        known = [
            PersonalColumn(name, form, type_name, treatment_of(schema, table, name) or Treatment.SEARCHED)
            for name, form, type_name in columns
        ]
        yield PersonalTable(schema, table, [column for column in known if _is_erased(column)])


def _is_erased(column: PersonalColumn) -> bool:
    if column.form == "other":
        return column.treatment is Treatment.EMPTIED
    return column.treatment is not Treatment.NEVER


def erase_table(connection: Connection, table: PersonalTable, person: Person, *, dry_run: bool) -> Counts:
    """Replace the customer's keys and empty the customer's columns, then search the other texts; what was replaced."""
    counts = _erase_rows(connection, table, person, dry_run=dry_run)
    for column in table.treated(Treatment.SEARCHED, Treatment.FREE_TEXT):
        counts[f"{table}.{column.name}"] = counts.get(f"{table}.{column.name}", 0) + _search(
            connection, table, column, person, dry_run=dry_run
        )
    return {place: count for place, count in counts.items() if count}


def _erase_rows(connection: Connection, table: PersonalTable, person: Person, *, dry_run: bool) -> Counts:
    keys, emptied = table.treated(Treatment.KEY), table.treated(Treatment.EMPTIED, Treatment.FREE_TEXT)
    if not keys or not person.keys:
        return {}
    is_customer = sql.SQL("({})").format(
        sql.SQL(" or ").join(_has_key(column, [*person.keys, *person.keys.values()]) for column in keys)
    )
    is_theirs = sql.SQL("({} or {})").format(is_customer, _is_row_without_name(table, person))
    figures = [
        *(_count_keys(column, list(person.keys)) for column in keys),
        *(
            sql.SQL("count(*) filter (where {} and {} is not null)").format(is_theirs, column.identifier)
            for column in emptied
        ),
    ]
    row = connection.execute(
        sql.SQL("select {} from {}").format(sql.SQL(", ").join(figures), table.identifier)
    ).fetchone()
    counts = {f"{table}.{column.name}": count for column, count in zip([*keys, *emptied], row or (), strict=True)}
    if dry_run or not any(counts.values()):
        return counts
    new_keys = [sql.SQL("{} = {}").format(column.identifier, _with_new_keys(column, person)) for column in keys]
    empty = [sql.SQL("{} = null").format(column.identifier) for column in emptied]
    connection.execute(
        sql.SQL("update {} set {} where {}").format(
            table.identifier, sql.SQL(", ").join([*new_keys, *empty]), is_theirs
        )
    )
    return counts


#: The values of a column of packed rows, one by one.
_VALUES = sql.SQL("unnest({}) with ordinality as each (value, place)")
_VALUE = sql.Identifier("each", "value")


def _count_keys(column: PersonalColumn, keys: Collection[str]) -> sql.Composed:
    """SQL over a table: how many values of a column are one of these keys; a packed row has many."""
    if column.form != "array":
        return sql.SQL("count(*) filter (where {})").format(is_key(column.identifier, keys))
    return sql.SQL("coalesce(sum((select count(*) from {} where {})), 0)::bigint").format(
        _VALUES.format(column.identifier), is_key(_VALUE, keys)
    )


def _has_key(column: PersonalColumn, keys: Collection[str]) -> sql.Composed:
    """Condition: a row has one of these keys of customers."""
    if column.form != "array":
        return is_key(column.identifier, keys)
    return sql.SQL("exists (select from {} where {})").format(_VALUES.format(column.identifier), is_key(_VALUE, keys))


def _with_new_keys(column: PersonalColumn, person: Person) -> sql.Composed:
    """SQL: the value of a column of keys, with the keys that take the place of the customer's."""
    if column.form != "array":
        return sql.SQL("coalesce({}, {})").format(new_key(column.identifier, person.keys), column.identifier)
    return sql.SQL("(select array_agg(coalesce({}, {}) order by {}) from {})").format(
        new_key(_VALUE, person.keys), _VALUE, sql.Identifier("each", "place"), _VALUES.format(column.identifier)
    )


def is_key(value: sql.Composable, keys: Collection[str]) -> sql.Composed:
    """Condition: a value is one of these keys of customers."""
    return sql.SQL("coalesce({} = any({}::text[]), false)").format(cleaned(value), sql.Literal(list(keys)))


def new_key(value: sql.Composable, keys: Mapping[str, str]) -> sql.Composed:
    """SQL: the key that takes the place of a customer's; null for another value."""
    return sql.SQL("({}::jsonb ->> {})").format(sql.Literal(json.dumps(dict(keys))), cleaned(value))


def _is_row_without_name(table: PersonalTable, person: Person) -> sql.Composable:
    """Condition: the row says something of the customer, whoever it names: a refund of the customer's order."""
    for source, rows in (person.rows or {}).items():
        key = row_key(SOURCES[source])
        if table.name in (source, f"fact_{source}s") and key and rows:
            return sql.SQL("{} = any({}::text[])").format(cleaned(sql.Identifier(key)), sql.Literal(list(rows)))
    return sql.SQL("false")


def names_person(text: sql.Composable, person: Person, *, in_json: bool = False) -> sql.Composed:
    """Condition: a text names the customer."""
    patterns = [mention.pattern_in_json if in_json else mention.pattern for mention in person.mentions]
    matches = [sql.SQL("{} ~ {}").format(text, sql.Literal(pattern)) for pattern in patterns]
    return sql.SQL("coalesce({}, false)").format(sql.SQL(" or ").join([sql.SQL("false"), *matches]))


def without_person(text: sql.Composable, person: Person, *, in_json: bool = False) -> sql.Composable:
    """SQL: a text that does not name the customer any more."""
    for mention in person.mentions:
        pattern = mention.pattern_in_json if in_json else mention.pattern
        text = sql.SQL("regexp_replace({}, {}, {}, 'g')").format(
            text, sql.Literal(pattern), sql.Literal(mention.substitute)
        )
    return text


def erased_value(column: PersonalColumn, value: sql.Composable, person: Person) -> sql.Composed:
    """SQL: the value of a column that is searched, in the column's type."""
    if column.form == "array":
        element = without_person(sql.SQL("element::text"), person)
        return sql.SQL(
            "(select array_agg({} order by place) from unnest({}) with ordinality as each (element, place))::{}"
        ).format(element, value, sql.SQL(column.type_name))
    text = without_person(sql.SQL("({})::text").format(value), person, in_json=column.form == "json")
    return sql.SQL("({})::{}").format(text, sql.SQL(column.type_name))


def _search(
    connection: Connection, table: PersonalTable, column: PersonalColumn, person: Person, *, dry_run: bool
) -> int:
    names: sql.Composable = names_person(column.text, person, in_json=column.form == "json")
    if dry_run:
        query = sql.SQL("select count(*) from {} where {}").format(table.identifier, names)
        row = connection.execute(query).fetchone()
        return int(row[0]) if row else 0
    return connection.execute(
        sql.SQL("update {} set {} = {} where {}").format(
            table.identifier, column.identifier, erased_value(column, column.identifier, person), names
        )
    ).rowcount
