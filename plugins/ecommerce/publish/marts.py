"""The marts as Postgres knows them: their columns and keys, those that were built, and checksums of their rows."""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass, replace

from psycopg import Connection, sql

from ecommerce.common.errors import PublishError
from ecommerce.publish.plain_tables import assert_plain

#: The columns that earlier publications of a mart had, and the published mart has no more: null, if there are none.
#: `mart` is SQL for its name.
LOST_COLUMNS = """
    select array_agg(distinct former.name order by former.name)
    from ops.publication as earlier
    cross join lateral unnest(earlier.columns) as former (name)
    where
        earlier.mart = {mart}
        and not exists (
            select
            from pg_attribute
            where
                attrelid = to_regclass(format('marts.%%I', earlier.mart))
                and attname = former.name
                and attnum > 0
                and not attisdropped
        )
"""


@dataclass(frozen=True)
class Mart:
    """A mart in `marts_build`: its oid, its columns with types, its key, and which columns can never be null."""

    name: str
    oid: int
    columns: dict[str, str]
    key: list[str]
    not_null: set[str]

    @property
    def published_table(self) -> sql.Identifier:
        """The table that readers see."""
        return sql.Identifier("marts", self.name)

    @property
    def built_table(self) -> sql.Identifier:
        """The table that dbt has built."""
        return sql.Identifier("marts_build", self.name)

    @property
    def key_condition(self) -> sql.Composed:
        """The SQL condition by which the aliases ``old`` and ``new`` are rows of the same key."""
        return same_key(self.key, self.not_null, "old", "new")

    def with_columns(self, columns: Container[str]) -> Mart:
        """The same mart, with no other columns than these."""
        return replace(self, columns={name: kind for name, kind in self.columns.items() if name in columns})


def built_marts(connection: Connection, excluded: Collection[str] = ()) -> list[Mart]:
    """
    Every mart in `marts_build`, except those that the build excluded.

    :raises PublishError: no mart was built, one has no key, or one has what dbt does not make
    """
    # While dbt builds a table it has another name for it, which a crash can leave behind.
    tables = connection.execute(
        """
        select relname, oid::bigint
        from pg_class
        where
            relnamespace = to_regnamespace('marts_build')
            and relkind = 'r'
            and relname !~ '__dbt_(tmp|backup)$'
            and relname <> all(%s)
        order by relname
        """,
        [list(excluded)],
    ).fetchall()
    if not tables and not excluded:
        raise PublishError("marts_build holds no table: nothing was built that could be published")
    assert_plain(connection, dict(tables))
    return [_built_mart(connection, name, oid) for name, oid in tables]


def _built_mart(connection: Connection, name: str, oid: int) -> Mart:
    columns = columns_of(connection, "marts_build", name)
    key = key_of(connection, "marts_build", name)
    if key is None:
        raise PublishError(f"marts_build.{name} has no unique constraint, so its rows cannot be matched")
    return Mart(
        name,
        oid,
        columns={column: kind for column, kind, _ in columns},
        key=key,
        not_null={column for column, _, is_not_null in columns if is_not_null},
    )


def columns_of(connection: Connection, schema: str, table: str) -> list[tuple[str, str, bool]]:
    """Name, type and whether it is declared not null, of each column; nothing if there is no such table."""
    return connection.execute(
        """
        select attname::text, format_type(atttypid, atttypmod), attnotnull
        from pg_attribute
        where
            attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text))
            and attnum > 0
            and not attisdropped
        order by attnum
        """,
        [schema, table],
    ).fetchall()


def published_columns(connection: Connection, mart: str) -> list[str]:
    """Names of the columns that readers see; nothing for a mart that was never published."""
    return [name for name, _, _ in columns_of(connection, "marts", mart)]


def key_of(connection: Connection, schema: str, table: str) -> list[str] | None:
    """The columns of a table's unique constraint; None if it has none."""
    row = connection.execute(
        """
        select array_agg(attribute.attname::text order by place.n)
        from pg_constraint as rule
        cross join lateral unnest(rule.conkey) with ordinality as place (attnum, n)
        inner join pg_attribute as attribute
            on attribute.attrelid = rule.conrelid and attribute.attnum = place.attnum
        where
            rule.conrelid = to_regclass(format('%%I.%%I', %s::text, %s::text))
            and rule.contype in ('p', 'u')
        group by rule.oid
        order by rule.oid
        limit 1
        """,
        [schema, table],
    ).fetchone()
    return row[0] if row else None


def checksum(connection: Connection, mart: str, columns: Sequence[str]) -> int:
    """A checksum of a published mart's rows over these columns; the order of the rows does not matter."""
    return hash_of_rows(connection, sql.Identifier("marts", mart), columns)


def hash_of_rows(connection: Connection, table: sql.Identifier, columns: Sequence[str]) -> int:
    """The exclusive or of the hashes of a table's rows."""
    return fetch_number(
        connection,
        sql.SQL("""
            select coalesce(bit_xor(hash_record_extended(row({columns}), 0)), 0)
            from {table} as mart
        """).format(columns=column_list("mart", columns), table=table),
    )


def count_rows(connection: Connection, table: sql.Identifier) -> int:
    """How many rows a table has."""
    return fetch_number(connection, sql.SQL("select count(*) from {}").format(table))


def fetch_number(connection: Connection, query: sql.SQL | sql.Composed) -> int:
    """The result of a query that returns one whole number."""
    row = connection.execute(query).fetchone()
    if row is None:
        raise RuntimeError("a query for a number returned no row")
    return int(row[0])


def key_object(key: Sequence[str], *aliases: str) -> sql.Composed:
    """A row's key as jsonb, from the first of these table aliases that has the row."""
    return sql.SQL("jsonb_build_object({})").format(
        sql.SQL(", ").join(
            sql.SQL("{}, coalesce({})").format(
                sql.Literal(name), sql.SQL(", ").join(sql.Identifier(alias, name) for alias in aliases)
            )
            for name in key
        )
    )


def same_key(key: Sequence[str], not_null: Container[str], one: str, other: str) -> sql.Composed:
    """
    The condition by which these two table aliases are rows of the same key.

    :param not_null: columns that can never be null
    """
    return sql.SQL(" and ").join(
        _equal(sql.Identifier(one, name), sql.Identifier(other, name), name in not_null) for name in key
    )


def column_list(alias: str, names: Sequence[str]) -> sql.Composed:
    """Columns of the table with this alias, separated by commas."""
    return sql.SQL(", ").join(sql.Identifier(alias, name) for name in names)


def _equal(one: sql.Identifier, other: sql.Identifier, is_not_null: bool) -> sql.Composed:
    if is_not_null:
        return sql.SQL("{} = {}").format(one, other)
    # `is not distinct from` cannot be hashed; as jsonb, null equals null and the join stays a hash join.
    return sql.SQL("coalesce(to_jsonb({}), 'null') = coalesce(to_jsonb({}), 'null')").format(one, other)
