"""
How a load changes raw: append, replace the window, version log (contract, section 1).

Each function works on a temporary table `good` of typed rows inside the caller's transaction, writes only what
differs, and marks the days whose facts it touched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta

from psycopg import Connection, sql
from psycopg.errors import LockNotAvailable

from ecommerce.common.fingerprint import Fingerprint, fingerprints
from ecommerce.common.sources import Source, Touch, WriteDisposition
from ecommerce.common.windows import Window
from ecommerce.load.batches import was_loaded
from ecommerce.load.validate import refuse_accepted, repeated_reason

STAGE = sql.Identifier("pg_temp", "stage")
GOOD = sql.Identifier("pg_temp", "good")
_ADDED = sql.Identifier("pg_temp", "added")
_CHANGED = sql.Identifier("pg_temp", "changed")


@dataclass(frozen=True)
class Extent:
    """The part of raw that a load is about: a window, or only some of its days."""

    window: Window
    days: Collection[date] | None = None

    @property
    def bounds(self) -> tuple[date, date]:
        """First day, and the day after the last."""
        if not self.days:
            return self.window.start, self.window.end
        return min(self.days), max(self.days) + timedelta(days=1)

    @property
    def is_empty(self) -> bool:
        """Whether not one day is meant."""
        return self.days is not None and not self.days

    @property
    def is_whole(self) -> bool:
        """Whether every day between the bounds is meant."""
        start, end = self.bounds
        return self.days is None or len(self.days) == (end - start).days


@dataclass(frozen=True)
class Landed:
    """Rows written, rows that vanished from the source, and days marked."""

    loaded: int
    removed: int
    days: int


def land(connection: Connection, source: Source, extent: Extent, batch_id: int) -> Landed:
    """Bring raw to what was read, by the source's way to land."""
    if extent.is_empty:
        return Landed(0, 0, 0)
    ways = {
        WriteDisposition.APPEND: _append,
        WriteDisposition.REPLACE_WINDOW: _replace_window,
        WriteDisposition.VERSION_LOG: _extend_version_log,
    }
    return ways[source.write_disposition](connection, source, extent, batch_id)


def refuse_superseded(connection: Connection, source: Source, extent: Extent) -> int:
    """Refuse an accepted row whose key raw already holds with a later `latest_by`, read elsewhere; their number."""
    if source.write_disposition is not WriteDisposition.REPLACE_WINDOW or source.latest_by is None:
        return 0
    latest = sql.Identifier(source.latest_by)
    return refuse_accepted(
        connection,
        source,
        GOOD,
        STAGE,
        losers=sql.SQL(
            "select good.ctid from {good} as good inner join {raw} as held on {same_key}"
            " where held.{latest} > good.{latest} and not ({inside})"
        ).format(
            good=GOOD,
            raw=_raw(source),
            same_key=_equal(source.key, "held", "good"),
            latest=latest,
            inside=_inside(source, extent, "held"),
        ),
        # A row of this window whose day was not read again is refused as it would be if it had been.
        reason=sql.SQL(
            "(select case when {inside_window} then {repeated} else {elsewhere} || held.{latest} end"
            " from {raw} as held where {same_key})"
        ).format(
            inside_window=_inside(source, Extent(extent.window), "held"),
            repeated=sql.Literal(repeated_reason(source)),
            elsewhere=sql.Literal(f"{', '.join(source.key)} is held already by the row of {source.latest_by} "),
            latest=latest,
            raw=_raw(source),
            same_key=_equal(source.key, "held", "lost"),
        ),
    )


def is_held(connection: Connection, source: Source, extent: Extent | None = None) -> bool:
    """Whether raw holds a row there; without an extent, whether it holds any."""
    inside = _inside(source, extent, "held") if extent else sql.SQL("true")
    row = connection.execute(
        sql.SQL("select exists (select from {} as held where {})").format(_raw(source), inside)
    ).fetchone()
    return bool(row and row[0])


def held_fingerprints(connection: Connection, source: Source, extent: Extent, seed: int) -> dict[date, Fingerprint]:
    """Of what raw holds there, by day, comparable with those of the source."""
    return fingerprints(
        connection,
        source,
        _raw(source),
        [sql.Identifier(column.name) for column in source.columns],
        seed,
        inside=_inside(source, extent, source.name),
        passes=sql.SQL("true"),
    )


def lock_if_free(connection: Connection, source: Source) -> bool:
    """
    Lock a raw table for `in_bulk`, if it is empty, was never loaded, and nobody is at it; whether it is locked.

    Loads of other sources do not look into such a table, and whoever reads it now would hold up all who come later.
    """
    if was_loaded(connection, source.name) or is_held(connection, source):
        return False
    try:
        with connection.transaction():
            connection.execute(sql.SQL("lock table {} in access exclusive mode nowait").format(_raw(source)))
    except LockNotAvailable:
        return False
    return True


@contextmanager
def in_bulk(connection: Connection, source: Source, lineage: Mapping[str, sql.Composable]) -> Iterator[None]:
    """
    Inside, an empty raw table is a bare one that can be filled with `copy … (freeze)`; it is indexed at the end.

    Several times faster than row by row. The table is locked against everyone until the transaction ends (see
    `lock_if_free`), and whoever reads it then sees the rows, even with a snapshot from before.

    :param lineage: columns that are not copied → the constant that each row takes
    """
    raw = _raw(source)
    constraints = connection.execute(
        "select conname::text, pg_get_constraintdef(oid) from pg_constraint"
        " where conrelid = %s::regclass and contype in ('p', 'u')",
        [f"raw.{source.name}"],
    ).fetchall()
    # Empty as it is, a file of this transaction's own: it needs no log where the server keeps none for such files, and
    # rows may be frozen as they come. Else the first to read them would write each page again to note their commit.
    connection.execute(sql.SQL("truncate {}").format(raw))
    for name, _ in constraints:
        connection.execute(sql.SQL("alter table {} drop constraint {}").format(raw, sql.Identifier(name)))
    indexes = connection.execute(
        "select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index where indrelid = %s::regclass",
        [f"raw.{source.name}"],
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f"drop index {name}".encode())
    for name, value in lineage.items():
        connection.execute(sql.SQL("alter table {} alter {} set default {}").format(raw, sql.Identifier(name), value))
    yield
    for name in lineage:
        connection.execute(sql.SQL("alter table {} alter {} drop default").format(raw, sql.Identifier(name)))
    for name, definition in constraints:
        connection.execute(
            sql.SQL("alter table {} add constraint {} {}").format(raw, sql.Identifier(name), sql.SQL(definition))
        )
    for _, definition in indexes:
        connection.execute(definition.encode())


def landed_straight(
    connection: Connection,
    source: Source,
    extent: Extent,
    batch_id: int,
    rows: int,
    days: Collection[str] | None,
) -> Landed:
    """
    What was done by copying the rows of an extent that raw held nothing of into raw itself.

    :param days: the days whose facts they change; None: raw is asked
    """
    if source.day is None:
        return Landed(rows, 0, 0)
    marked = (
        sql.SQL("select unnest({}::date[])").format(list(days))
        if days is not None
        else sql.SQL("select distinct {day} from {raw} as held where {inside} and {day} is not null").format(
            day=_day(source), raw=_raw(source), inside=_inside(source, extent, "held")
        )
    )
    return Landed(rows, 0, _mark(connection, source, batch_id, marked))


def with_appended(
    connection: Connection,
    source: Source,
    batch_id: int,
    landed: Landed,
    rows: int,
    begun: Sequence[tuple[str, int, int]],
) -> Landed:
    """What was landed, and rows besides that were copied into raw itself: those of the batch from these places on."""
    if not rows or source.day is None:
        return Landed(landed.loaded + rows, landed.removed, landed.days)
    topic, partition, offset = map(sql.Identifier, source.key)
    days = sql.SQL(
        "select distinct {day} from {raw} as held"
        " inner join unnest({topics}::text[], {partitions}::integer[], {offsets}::bigint[])"
        "  as begun(topic, place, first_offset)"
        " on held.{topic} = begun.topic and held.{partition} = begun.place and held.{offset} >= begun.first_offset"
        " where held._batch_id = {batch}"
    ).format(
        day=_day(source),
        raw=_raw(source),
        topics=[begin[0] for begin in begun],
        partitions=[begin[1] for begin in begun],
        offsets=[begin[2] for begin in begun],
        topic=topic,
        partition=partition,
        offset=offset,
        batch=batch_id,
    )
    return Landed(landed.loaded + rows, landed.removed, landed.days + _mark(connection, source, batch_id, days))


def _append(connection: Connection, source: Source, extent: Extent, batch_id: int) -> Landed:
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


def _replace_window(connection: Connection, source: Source, extent: Extent, batch_id: int) -> Landed:
    _collect_changed_days(connection)
    # Equal in effect to deleting the window and copying it in, but a row that did not change is not rewritten.
    removed = connection.execute(
        sql.SQL(
            # In two statements, since one with `or` reads all of raw, which grows with its age.
            "with gone as ("
            " delete from {raw} as held where {inside} and not exists ("
            "  select from {good} as good where {same_key} and {same_row}) returning *"
            "), moved as ("
            " delete from {raw} as held using {good} as good where {same_key} and not ({inside}) returning held.*"
            ") insert into {changed} select {day} from (table gone union all table moved) as removed"
        ).format(
            changed=_CHANGED,
            raw=_raw(source),
            inside=_inside(source, extent, "held"),
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


def _extend_version_log(connection: Connection, source: Source, extent: Extent, batch_id: int) -> Landed:
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
    # Of an unknown number of versions the planner thinks there are many, and sorts all facts to find theirs.
    connection.execute(sql.SQL("analyze {}").format(_ADDED))
    days = sum(_mark_touched(connection, source, touch, batch_id) for touch in source.touches)
    return Landed(new_versions, tombstones, days)


def _collect_changed_days(connection: Connection) -> None:
    connection.execute(sql.SQL("create temp table {} (day date) on commit drop").format(_CHANGED))


def _mark_changed(connection: Connection, source: Source, batch_id: int) -> int:
    days = sql.SQL("select distinct day from {} where day is not null").format(_CHANGED)
    return _mark(connection, source, batch_id, days)


def _mark_touched(connection: Connection, source: Source, touch: Touch, batch_id: int) -> int:
    # A table that was never loaded may be under way and locked (`in_bulk`); that load marks its days itself.
    if not was_loaded(connection, touch.table):
        return 0
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


def _inside(source: Source, extent: Extent, alias: str) -> sql.Composed:
    if source.window_column is None:
        raise ValueError(f"source {source.name} has no window column")
    column = sql.Identifier(alias, source.window_column)
    start, end = extent.bounds
    inside = sql.SQL("({column} >= {start} and {column} < {end})").format(
        column=column, start=sql.Literal(start), end=sql.Literal(end)
    )
    if extent.is_whole:
        return inside
    return sql.SQL("({} and {}::date = any({}))").format(inside, column, sql.Literal(sorted(extent.days or [])))
