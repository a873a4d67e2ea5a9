"""Schemas of their own in which dbt builds the models a second time, to compare them with the warehouse."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatch
from pathlib import Path

from psycopg import Connection, sql

from ecommerce.build.lease import LastBuild
from ecommerce.common.sources import SOURCES

#: What dbt's target `verify` puts before a schema's name (`generate_schema_name.sql`).
PREFIX = "verify_"
#: Models of core that are made only of other models of core, as a pattern for dbt's `--select`.
AGGREGATES = "int_*_sales"
#: Built by days, but the dimensions need all of its days.
_UNKNOWN_KEYS = "int_unknown_keys"
#: The role that compares what was built (`include/sql/roles.sql`).
_AUDITOR = sql.Identifier("publisher")


@dataclass(frozen=True)
class Table:
    """A table of the warehouse."""

    schema: str
    name: str

    @property
    def identifier(self) -> sql.Identifier:
        """Its quoted name, for SQL."""
        return sql.Identifier(self.schema, self.name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Model:
    """
    A model that dbt builds as a table, or a seed that it loads into one.

    :param table: where a daily run builds it
    :param day_column: of a model in core that is built by days; None for all others
    """

    table: Table
    day_column: str | None

    @property
    def scratch(self) -> Table:
        """Where the verification builds it."""
        return Table(f"{PREFIX}{self.table.schema}", self.table.name)

    @property
    def is_aggregate(self) -> bool:
        """Whether it is made only of other models of core."""
        return self.table.schema == "core" and fnmatch(self.table.name, AGGREGATES)

    @property
    def is_sampled(self) -> bool:
        """Whether the verification builds only a sample of its days."""
        return self.day_column is not None and self.table.name != _UNKNOWN_KEYS


def models_of(manifest: Path) -> list[Model]:
    """Every model that is a table, and every seed, from the manifest that dbt has written for the target `verify`."""
    nodes = json.loads(manifest.read_text())["nodes"].values()
    return [
        Model(
            Table(node["schema"].removeprefix(PREFIX), node["alias"]),
            node["config"]["meta"]["period_column"]
            if node["schema"] == f"{PREFIX}core" and node["config"]["meta"].get("period") == "day"
            else None,
        )
        for node in nodes
        if node["resource_type"] in ("model", "seed") and node["config"]["materialized"] != "view"
    ]


@contextmanager
def scratch_schemas(builder: Connection, last_build: LastBuild) -> Iterator[None]:
    """
    Create the schemas, with tables in place of the models that say what to rebuild; drop them at the end.

    :param builder: by the role that builds
    :param last_build: whose "today" and first covered day the models get
    """
    schemas = [sql.Identifier(f"{PREFIX}{name}") for name in ("staging", "core", "marts_build")]
    drop = sql.SQL("drop schema if exists {} cascade").format(sql.SQL(", ").join(schemas))
    # A verification that was killed could not drop its schemas.
    builder.execute(drop)
    try:
        for schema in schemas:
            _create_schema(builder, schema)
        builder.execute("create table verify_staging.stg_as_of (as_of_date date, first_covered_date date)")
        builder.execute(
            "insert into verify_staging.stg_as_of values (%s, %s)",
            [last_build.as_of_date, last_build.first_covered_date],
        )
        builder.execute("create table verify_staging.stg_claimed_days (source_name text, claimed_day date)")
        builder.execute("create table verify_staging.stg_claimed_customers (customer_id text)")
        builder.execute("create table verify_staging.stg_claimed_products (product_id text)")
        yield
    finally:
        builder.execute(drop)


def _create_schema(builder: Connection, schema: sql.Identifier) -> None:
    names = {"schema": schema, "auditor": _AUDITOR}
    builder.execute(sql.SQL("create schema {schema}").format(**names))
    builder.execute(sql.SQL("grant usage on schema {schema} to {auditor}").format(**names))
    builder.execute(
        sql.SQL("alter default privileges in schema {schema} grant select on tables to {auditor}").format(**names)
    )


def show_current_core(builder: Connection, connection: Connection) -> None:
    """Let the scratch models read the warehouse's own facts, dimensions and seeds, by views."""
    for table in _tables(connection, "core"):
        if not fnmatch(table.name, AGGREGATES):
            builder.execute(
                sql.SQL("create view {} as table {}").format(
                    sql.Identifier(f"{PREFIX}core", table.name), table.identifier
                )
            )


def hide_current_core(builder: Connection, connection: Connection) -> None:
    """Drop the views of `show_current_core`, to build facts and dimensions and load seeds in their place."""
    for view in _tables(connection, f"{PREFIX}core", kind="v"):
        builder.execute(sql.SQL("drop view {}").format(view.identifier))


def claim_days(builder: Connection, models: Sequence[Model], days: Sequence[date]) -> None:
    """Let dbt build only these days of the models that are sampled."""
    for model in models:
        if model.is_sampled:
            # dbt builds incrementally only into a table that exists.
            builder.execute(
                sql.SQL("create table {} (like {})").format(model.scratch.identifier, model.table.identifier)
            )
    builder.execute(
        """
        insert into verify_staging.stg_claimed_days (source_name, claimed_day)
        select source, day
        from unnest(%s::text[]) as source
        cross join unnest(%s::date[]) as day
        """,
        [list(SOURCES), list(days)],
    )


def _tables(connection: Connection, schema: str, kind: str = "r") -> list[Table]:
    return [
        Table(schema, name)
        for (name,) in connection.execute(
            """
            select relname
            from pg_class
            where
                relnamespace = to_regnamespace(%s)
                and relkind = %s
                and relname !~ '__dbt_(tmp|backup)$'
            """,
            [schema, kind],
        )
    ]
