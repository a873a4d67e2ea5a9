"""
How a load changes raw: append, replace the window, version log (contract, section 1).

Each function works on a temporary table `good` of typed rows inside the caller's transaction, writes only what
differs, and marks the days whose facts it touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import Connection, sql

from ecommerce.loading.validate import cast, column_of
from ecommerce.sources import Landing, Source, Touch
from ecommerce.windows import Window

STAGE = sql.Identifier("pg_temp", "stage")
GOOD = sql.Identifier("pg_temp", "good")
_ADDED = sql.Identifier("pg_temp", "added")
_CHANGED = sql.Identifier("pg_temp", "changed")


@dataclass(frozen=True)
class Landed:
    """Rows written, rows that vanished from the source, and days marked."""

    loaded: int
    removed: int
    days: int


def land(connection: Connection, source: Source, window: Window, batch_id: int) -> Landed:
    """Bring raw to what was read, by the source's way to land."""
    ways = {
        Landing.APPEND: _append,
        Landing.REPLACE_WINDOW: _replace_window,
        Landing.VERSION_LOG: _extend_version_log,
    }
    return ways[source.landing](connection, source, window, batch_id)


def refuse_superseded(connection: Connection, source: Source, window: Window) -> None:
    """Refuse a row whose key raw already holds with a later `latest_by`, read in another window."""
    if source.landing is not Landing.REPLACE_WINDOW or source.latest_by is None:
        return
    connection.execute(
        sql.SQL(
            "update {stage} as stage set _refusal = {reason} || held.{latest} from {raw} as held"
            " where stage._refusal is null and {same_key} and held.{latest} > {staged_latest} and not ({inside})"
        ).format(
            stage=STAGE,
            reason=sql.Literal(f"{', '.join(source.key)} is held already by the row of {source.latest_by} "),
            latest=sql.Identifier(source.latest_by),
            staged_latest=cast(source, column_of(source, source.latest_by), "stage"),
            raw=_raw(source),
            same_key=sql.SQL(" and ").join(
                sql.SQL("{} = {}").format(sql.Identifier("held", name), cast(source, column_of(source, name), "stage"))
                for name in source.key
            ),
            inside=_inside(source, window, "held"),
        )
    )


def _append(connection: Connection, source: Source, window: Window, batch_id: int) -> Landed:
    _collect_changed_days(connection)
    loaded = connection.execute(
        sql.SQL(
            "with added as ("
            " insert into {raw} ({columns}, _batch_id, _loaded_at)"
            " select {columns}, {batch}, now() from {good} on conflict do nothing returning *"
            ") insert into {changed} select {day} from added"
        ).format(
            changed=_CHANGED,
            raw=_raw(source),
            columns=_columns(source),
            batch=batch_id,
            good=GOOD,
            day=_day(source),
        )
    ).rowcount
    return Landed(loaded, 0, _mark_changed(connection, source, batch_id))


def _replace_window(connection: Connection, source: Source, window: Window, batch_id: int) -> Landed:
    _collect_changed_days(connection)
    # Equal in effect to deleting the window and copying it in, but a row that did not change is not rewritten.
    removed = connection.execute(
        sql.SQL(
            "with gone as ("
            " delete from {raw} as held where ({inside} and not exists ("
            "   select from {good} as good where {same_key} and {same_row}))"
            " or (not ({inside}) and exists (select from {good} as good where {same_key}))"
            " returning *"
            ") insert into {changed} select {day} from gone"
        ).format(
            changed=_CHANGED,
            raw=_raw(source),
            inside=_inside(source, window, "held"),
            good=GOOD,
            same_key=_equal(source.key, "held", "good"),
            same_row=_same_row(source, "held", "good"),
            day=_day(source),
        )
    ).rowcount
    loaded = connection.execute(
        sql.SQL(
            "with added as ("
            " insert into {raw} ({columns}, _batch_id, _loaded_at)"
            " select {columns}, {batch}, now() from {good} as good"
            " where not exists (select from {raw} as held where {same_key}) returning *"
            ") insert into {changed} select {day} from added"
        ).format(
            changed=_CHANGED,
            raw=_raw(source),
            columns=_columns(source),
            batch=batch_id,
            good=GOOD,
            same_key=_equal(source.key, "held", "good"),
            day=_day(source),
        )
    ).rowcount
    return Landed(loaded, removed, _mark_changed(connection, source, batch_id))


def _extend_version_log(connection: Connection, source: Source, window: Window, batch_id: int) -> Landed:
    names = [column.name for column in source.columns]
    changed_at = (
        sql.SQL("coalesce(good.{}::timestamp at time zone 'UTC', now())").format(sql.Identifier(source.change_time))
        if source.change_time
        else sql.SQL("now()")
    )
    connection.execute(
        sql.SQL(
            "create temp table latest on commit drop as"
            " select distinct on ({key}) * from {raw} order by {key}, _batch_id desc"
        ).format(key=_names(source.key), raw=_raw(source))
    )
    connection.execute("analyze pg_temp.latest")
    connection.execute(
        sql.SQL("create temp table {added} (like {raw}, is_first boolean) on commit drop").format(
            added=_ADDED, raw=_raw(source)
        )
    )
    new_versions = connection.execute(
        sql.SQL(
            "with added as ("
            " insert into {raw} ({columns}, _valid_from, _is_deleted, _batch_id, _loaded_at)"
            " select {good_columns}, greatest({changed_at}, latest._valid_from), false, {batch}, now()"
            " from {good} as good left join pg_temp.latest as latest on {same_key}"
            " where latest._batch_id is null or latest._is_deleted or not {same_row} returning *"
            ") insert into {added}"
            " select added.*, not exists (select from pg_temp.latest as latest where {same_key_added}) from added"
        ).format(
            added=_ADDED,
            raw=_raw(source),
            columns=_columns(source),
            good_columns=sql.SQL(", ").join(sql.Identifier("good", name) for name in names),
            changed_at=changed_at,
            batch=batch_id,
            good=GOOD,
            same_key=_equal(source.key, "latest", "good"),
            same_key_added=_equal(source.key, "latest", "added"),
            same_row=_same_row(source, "latest", "good"),
        )
    ).rowcount
    # A key whose row was refused is still at the source. That row may not cast, so it is compared as text.
    refused_key = sql.SQL(" and ").join(
        sql.SQL("btrim(stage.{name}) = latest.{name}::text").format(name=sql.Identifier(name)) for name in source.key
    )
    tombstones = connection.execute(
        sql.SQL(
            "with added as ("
            " insert into {raw} ({key}, _valid_from, _is_deleted, _batch_id, _loaded_at)"
            " select {latest_key}, greatest(now(), latest._valid_from), true, {batch}, now()"
            " from pg_temp.latest as latest where not latest._is_deleted"
            " and not exists (select from {good} as good where {same_key})"
            " and not exists (select from {stage} as stage where stage._refusal is not null and {refused_key})"
            " returning *"
            ") insert into {added} select added.*, false from added"
        ).format(
            raw=_raw(source),
            key=_names(source.key),
            latest_key=sql.SQL(", ").join(sql.Identifier("latest", name) for name in source.key),
            batch=batch_id,
            good=GOOD,
            same_key=_equal(source.key, "latest", "good"),
            stage=STAGE,
            refused_key=refused_key,
            added=_ADDED,
        )
    ).rowcount
    days = sum(_mark_touched(connection, source, touch, batch_id) for touch in source.touches)
    return Landed(new_versions, tombstones, days)


def _collect_changed_days(connection: Connection) -> None:
    connection.execute(sql.SQL("create temp table {} (day date) on commit drop").format(_CHANGED))


def _mark_changed(connection: Connection, source: Source, batch_id: int) -> int:
    days = sql.SQL("select distinct day from {} where day is not null").format(_CHANGED)
    return _mark(connection, source, batch_id, days)


def _mark_touched(connection: Connection, source: Source, touch: Touch, batch_id: int) -> int:
    # The first version of a key opens at -infinity (contract, section 4), so it reaches every fact of its key.
    days = sql.SQL(
        "select distinct fact.day from ("
        " select {key} as key, {day} as day from {table}"
        ") as fact inner join {added} as added on btrim(added.{own_key}) = btrim(fact.key)"
        " and (added.is_first or fact.day + interval '1 day' > added._valid_from at time zone 'UTC')"
    ).format(
        key=sql.Identifier(touch.key),
        day=sql.SQL(touch.day),
        table=sql.Identifier("raw", touch.table),
        added=_ADDED,
        own_key=sql.Identifier(source.key[0]),
    )
    return _mark(connection, source, batch_id, days)


def _mark(connection: Connection, source: Source, batch_id: int, days: sql.Composable) -> int:
    return connection.execute(
        sql.SQL(
            "insert into ops.dirty_date (source, dirty_date, batch_id, marked_at)"
            " select {source}, marked.day, {batch}, now() from ({days}) as marked(day) on conflict do nothing"
        ).format(source=source.name, batch=batch_id, days=days)
    ).rowcount


def _raw(source: Source) -> sql.Identifier:
    return sql.Identifier("raw", source.name)


def _names(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name in names)


def _columns(source: Source) -> sql.Composed:
    return _names([column.name for column in source.loaded_columns])


def _day(source: Source) -> sql.SQL:
    return sql.SQL(source.day or "null::date")


def _equal(names: Sequence[str], one: str, other: str) -> sql.Composed:
    return sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(sql.Identifier(one, name), sql.Identifier(other, name)) for name in names
    )


def _same_row(source: Source, one: str, other: str) -> sql.Composed:
    def row(alias: str) -> sql.Composed:
        return sql.SQL(", ").join(sql.Identifier(alias, column.name) for column in source.columns)

    return sql.SQL("(({}) is not distinct from ({}))").format(row(one), row(other))


def _inside(source: Source, window: Window, alias: str) -> sql.Composed:
    if source.window_column is None:
        raise ValueError(f"source {source.name} has no window column")
    column = sql.Identifier(alias, source.window_column)
    return sql.SQL("({column} >= {start} and {column} < {end})").format(
        column=column, start=sql.Literal(window.start), end=sql.Literal(window.end)
    )
