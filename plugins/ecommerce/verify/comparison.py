"""
Does the warehouse hold what raw gives? The same models are built again, in schemas of their own, and compared.

Two questions, so that neither needs a full refresh. Do the marts, and the aggregates that they are made of, say what
the facts and dimensions say: all of them are built anew from those that are there. Do these say what raw says: the
dimensions are built whole and the facts for a sample of days, by the same `rebuild_periods` that a daily run uses.
Loads may go on meanwhile: what they changed since the last publication is not compared.
"""

from __future__ import annotations

import json
import logging
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import Connection, sql

from dbt_triggerer import BuildError, run_dbt
from ecommerce.audit.check_results import CheckResult
from ecommerce.build.dbt_project import DBT_PROJECT
from ecommerce.build.lease import NOT_PUBLISHED
from ecommerce.common.sources import SOURCES

if TYPE_CHECKING:
    from cosmos import ProfileConfig

log = logging.getLogger(__name__)

#: What the target `verify` puts before a schema's name (`generate_schema_name.sql`).
_SCRATCH = "verify_"
#: Models of core that are made of core alone, as dbt selects them.
AGGREGATES = "int_*_sales"
#: The dimensions need all of it, whatever days are drawn.
_UNKNOWN_KEYS = "int_unknown_keys"
#: Who compares what was built (`include/sql/roles.sql`).
_AUDITOR = sql.Identifier("publisher")
#: Differing rows that a message names.
_NAMED = 5


@dataclass(frozen=True)
class Sample:
    """How many days of the facts to build again, drawn by a seed; all of them where ``days`` is None."""

    days: int | None
    seed: int


@dataclass(frozen=True)
class _Model:
    """A table that dbt builds; ``day_column`` where it is one of core's and built by days."""

    name: str
    schema: str
    day_column: str | None

    @property
    def is_aggregate(self) -> bool:
        return self.schema == "core" and fnmatch(self.name, AGGREGATES)

    @property
    def is_sampled(self) -> bool:
        return self.day_column is not None and self.name != _UNKNOWN_KEYS

    @property
    def there(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    @property
    def scratch(self) -> sql.Identifier:
        return sql.Identifier(f"{_SCRATCH}{self.schema}", self.name)


@dataclass(frozen=True)
class _Origin:
    """What names a row of a core model to a person, and the rows of raw (as ``origin``) that it comes from."""

    key: tuple[str, ...]
    table: str
    condition: str


_ORIGINS = {
    "dim_customer": _Origin(("customer_id", "valid_from"), "customer", "origin.customer_id = held.customer_id"),
    "dim_products": _Origin(("product_id", "valid_from"), "product_category", "origin.product_id = held.product_id"),
    "fact_sales": _Origin(("order_id",), "sales_fact", "origin.order_id = held.order_id"),
    "fact_customer_events": _Origin(
        ("event_id",),
        "kafka_stream",
        "origin._topic || '-' || origin._partition || '-' || origin._offset = held.event_id",
    ),
    "fact_subscriptions": _Origin(
        ("subscription_id",), "subscription_data", "btrim(origin.subscription_id) = held.subscription_id"
    ),
    "fact_weather": _Origin(
        ("city", "date_key"), "weather_data", "btrim(origin.city) = held.city and origin.date = held.date_key"
    ),
}

_NEWS = f"(select batch_id from ops.load_batch where {NOT_PUBLISHED})"
_MARKED = "(select dirty_date from ops.dirty_date)"
_NEW_SUBSCRIPTIONS = f"select btrim(subscription_id) from raw.subscription_data where _batch_id in {_NEWS}"


def _keys_in_the_news(key: str, *logs: str) -> str:
    """Keys of which raw knows more, or less, than the last publication did: their versions are not compared."""
    tables = ("sales_fact", "kafka_stream", *logs)
    new = [f"select btrim({key}) from raw.{table} where _batch_id in {_NEWS}" for table in tables]
    # What a load took away from raw is still in the facts of the days that it marked.
    gone = [f"select {key} from core.{fact} where date_key in {_MARKED}" for fact in _FACTS_OF_DAYS]
    return " union ".join(new + gone)


_FACTS_OF_DAYS = ("fact_sales", "fact_customer_events")
_IN_THE_NEWS = {
    "customer_id": _keys_in_the_news("customer_id", "customer")
    + "".join(
        f" union select customer_id from {schema}.fact_subscriptions where subscription_id in ({_NEW_SUBSCRIPTIONS})"
        for schema in ("core", f"{_SCRATCH}core")
    ),
    "product_id": _keys_in_the_news("product_id", "product", "product_category"),
    "subscription_id": _NEW_SUBSCRIPTIONS,
}


def verify(
    connection: Connection, builder: Connection, profile: ProfileConfig, sample: Sample, as_of: date | None
) -> Iterator[CheckResult]:
    """
    A judgement a table: rows that differ between what is there and what the models make now.

    The caller holds the lease. Nothing is left behind.

    :param connection: by a role that may read everything
    :param builder: by the role that builds
    :param profile: how dbt does, with the target `verify`
    :param as_of: the "today" of the build that is judged
    :raises BuildError: dbt could not build
    """
    with _scratch(builder, as_of), tempfile.TemporaryDirectory(prefix="ecommerce-verify-") as folder:
        artifacts = Path(folder)
        for table in _tables(connection, "core"):
            if fnmatch(table, AGGREGATES):
                continue
            builder.execute(
                sql.SQL("create view {} as table {}").format(
                    sql.Identifier(f"{_SCRATCH}core", table), sql.Identifier("core", table)
                )
            )
        _dbt_run(profile, artifacts, "--select", AGGREGATES, "marts")
        models = _models(artifacts)
        for aggregate in (model for model in models if model.is_aggregate):
            yield _judge(connection, aggregate, aggregate.there, sql.SQL("true"))
        for mart in (model for model in models if model.schema == "marts_build"):
            yield _judge(connection, mart, sql.Identifier("marts", mart.name), sql.SQL("true"))
            yield _judge(connection, mart, mart.there, sql.SQL("true"))

        core = [model for model in models if model.schema == "core" and not model.is_aggregate]
        days = _draw(connection, [model for model in core if model.is_sampled], sample)
        log.info("days of the facts that are compared (seed %s): %s", sample.seed, ", ".join(map(str, days)) or "none")
        for table in _tables(connection, f"{_SCRATCH}core", kind="v"):
            builder.execute(sql.SQL("drop view {}").format(sql.Identifier(f"{_SCRATCH}core", table)))
        for model in core:
            if model.is_sampled:
                # Where the table is there, dbt builds the claimed days alone.
                builder.execute(sql.SQL("create table {} (like {})").format(model.scratch, model.there))
        builder.execute(
            "insert into verify_staging.stg_claimed_days select source, day from unnest(%s::text[]) as source"
            " cross join unnest(%s::date[]) as day",
            [list(SOURCES), days],
        )
        _dbt_run(
            profile, artifacts, "--select", "staging", "core", "--exclude", "stg_as_of", "stg_claimed_*", AGGREGATES
        )
        for model in core:
            yield _judge(connection, model, model.there, _compared(connection, model, days))


@contextmanager
def _scratch(builder: Connection, as_of: date | None) -> Iterator[None]:
    """The schemas to build in, with models that are not to be built: "today", and what is to be rebuilt."""
    schemas = [sql.Identifier(f"{_SCRATCH}{name}") for name in ("staging", "core", "marts_build")]
    drop = sql.SQL("drop schema if exists {} cascade").format(sql.SQL(", ").join(schemas))
    # A worker that was killed could not do it.
    builder.execute(drop)
    try:
        for schema in schemas:
            builder.execute(sql.SQL("create schema {}").format(schema))
            builder.execute(sql.SQL("grant usage on schema {0} to {1}").format(schema, _AUDITOR))
            builder.execute(
                sql.SQL("alter default privileges in schema {0} grant select on tables to {1}").format(schema, _AUDITOR)
            )
        builder.execute("create table verify_staging.stg_as_of (as_of_date date)")
        builder.execute("insert into verify_staging.stg_as_of values (%s)", [as_of])
        builder.execute("create table verify_staging.stg_claimed_days (source_name text, claimed_day date)")
        builder.execute("create table verify_staging.stg_claimed_customers (customer_id text)")
        builder.execute("create table verify_staging.stg_claimed_products (product_id text)")
        yield
    finally:
        builder.execute(drop)


def _dbt_run(profile: ProfileConfig, artifacts: Path, *arguments: str) -> None:
    ended = run_dbt(["run", *arguments], project=DBT_PROJECT, profile=profile, artifacts=artifacts)
    if bad := [str(result) for result in ended if result.is_bad]:
        raise BuildError(f"dbt could not build the tables to compare with: {'; '.join(bad)}")


def _models(folder: Path) -> list[_Model]:
    """Every table of core and the marts, from the manifest that dbt has just written."""
    nodes = json.loads((folder / "manifest.json").read_text())["nodes"].values()
    return [
        _Model(
            node["alias"],
            node["schema"].removeprefix(_SCRATCH),
            node["config"]["meta"]["period_column"]
            if node["schema"] == f"{_SCRATCH}core" and node["config"]["meta"].get("period") == "day"
            else None,
        )
        for node in nodes
        if node["resource_type"] == "model" and node["config"]["materialized"] != "view"
    ]


def _tables(connection: Connection, schema: str, kind: str = "r") -> list[str]:
    return [
        name
        for (name,) in connection.execute(
            "select relname from pg_class where relnamespace = to_regnamespace(%s) and relkind = %s"
            " and relname !~ '__dbt_(tmp|backup)$'",
            [schema, kind],
        )
    ]


def _draw(connection: Connection, facts: Sequence[_Model], sample: Sample) -> list[date]:
    """Days that raw or a fact has, and no load has changed since they were built."""
    queries = [
        sql.SQL("select {} as day from {}").format(sql.SQL(source.day), sql.Identifier("raw", source.name))
        for source in SOURCES.values()
        if source.day
    ] + [sql.SQL("select {} from {}").format(sql.Identifier(fact.day_column or ""), fact.there) for fact in facts]
    days = [
        day
        for (day,) in connection.execute(
            sql.SQL("select day from ({}) as held where day not in {} order by day").format(
                sql.SQL(" union ").join(queries), sql.SQL(_MARKED)
            )
        )
    ]
    if sample.days is None or sample.days >= len(days):
        return days
    return sorted(random.Random(sample.seed).sample(days, sample.days))  # noqa: S311 - no secret


def _compared(connection: Connection, model: _Model, days: list[date]) -> sql.Composable:
    """The rows of a core model that must not differ."""
    if model.day_column:
        # A load may have marked one of the days since they were drawn.
        unmarked = sql.SQL("{} not in {}").format(sql.Identifier(model.day_column), sql.SQL(_MARKED))
        if not model.is_sampled:
            return unmarked
        return sql.SQL("{} = any({}::date[]) and {}").format(
            sql.Identifier(model.day_column), sql.Literal(days), unmarked
        )
    names = {name for (name,) in _columns(connection, model.scratch)} & _IN_THE_NEWS.keys()
    return sql.SQL(" and ").join(
        [
            sql.SQL("true"),
            *(
                sql.SQL("{} not in ({})").format(sql.Identifier(name), sql.SQL(_IN_THE_NEWS[name]))
                for name in sorted(names)
            ),
        ]
    )


def _columns(connection: Connection, table: sql.Identifier) -> list[tuple[str]]:
    return connection.execute(
        "select attname::text from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped"
        " order by attnum",
        [table.as_string()],
    ).fetchall()


def _judge(connection: Connection, model: _Model, there: sql.Identifier, compared: sql.Composable) -> CheckResult:
    """Rows that are there and should not be, or should be and are not; a changed row is one of each."""
    subject = ".".join(there._obj)
    columns = sql.SQL(", ").join(sql.Identifier(name) for (name,) in _columns(connection, model.scratch))
    origin = _ORIGINS.get(model.name)
    key = list(origin.key) if origin else _unique(connection, there)
    differing: list[tuple[Any, ...]] = connection.execute(
        sql.SQL(
            "with found as (select {columns} from {there} where {compared}),"
            " expected as (select {columns} from {scratch} where {compared}),"
            " differing as ("
            "  (select true as is_found, * from (table found except all table expected) as surplus) union all"
            "  (select false, * from (table expected except all table found) as missing)"
            " ) select {key}, bool_or(is_found), bool_or(not is_found), {batch}, count(*) over ()"
            " from differing as held group by {key_columns} order by {key_columns} limit {limit}"
        ).format(
            columns=columns,
            there=there,
            scratch=model.scratch,
            compared=compared,
            key=sql.SQL("json_strip_nulls(json_build_object({}))").format(
                sql.SQL(", ").join(sql.SQL("{}, {}").format(sql.Literal(name), sql.Identifier(name)) for name in key)
            ),
            key_columns=sql.SQL(", ").join(sql.Identifier(name) for name in key),
            batch=sql.SQL("(select max(origin._batch_id) from {} as origin where {})").format(
                sql.Identifier("raw", origin.table), sql.SQL(origin.condition)
            )
            if origin
            else sql.SQL("null::bigint"),
            limit=_NAMED,
        )
    ).fetchall()
    if not differing:
        return CheckResult(subject, "pass", 0, 0, "as the models make it")
    total = differing[0][-1]
    rows = "; ".join(
        f"{json.dumps(identity)} {_how(is_found, is_expected)}{_by_whom(connection, batch)}"
        for identity, is_found, is_expected, batch, _ in differing
    )
    more = f"; and {total - len(differing):,} more" if total > len(differing) else ""
    whose = "" if origin else _last_publication(connection, model.name)
    return CheckResult(subject, "fail", total, 0, f"{total:,} rows differ: {rows}{more}{whose}")


def _unique(connection: Connection, table: sql.Identifier) -> list[str]:
    """The columns of the table's unique index; all of them where a part of the key may be null, and it has none."""
    key = [
        name
        for (name,) in connection.execute(
            "select attname::text from pg_index cross join unnest(indkey) with ordinality as place(attnum, n)"
            " inner join pg_attribute on attrelid = indrelid and pg_attribute.attnum = place.attnum"
            " where indexrelid = (select min(indexrelid) from pg_index where indrelid = %s::regclass and indisunique)"
            " order by n",
            [table.as_string()],
        )
    ]
    return key or [name for (name,) in _columns(connection, table)]


def _how(is_found: bool, is_expected: bool) -> str:
    if is_found and is_expected:
        return "has other values"
    return "should not be there" if is_found else "is missing"


def _by_whom(connection: Connection, batch_id: int | None) -> str:
    row = connection.execute("select run_id, built_by from ops.load_batch where batch_id = %s", [batch_id]).fetchone()
    return f" (loaded by run {row[0]} in batch {batch_id}, built by run {row[1]})" if row else ""


def _last_publication(connection: Connection, mart: str) -> str:
    row = connection.execute(
        "select run_id, published_at from ops.publication where mart = %s"
        " and rows_inserted + rows_updated + rows_deleted > 0 order by publication_id desc limit 1",
        [mart],
    ).fetchone()
    return f"; last changed by the publication of run {row[0]} at {row[1]:%Y-%m-%d %H:%M} UTC" if row else ""
