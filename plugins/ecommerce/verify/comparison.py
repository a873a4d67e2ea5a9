"""
Build the warehouse's models a second time, in schemas of their own, and compare them with the warehouse.

There are two comparisons, so that neither needs a full refresh. First: do the marts and the aggregates follow from the
facts and dimensions? They are all built again from the facts and dimensions of the warehouse. Second: do the facts and
dimensions follow from raw, and the seeds from their files? The dimensions are built and the seeds loaded again whole,
the facts are built for a sample of days, by the same `rebuild_periods` as in a daily run. Loads may go on meanwhile:
rows that they have changed since the last publication are not compared.
"""

from __future__ import annotations

import json
import logging
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import Connection, sql

from dbt_triggerer import BuildError, run_dbt
from ecommerce.audit.check_results import CheckResult
from ecommerce.build.dbt_project import DBT_PROJECT
from ecommerce.build.lease import NOT_PUBLISHED, LastBuild
from ecommerce.common.sources import SOURCES
from ecommerce.verify.scratch import (
    AGGREGATES,
    PREFIX,
    Model,
    Table,
    claim_days,
    hide_current_core,
    models_of,
    scratch_schemas,
    show_current_core,
)

if TYPE_CHECKING:
    from cosmos import ProfileConfig

log = logging.getLogger(__name__)

#: How many differing rows a message names.
_NAMED_ROWS = 5
_ALL_ROWS = sql.SQL("true")


@dataclass(frozen=True)
class Sample:
    """How many days of the facts to build again, drawn by a seed; all of them if ``days`` is None."""

    days: int | None
    seed: int


@dataclass(frozen=True)
class _Origin:
    """
    Where the rows of a core model come from.

    :param key: the columns that name a row to a person
    :param table: the table of `raw`
    :param condition: which rows of that table (as ``origin``) a row of the model (as ``differing``) comes from
    """

    key: tuple[str, ...]
    table: str
    condition: str


_ORIGINS = {
    "dim_customer": _Origin(("customer_id", "valid_from"), "customer", "origin.customer_id = differing.customer_id"),
    "dim_products": _Origin(
        ("product_id", "valid_from"), "product_category", "origin.product_id = differing.product_id"
    ),
    "fact_sales": _Origin(
        ("order_id", "line_number"),
        "sales_fact",
        "origin.order_id = differing.order_id and origin.line_number = differing.line_number",
    ),
    "fact_refunds": _Origin(("refund_id",), "refund", "origin.refund_id = differing.refund_id"),
    "fact_customer_events": _Origin(
        ("event_id",),
        "kafka_stream",
        "origin._topic || '-' || origin._partition || '-' || origin._offset = differing.event_id",
    ),
    "fact_subscriptions": _Origin(
        ("subscription_id",), "subscription_data", "ops.clean_text(origin.subscription_id) = differing.subscription_id"
    ),
    "int_subscription_fees": _Origin(
        ("subscription_id", "valid_from"),
        "subscription_data",
        "ops.clean_text(origin.subscription_id) = differing.subscription_id",
    ),
    "fact_weather": _Origin(
        ("city", "date_key"),
        "weather_data",
        "ops.clean_text(origin.city) = differing.city and origin.date = differing.date_key",
    ),
}

_NEW_BATCHES = f"(select batch_id from ops.load_batch where {NOT_PUBLISHED})"
_DIRTY_DATES = "(select dirty_date from ops.dirty_date)"
_NEW_SUBSCRIPTIONS = (
    f"select ops.clean_text(subscription_id) from raw.subscription_data where _batch_id in {_NEW_BATCHES}"
)
#: A review is written at any time, by a person, and the marts have it from the next build on.
_NEW_REVIEWS = """
    select order_id from ops.review
    where reviewed_at > (select max(claimed_at) from ops.build where is_published)
"""
_FACTS_OF_DAYS = ("fact_sales", "fact_refunds", "fact_customer_events")


def _changed_keys(key: str, *logs: str) -> str:
    """A query for the keys whose rows in raw have changed since the last publication."""
    tables = ("sales_fact", "refund", "kafka_stream", *logs)
    # Guests, and refunds without a product, have no key; a null in the list would let no row be compared.
    loaded = [
        f"select ops.clean_text({key}) from raw.{table} where _batch_id in {_NEW_BATCHES} and {key} is not null"
        for table in tables
    ]
    # Rows that a load has removed from raw are still in the facts, on days that it has made dirty.
    removed = [
        f"select {key} from core.{fact} where date_key in {_DIRTY_DATES} and {key} is not null"
        for fact in _FACTS_OF_DAYS
    ]
    return " union ".join(loaded + removed)


#: By a column of core, a query for the keys whose rows are not compared.
_CHANGED_KEYS = {
    "customer_id": _changed_keys("customer_id", "customer")
    + "".join(
        f" union select customer_id from {schema}.fact_subscriptions where subscription_id in ({_NEW_SUBSCRIPTIONS})"
        for schema in ("core", f"{PREFIX}core")
    ),
    "product_id": _changed_keys("product_id", "product", "product_category"),
    "subscription_id": _NEW_SUBSCRIPTIONS,
    "order_id": _NEW_REVIEWS,
}


def verify(
    connection: Connection, builder: Connection, profile: ProfileConfig, sample: Sample, last_build: LastBuild
) -> Iterator[CheckResult]:
    """
    A check result for each table: how many rows differ between the warehouse and what the models make of raw now.

    The caller holds the lease. The schemas that this builds in are dropped at the end.

    :param connection: by a role that may read everything
    :param builder: by the role that builds
    :param profile: how dbt connects, with the target `verify`
    :param last_build: the build that is verified
    :raises BuildError: dbt could not build
    """
    with scratch_schemas(builder, last_build), tempfile.TemporaryDirectory(prefix="ecommerce-verify-") as folder:
        artifacts = Path(folder)
        show_current_core(builder, connection)
        _dbt_build(profile, artifacts, "--select", AGGREGATES, "marts")
        models = models_of(artifacts / "manifest.json")
        yield from _compare_aggregates_and_marts(connection, models)

        core = [model for model in models if model.table.schema == "core" and not model.is_aggregate]
        days = _draw(connection, core, sample)
        log.info("days of the facts that are compared (seed %s): %s", sample.seed, ", ".join(map(str, days)) or "none")
        hide_current_core(builder, connection)
        claim_days(builder, core, days)
        _dbt_build(
            profile,
            artifacts,
            "--select",
            "staging",
            "core",
            "resource_type:seed",
            "--exclude",
            "stg_as_of",
            "stg_claimed_*",
            AGGREGATES,
        )
        for model in core:
            yield _compare(connection, model, model.table, _compared_rows(connection, model, days))


def _compare_aggregates_and_marts(connection: Connection, models: Sequence[Model]) -> Iterator[CheckResult]:
    """Each mart twice: as it is published, and as it was built."""
    for model in models:
        if model.is_aggregate:
            yield _compare(connection, model, model.table, _ALL_ROWS)
    for model in models:
        if model.table.schema == "marts_build":
            yield _compare(connection, model, Table("marts", model.table.name), _ALL_ROWS)
            yield _compare(connection, model, model.table, _ALL_ROWS)


def _dbt_build(profile: ProfileConfig, artifacts: Path, *arguments: str) -> None:
    """Build models and load seeds, without their tests."""
    command = ["build", "--resource-type", "model", "--resource-type", "seed", *arguments]
    results = run_dbt(command, project=DBT_PROJECT, profile=profile, artifacts=artifacts)
    if failed := [str(result) for result in results if result.is_bad]:
        raise BuildError(f"dbt could not build the tables to compare with: {'; '.join(failed)}")


def _draw(connection: Connection, core: Sequence[Model], sample: Sample) -> list[date]:
    """A sample of the days that raw or a fact has; not the dirty ones, which no build has rebuilt yet."""
    of_raw = [
        sql.SQL("select {} as day from {}").format(sql.SQL(source.day), sql.Identifier("raw", source.all_rows))
        for source in SOURCES.values()
        if source.day
    ]
    of_facts = [
        sql.SQL("select {} from {}").format(sql.Identifier(model.day_column or ""), model.table.identifier)
        for model in core
        if model.is_sampled
    ]
    query = sql.SQL("""
        select day
        from ({all_days}) as all_days
        where day not in {dirty_dates}
        order by day
    """).format(all_days=sql.SQL(" union ").join(of_raw + of_facts), dirty_dates=sql.SQL(_DIRTY_DATES))
    days = [day for (day,) in connection.execute(query)]
    if sample.days is None or sample.days >= len(days):
        return days
    return sorted(random.Random(sample.seed).sample(days, sample.days))  # noqa: S311 - no secret


def _compared_rows(connection: Connection, model: Model, days: list[date]) -> sql.Composable:
    """The condition for the rows of a core model that must not differ."""
    if model.day_column:
        # A load may have made one of the days dirty since they were drawn.
        is_clean = sql.SQL("{} not in {}").format(sql.Identifier(model.day_column), sql.SQL(_DIRTY_DATES))
        if not model.is_sampled:
            return is_clean
        return sql.SQL("{} = any({}::date[]) and {}").format(
            sql.Identifier(model.day_column), sql.Literal(days), is_clean
        )
    names = sorted(_CHANGED_KEYS.keys() & _columns(connection, model.scratch))
    conditions = [
        sql.SQL("{} not in ({})").format(sql.Identifier(name), sql.SQL(_CHANGED_KEYS[name])) for name in names
    ]
    return sql.SQL(" and ").join([_ALL_ROWS, *conditions])


def _compare(connection: Connection, model: Model, current: Table, condition: sql.Composable) -> CheckResult:
    """
    Compare the rows of a table of the warehouse with those that the model makes now.

    A changed row counts once if it has a key, and otherwise as one row too many and one too few.
    """
    origin = _ORIGINS.get(model.table.name)
    key = list(origin.key) if origin else _key_of(connection, current)
    rows = _differing_rows(connection, model, current, condition, key, origin)
    if not rows:
        return CheckResult(str(current), "pass", 0, 0, "as the models make it")
    total = rows[0][-1]
    named = "; ".join(
        f"{json.dumps(identity)} {_kind_of_difference(is_surplus, is_missing)}{_loaded_by(connection, batch_id)}"
        for identity, is_surplus, is_missing, batch_id, _ in rows
    )
    more = f"; and {total - len(rows):,} more" if total > len(rows) else ""
    publication = "" if origin else _last_change(connection, model.table.name)
    return CheckResult(str(current), "fail", total, 0, f"{total:,} rows differ: {named}{more}{publication}")


def _differing_rows(
    connection: Connection,
    model: Model,
    current: Table,
    condition: sql.Composable,
    key: Sequence[str],
    origin: _Origin | None,
) -> list[tuple[Any, ...]]:
    """
    The first keys whose rows differ.

    :return: the key as a dictionary; whether the table has a row that the models do not make; whether it lacks one that
        they make; the batch that loaded the row; how many keys differ in all
    """
    return connection.execute(
        sql.SQL("""
            with current_rows as (
                select {columns} from {current} where {condition}
            ),
            expected_rows as (
                select {columns} from {scratch} where {condition}
            ),
            differing as (
                select true as is_surplus, *
                from (table current_rows except all table expected_rows) as surplus
                union all
                select false, *
                from (table expected_rows except all table current_rows) as missing
            )
            select
                {key_object},
                bool_or(is_surplus),
                bool_or(not is_surplus),
                {batch_id},
                count(*) over ()
            from differing
            group by {key}
            order by {key}
            limit {limit}
        """).format(
            columns=_identifiers(_columns(connection, model.scratch)),
            current=current.identifier,
            scratch=model.scratch.identifier,
            condition=condition,
            key_object=sql.SQL("json_strip_nulls(json_build_object({}))").format(
                sql.SQL(", ").join(sql.SQL("{}, {}").format(sql.Literal(name), sql.Identifier(name)) for name in key)
            ),
            batch_id=_batch_id(origin),
            key=_identifiers(key),
            limit=sql.Literal(_NAMED_ROWS),
        )
    ).fetchall()


def _batch_id(origin: _Origin | None) -> sql.Composable:
    """The last batch that has loaded a differing row, where that is known."""
    if origin is None:
        return sql.SQL("null::bigint")
    return sql.SQL("(select max(origin._batch_id) from {} as origin where {})").format(
        sql.Identifier("raw", origin.table), sql.SQL(origin.condition)
    )


def _identifiers(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _columns(connection: Connection, table: Table) -> list[str]:
    rows = connection.execute(
        """
        select attname::text
        from pg_attribute
        where attrelid = %s::regclass and attnum > 0 and not attisdropped
        order by attnum
        """,
        [table.identifier.as_string()],
    )
    return [name for (name,) in rows]


def _key_of(connection: Connection, table: Table) -> list[str]:
    """The columns of the table's unique index; all columns if it has none, because a part of its key may be null."""
    rows = connection.execute(
        """
        select attname::text
        from pg_index
        cross join unnest(indkey) with ordinality as place (attnum, n)
        inner join pg_attribute on attrelid = indrelid and pg_attribute.attnum = place.attnum
        where indexrelid = (
            select min(indexrelid)
            from pg_index
            where indrelid = %s::regclass and indisunique
        )
        order by n
        """,
        [table.identifier.as_string()],
    )
    return [name for (name,) in rows] or _columns(connection, table)


def _kind_of_difference(is_surplus: bool, is_missing: bool) -> str:
    # The table has a row that the models do not make, and lacks one that they make, with the same key.
    if is_surplus and is_missing:
        return "has other values"
    return "should not be there" if is_surplus else "is missing"


def _loaded_by(connection: Connection, batch_id: int | None) -> str:
    row = connection.execute("select run_id, built_by from ops.load_batch where batch_id = %s", [batch_id]).fetchone()
    return f" (loaded by run {row[0]} in batch {batch_id}, built by run {row[1]})" if row else ""


def _last_change(connection: Connection, mart: str) -> str:
    row = connection.execute(
        """
        select run_id, published_at
        from ops.publication
        where mart = %s and rows_inserted + rows_updated + rows_deleted > 0
        order by publication_id desc
        limit 1
        """,
        [mart],
    ).fetchone()
    return f"; last changed by the publication of run {row[0]} at {row[1]:%Y-%m-%d %H:%M} UTC" if row else ""
