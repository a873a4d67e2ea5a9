"""
What a rollback would change: of each mart the rows, and the amounts of money in them. Nothing is written.

Queries only, since the pages and the commands ask them by a role that may not make temporary tables.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from psycopg import sql

from ecommerce.build.dbt_project import MANIFEST
from ecommerce.publish.marts import LOST_COLUMNS, key_object, same_key

#: The marts that a later publication has changed, with their key, those of its columns that are never null, their
#: columns of money, the columns that they had and have no more, and the first later publication that found the mart
#: empty and filled it.
MARTS_TO_RESTORE = f"""
with later as (
    select
        mart,
        min(publication_id) filter (where undo_by = 'emptying') as filled_by
    from ops.publication
    where publication_id > %(target)s
    group by mart
)

select
    later.mart,
    later.filled_by,
    rule_key.columns as key,
    rule_key.not_null,
    coalesce(money.columns, '{{}}') as money,
    coalesce(lost.columns, '{{}}') as lost
from later
cross join lateral (select to_regclass(format('marts.%%I', later.mart)) as oid) as published
cross join lateral (
    select
        array_agg(attribute.attname::text order by place.n) as columns,
        coalesce(array_agg(attribute.attname::text) filter (where attribute.attnotnull), '{{}}') as not_null
    from (
        select conrelid, conkey
        from pg_constraint
        where conrelid = published.oid and contype in ('p', 'u')
        order by oid
        limit 1
    ) as rule
    cross join lateral unnest(rule.conkey) with ordinality as place (attnum, n)
    inner join pg_attribute as attribute
        on attribute.attrelid = rule.conrelid and attribute.attnum = place.attnum
) as rule_key
cross join lateral (
    select array_agg(attname::text order by attnum) as columns
    from pg_attribute
    where
        attrelid = published.oid
        and attnum > 0
        and not attisdropped
        and format_type(atttypid, atttypmod) = 'numeric(18,2)'
) as money
cross join lateral ({LOST_COLUMNS.format(mart="later.mart")}) as lost (columns)
where rule_key.columns is not null
order by later.mart
"""


@dataclass(frozen=True)
class RestoredMart:
    """
    What a rollback would change in a mart.

    :param back: rows that are gone now, and come back
    :param gone: rows that are there now, and go
    :param sums: column of money → its sum over these rows now, and afterwards
    """

    mart: str
    back: int
    changed: int
    gone: int
    sums: Mapping[str, tuple[Decimal, Decimal]]

    @property
    def total(self) -> int:
        """Rows that change in any way."""
        return self.back + self.changed + self.gone


def changes_query(mart: Mapping[str, Any], target: int, skipped: Collection[str] = ()) -> str:
    """
    The query of what restoring one mart would change; `restored_mart` reads its row.

    :param mart: a row of `MARTS_TO_RESTORE`
    :param target: the publication that is restored
    :param skipped: columns of money that are not added up
    """
    names = {
        "mart": sql.Literal(mart["mart"]),
        "target": sql.Literal(target),
        "table": sql.Identifier("marts", mart["mart"]),
        "key": key_object(mart["key"], "current_row"),
        "same_key": same_key(mart["key"], mart["not_null"], "current_row", "kept_key"),
        "lost": sql.Literal(list(mart["lost"])),
    }
    sums: list[sql.Composable] = [sql.SQL("")]
    for column in mart["money"]:
        if column not in skipped:
            for when, content in (("now", "current_content"), ("then", "target_content")):
                total = sql.SQL("coalesce(sum(({} ->> {})::numeric), 0) as {}").format(
                    sql.Identifier(content), sql.Literal(column), sql.Identifier(f"{when} {column}")
                )
                sums.append(total)
    return (
        sql.SQL("""
            with kept as (
                select distinct on (key) key, old_row - {lost}::text[] as content
                from ops.publication_delta
                where mart = {mart} and publication_id > {target} and {until}
                order by key, publication_id
            ),

            target_row as (
                select key, content from kept
                {of_an_empty_mart}
            ),

            compared as (
                select
                    target_row.content as target_content,
                    case when current_row.ctid is not null then to_jsonb(current_row) end as current_content
                from target_row
                -- The key in the mart's own types, so that few rows are found by the mart's index.
                cross join lateral jsonb_populate_record(null::{table}, target_row.key) as kept_key
                left join {table} as current_row on {same_key}
            )

            select
                count(*) filter (where current_content is null) as back,
                count(*) filter (where target_content is not null and current_content is not null) as changed,
                count(*) filter (where target_content is null) as gone{sums}
            from compared
            -- A column that was added since is null in the rows to restore, which have no such column.
            where jsonb_strip_nulls(current_content) is distinct from jsonb_strip_nulls(target_content)
        """)
        .format(
            **names,
            sums=sql.SQL(", ").join(sums),
            until=_until(mart["filled_by"]),
            of_an_empty_mart=_of_an_empty_mart(names) if mart["filled_by"] is not None else sql.SQL(""),
        )
        .as_string()
    )


def restored_mart(mart: str, row: Mapping[str, Any]) -> RestoredMart:
    """The row of `changes_query`."""
    columns = [name.removeprefix("now ") for name in row if name.startswith("now ")]
    sums = {column: (row[f"now {column}"], row[f"then {column}"]) for column in columns}
    return RestoredMart(mart, row["back"], row["changed"], row["gone"], sums)


def columns_not_added_up(path: Path = MANIFEST) -> dict[str, set[str]]:
    """
    Model → the columns that dbt's project says must not be added up; nothing before the project was parsed.

    Those with `additive: false`, and all of a model with `additive_within`: its rows are the same money several times.
    """
    if not path.exists():
        return {}
    models = [node for node in json.loads(path.read_text())["nodes"].values() if node["resource_type"] == "model"]
    return {
        model["name"]: {
            name
            for name, column in model["columns"].items()
            if _meta(model).get("additive_within") or _meta(column).get("additive") is False
        }
        for model in models
    }


def _meta(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return node.get("config", {}).get("meta") or node.get("meta") or {}


def _until(filled_by: int | None) -> sql.Composable:
    return sql.SQL("true") if filled_by is None else sql.SQL("publication_id < {}").format(sql.Literal(filled_by))


def _of_an_empty_mart(names: Mapping[str, sql.Composable]) -> sql.Composed:
    """The mart was empty, so no row of now existed then, unless a publication before has kept it."""
    return sql.SQL("""
        union all
        select {key}, null::jsonb
        from {table} as current_row
        where not exists (select from kept where kept.key = {key})
    """).format(key=names["key"], table=names["table"])
