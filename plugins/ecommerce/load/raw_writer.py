"""
Writes the accepted rows of a load to raw, by the source's write disposition (contract, section 1).

Each function works inside the caller's transaction, writes only what differs, and marks the days whose facts changed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

from psycopg import Connection, sql

from ecommerce.common.fingerprint import Fingerprint, RowHash, fingerprints
from ecommerce.common.sources import Source, WriteDisposition
from ecommerce.common.value_rules import cast_if_valid, column_of
from ecommerce.load import loaded_days
from ecommerce.load.dirty_dates import (
    CHANGED_ROWS,
    create_changed_rows,
    day_of,
    dependent_keys,
    mark,
    mark_changed_days,
    mark_dependent_days,
    mark_touched_days,
)
from ecommerce.load.extent import Extent, window_column
from ecommerce.load.mass_removal import FREE_REMOVALS, Loss, losses_of_window
from ecommerce.load.staging import ACCEPTED, STAGE
from ecommerce.load.validate import reject_accepted, repeated_key_advice, repeated_key_reason

_NEW_VERSIONS = sql.Identifier("pg_temp", "new_versions")


@dataclass(frozen=True)
class WriteCounts:
    """
    Rows written to raw, rows that are gone from the source, and days marked as dirty.

    :param losses: what raw loses for good, where that may be too much
    """

    loaded: int
    removed: int
    days: int
    losses: Sequence[Loss] = ()


def write(connection: Connection, source: Source, extent: Extent, batch_id: int) -> WriteCounts:
    """Make raw equal to the accepted rows, by the source's write disposition."""
    if extent.is_empty:
        # A window of which nothing has changed.
        loaded_days.note(connection, source, extent, batch_id)
        return WriteCounts(0, 0, 0)
    writers = {
        WriteDisposition.APPEND: _append,
        WriteDisposition.REPLACE_WINDOW: _replace_window,
        WriteDisposition.VERSION_LOG: _extend_version_log,
    }
    return writers[source.write_disposition](connection, source, extent, batch_id)


def reject_superseded(connection: Connection, source: Source, extent: Extent) -> int:
    """Reject accepted rows whose key raw has with a later `latest_by` outside of the extent; how many."""
    if source.write_disposition is not WriteDisposition.REPLACE_WINDOW or source.latest_by is None:
        return 0
    latest = sql.Identifier(source.latest_by)
    held = sql.Literal(f"{', '.join(source.key)} is held already by the row of {source.latest_by} ")
    return reject_accepted(
        connection,
        source,
        rows=sql.SQL("""
            select accepted.ctid
            from {accepted} as accepted
            inner join {raw} as stored
                on {same_key}
            where stored.{latest} > accepted.{latest} and not ({inside})
        """).format(
            accepted=ACCEPTED,
            raw=_raw(source),
            same_key=_equal(source.key, "stored", "accepted"),
            latest=latest,
            inside=extent.condition(source, "stored"),
        ),
        # If raw's row is of a day of this window that was not read again, the reason is that of a repeated key: so it
        # would be if the day had been read.
        reason=sql.SQL("""
            (
                select case when {inside_window} then {repeated} else {held} || stored.{latest} || {advice} end
                from {raw} as stored
                where {same_key}
            )
        """).format(
            inside_window=Extent(extent.window).condition(source, "stored"),
            repeated=repeated_key_reason(source),
            held=held,
            advice=repeated_key_advice(source),
            latest=latest,
            raw=_raw(source),
            same_key=_equal(source.key, "stored", "rejected"),
        ),
    )


def has_rows(connection: Connection, source: Source, extent: Extent | None = None) -> bool:
    """Whether raw has a row of the extent; without an extent, whether it has any row."""
    inside = extent.condition(source, "stored") if extent else sql.SQL("true")
    row = connection.execute(
        sql.SQL("select exists (select from {} as stored where {})").format(_raw(source), inside)
    ).fetchone()
    return bool(row and row[0])


def raw_fingerprints(
    connection: Connection, source: Source, extent: Extent, seed: int, row_hash: RowHash
) -> dict[date, Fingerprint]:
    """The fingerprint of each day of raw, comparable with those of the source."""
    return fingerprints(
        connection,
        source,
        _raw(source),
        [sql.Identifier(column.name) for column in source.columns],
        seed,
        day=window_column(source, source.name).day,
        inside=extent.condition(source, source.name),
        passes=sql.SQL("true"),
        row_hash=row_hash,
    )


def count_first_load(
    connection: Connection,
    source: Source,
    extent: Extent,
    batch_id: int,
    rows: int,
    days: Collection[str] | None,
    *,
    had_rows: bool,
) -> WriteCounts:
    """
    Mark the days of rows that were copied straight into raw, which had none of the extent.

    :param days: the days whose facts they change; None: raw is queried for them
    :param had_rows: raw has rows outside of the extent
    """
    loaded_days.note(connection, source, extent, batch_id)
    if source.day is None or not rows:
        return WriteCounts(rows, 0, 0)
    changed = (
        sql.SQL("select unnest({}::date[])").format(list(days))
        if days is not None
        else sql.SQL("""
            select distinct {day}
            from {raw} as stored
            where {inside} and {day} is not null
        """).format(day=day_of(source), raw=_raw(source), inside=extent.condition(source, "stored"))
    )
    marked = mark(connection, source, batch_id, changed)
    for dependents in source.dependents:
        is_own = dependents.table == source.name
        if is_own and not had_rows:
            # All rows of the table are new, and marked.
            continue
        keys = sql.SQL("select stored.{} from {} as stored where {}").format(
            sql.Identifier(dependents.key), _raw(source), extent.condition(source, "stored")
        )
        others = sql.SQL("not ({})").format(extent.condition(source, "dependent")) if is_own else None
        marked += mark_dependent_days(connection, source, dependents, batch_id, keys, others)
    return WriteCounts(rows, 0, marked)


def add_messages(
    connection: Connection,
    source: Source,
    batch_id: int,
    counts: WriteCounts,
    rows: int,
    first_offsets: Sequence[tuple[str, int, int]],
) -> WriteCounts:
    """
    Add messages that were copied straight into raw to the counts, and mark their days.

    :param first_offsets: topic, partition and offset from which the batch has read
    """
    if not rows or source.day is None:
        return WriteCounts(counts.loaded + rows, counts.removed, counts.days)
    topic, partition, offset = map(sql.Identifier, source.key)
    days = sql.SQL("""
        select distinct {day}
        from {raw} as stored
        inner join
            unnest({topics}::text[], {partitions}::integer[], {offsets}::bigint[])
                as first_read(topic, place, first_offset)
            on stored.{topic} = first_read.topic
            and stored.{partition} = first_read.place
            and stored.{offset} >= first_read.first_offset
        where stored._batch_id = {batch}
    """).format(
        day=day_of(source),
        raw=_raw(source),
        topics=[place[0] for place in first_offsets],
        partitions=[place[1] for place in first_offsets],
        offsets=[place[2] for place in first_offsets],
        topic=topic,
        partition=partition,
        offset=offset,
        batch=batch_id,
    )
    return WriteCounts(counts.loaded + rows, counts.removed, counts.days + mark(connection, source, batch_id, days))


def _append(connection: Connection, source: Source, extent: Extent, batch_id: int) -> WriteCounts:
    create_changed_rows(connection, source)
    loaded = connection.execute(
        sql.SQL("""
            with added as (
                insert into {raw} ({columns}, _batch_id, _loaded_at)
                select {columns}, {batch}, now()
                from {accepted}
                {where_not_packed}
                on conflict do nothing
                returning *
            )
            insert into {changed_rows} (day)
            select {day} from added
        """).format(
            changed_rows=CHANGED_ROWS,
            raw=_raw(source),
            columns=_columns(source),
            batch=batch_id,
            accepted=ACCEPTED,
            where_not_packed=_where_not_packed(source),
            day=day_of(source),
        )
    ).rowcount
    return WriteCounts(loaded, 0, mark_changed_days(connection, source, batch_id))


def _where_not_packed(source: Source) -> sql.Composable:
    """SQL: leave out the accepted messages that raw has packed."""
    if not source.is_packed:
        return sql.SQL("")
    # Unpacked once, and only what lies between the offsets of the accepted messages.
    return sql.SQL("""
        where (_topic, _partition, _offset) not in (
            select unpacked._topic, unpacked._partition, unpacked._offset
            from (
                select _topic, _partition, min(_offset) as first_offset, max(_offset) as last_offset
                from {accepted}
                group by _topic, _partition
            ) as span
            inner join {unpacked} as unpacked
                on span._topic = unpacked._topic
                and span._partition = unpacked._partition
                and span.first_offset <= unpacked._last_offset
                and span.last_offset >= unpacked._first_offset
        )
    """).format(accepted=ACCEPTED, unpacked=sql.Identifier("raw", f"{source.name}_unpacked"))


def _replace_window(connection: Connection, source: Source, extent: Extent, batch_id: int) -> WriteCounts:
    create_changed_rows(connection, source)
    if source.keeps_missing:
        _keep_known_values(connection, source)
    removed = _delete_differing(connection, source, extent)
    losses = losses_of_window(connection, source, extent) if removed else []
    # Raw still has the rows that did not change. To look for them by a join can be quadratic: with statistics of an
    # empty table the planner reads raw for each new row, and raw grows meanwhile.
    loaded = connection.execute(
        sql.SQL("""
            with added as (
                insert into {raw} ({columns}, _batch_id, _loaded_at)
                select {columns}, {batch}, now()
                from {accepted}
                on conflict ({key}) do nothing
                returning *
            )
            insert into {changed_rows} ({changed_columns})
            select {changed} from added
        """).format(
            changed_rows=CHANGED_ROWS,
            raw=_raw(source),
            columns=_columns(source),
            batch=batch_id,
            accepted=ACCEPTED,
            key=_names(source.key),
            changed_columns=_changed_columns(source),
            changed=_changed(source),
        )
    ).rowcount
    loaded_days.note(connection, source, extent, batch_id)
    if not loaded and not removed:
        return WriteCounts(0, 0, 0)
    loaded_days.note_other_days(connection, source, extent, batch_id)
    return WriteCounts(loaded, removed, mark_changed_days(connection, source, batch_id), losses)


def _keep_known_values(connection: Connection, source: Source) -> None:
    """Let accepted rows have the values of raw where the source gives none."""
    names = [column.name for column in source.columns if not column.required and column.name not in source.key]
    connection.execute(
        sql.SQL("""
            update {accepted} as accepted
            set {values}
            from {raw} as stored
            where {same_key} and ({is_missing})
        """).format(
            accepted=ACCEPTED,
            values=sql.SQL(", ").join(
                sql.SQL("{0} = coalesce(accepted.{0}, stored.{0})").format(sql.Identifier(name)) for name in names
            ),
            raw=_raw(source),
            same_key=_equal(source.key, "stored", "accepted"),
            is_missing=sql.SQL(" or ").join(
                sql.SQL("accepted.{} is null").format(sql.Identifier(name)) for name in names
            ),
        )
    )


def _delete_differing(connection: Connection, source: Source, extent: Extent) -> int:
    """Delete the rows of the extent that no accepted row equals, and those of accepted keys elsewhere; how many."""
    same_key = _equal(source.key, "stored", "accepted")
    may_go: sql.Composable = sql.SQL("true")
    if source.keeps_missing:
        may_go = sql.SQL("exists (select from {} as accepted where {})").format(ACCEPTED, same_key)
    # Equal in effect to deleting the window and copying it in, but a row that did not change is not rewritten.
    # Two deletes, since one with `or` would read all of raw, which grows with its age.
    return connection.execute(
        sql.SQL("""
            with gone as (
                delete from {raw} as stored
                where {inside} and {may_go} and not exists (
                    select from {accepted} as accepted where {same_key} and {same_row}
                )
                returning *
            ),
            moved as (
                delete from {raw} as stored
                using {accepted} as accepted
                where {same_key} and not ({inside})
                returning stored.*
            )
            insert into {changed_rows} ({changed_columns}, is_lost)
            select {changed}, not exists (select from {accepted} as accepted where {same_key_gone})
            from gone
            union all
            select {changed}, null
            from moved
        """).format(
            changed_rows=CHANGED_ROWS,
            raw=_raw(source),
            inside=extent.condition(source, "stored"),
            may_go=may_go,
            accepted=ACCEPTED,
            same_key=same_key,
            same_key_gone=_equal(source.key, "gone", "accepted"),
            same_row=_same_bytes(source, "stored", "accepted"),
            changed_columns=_changed_columns(source),
            changed=_changed(source),
        )
    ).rowcount


def _changed_columns(source: Source) -> sql.Composed:
    return _names(["day", "window_day", *dependent_keys(source)])


def _changed(source: Source) -> sql.Composed:
    """SQL over a raw row: its values of `_changed_columns`."""
    window_day = window_column(source).day
    return sql.SQL(", ").join([day_of(source), window_day, *map(sql.Identifier, dependent_keys(source))])


def _extend_version_log(connection: Connection, source: Source, extent: Extent, batch_id: int) -> WriteCounts:
    _create_latest(connection, source)
    versions = _add_versions(connection, source, batch_id)
    tombstones = _add_tombstones(connection, source, batch_id)
    return _count_versions(connection, source, batch_id, versions, tombstones, lost=tombstones)


def _create_latest(connection: Connection, source: Source) -> None:
    """Create the table of the latest version of each key, and the empty one of the new versions."""
    connection.execute(
        sql.SQL("""
            create temp table latest on commit drop as
            select distinct on ({key}) *, {changed_at} as _changed_at
            from {raw}
            order by {key}, _batch_id desc, _valid_from desc
        """).format(key=_names(source.key), raw=_raw(source), changed_at=_last_change_time(source))
    )
    connection.execute("analyze pg_temp.latest")
    connection.execute(
        sql.SQL("create temp table {new_versions} (like {raw}, is_first boolean) on commit drop").format(
            new_versions=_NEW_VERSIONS, raw=_raw(source)
        )
    )


def _count_versions(
    connection: Connection, source: Source, batch_id: int, versions: int, tombstones: int, *, lost: int
) -> WriteCounts:
    """
    Mark the days that the new versions touch, and count.

    :param lost: keys that were there before and are not any more
    """
    if not versions and not tombstones:
        return WriteCounts(0, 0, 0)
    # Without statistics the planner expects many versions, and sorts all facts to find those of their keys.
    connection.execute(sql.SQL("analyze {}").format(_NEW_VERSIONS))
    days = sum(mark_touched_days(connection, source, touch, batch_id, _NEW_VERSIONS) for touch in source.touches)
    losses = [Loss(lost, _count_current(connection))] if lost > FREE_REMOVALS else []
    return WriteCounts(versions, tombstones, days, losses)


def apply_changes(connection: Connection, source: Source, topic: str | None, batch_id: int) -> WriteCounts:
    """
    Add a version for each accepted change of a row, valid from its time; what changes nothing is left out.

    The order of a row's changes is that of the topic, whatever their times say: clocks differ. A version is valid from
    a microsecond after the one before at the earliest. So it does not matter where one load ends and the next begins.

    :param topic: of the changes; those below its stored offsets come late, from the quarantine. They count only if
        their row has no version of that time or later
    """
    _create_latest(connection, source)
    business = [column.name for column in source.columns if column.name not in source.key]
    state = sql.SQL("row(_is_deleted, {})").format(_names(business))
    connection.execute(
        sql.SQL("""
            with ordered as (
                select
                    change.*,
                    row_number() over (
                        partition by {change_key} order by change._partition, change._offset
                    ) as place
                from {accepted} as change
                left join pg_temp.latest as latest
                    on {same_key}
                left join ops.kafka_offset as stored
                    on stored.topic = {topic} and stored.partition = change._partition
                where
                    latest._batch_id is null
                    or change._changed_at > latest._valid_from
                    or change._offset >= coalesce(stored.next_offset, 0)
            ),
            states as (
                select {key}, {values_of_row}, _is_deleted, least(_changed_at, now()) as changed_at, place
                from ordered
                union all
                select {key}, {values}, _is_deleted, _valid_from, 0
                from pg_temp.latest
                where ({key}) in (select {key} from ordered)
            ),
            compared as (
                select
                    *,
                    case
                        when row_number() over log = 1 then place = 0 or not _is_deleted
                        else {state} is distinct from lag({state}) over log
                    end as is_change
                from states
                window log as (partition by {key} order by place)
            ),
            numbered as (
                select *, row_number() over (partition by {key} order by place) * interval '1 microsecond' as step
                from compared
                where is_change
            ),
            -- The later of its own time and the one before plus a microsecond, for each in turn.
            timed as (
                select *, max(changed_at - step) over (partition by {key} order by place) + step as _valid_from
                from numbered
            ),
            added as (
                insert into {raw} ({columns}, _valid_from, _is_deleted, _batch_id, _loaded_at)
                select {columns}, _valid_from, _is_deleted, {batch}, now()
                from timed
                where place > 0
                returning *
            )
            insert into {new_versions}
            select
                added.*,
                not exists (select from pg_temp.latest as latest where {same_key_added})
            from added
        """).format(
            key=_names(source.key),
            change_key=_names(source.key, "change"),
            accepted=ACCEPTED,
            same_key=_equal(source.key, "latest", "change"),
            topic=topic,
            values_of_row=sql.SQL(", ").join(
                sql.SQL("case when not _is_deleted then {0} end as {0}").format(sql.Identifier(name))
                for name in business
            ),
            values=_names(business),
            state=state,
            raw=_raw(source),
            columns=_names([column.name for column in source.columns]),
            batch=batch_id,
            new_versions=_NEW_VERSIONS,
            same_key_added=_equal(source.key, "latest", "added"),
        )
    )
    row = connection.execute(
        sql.SQL("""
            select
                count(*) filter (where not _is_deleted),
                count(*) filter (where _is_deleted),
                count(*) filter (where is_gone and not was_deleted)
            from (
                select
                    new_version._is_deleted,
                    new_version._is_deleted and lead(true) over (
                        partition by {new_key} order by new_version._valid_from
                    ) is null as is_gone,
                    coalesce(latest._is_deleted, true) as was_deleted
                from {new_versions} as new_version
                left join pg_temp.latest as latest
                    on {same_key}
            ) as counted
        """).format(
            new_key=_names(source.key, "new_version"),
            new_versions=_NEW_VERSIONS,
            same_key=_equal(source.key, "latest", "new_version"),
        )
    ).fetchone()
    versions, tombstones, lost = row or (0, 0, 0)
    return _count_versions(connection, source, batch_id, versions, tombstones, lost=lost)


def _last_change_time(source: Source) -> sql.Composable:
    """SQL over a version: the source's own change time of it, or of the version that a deletion follows."""
    if source.change_time is None:
        return sql.SQL("null::date")
    return sql.SQL("""
        case
            when _is_deleted
                then lead({time}) over (partition by {key} order by _batch_id desc, _valid_from desc)
            else {time}
        end
    """).format(time=sql.Identifier(source.change_time), key=_names(source.key))


def _count_current(connection: Connection) -> int:
    """The keys that were not deleted before this load."""
    row = connection.execute("select count(*) from pg_temp.latest where not _is_deleted").fetchone()
    return int(row[0]) if row else 0


def _add_versions(connection: Connection, source: Source, batch_id: int) -> int:
    """Add a version of each key that is new or has changed; how many."""
    changed_at: sql.Composable = sql.SQL("now()")
    if source.change_time:
        # The source's own time counts only if it is later than that of the version before, and not after this read.
        changed_at = sql.SQL("""
            case
                when accepted.{time} <= latest._changed_at then now()
                else least(ops.shop_midnight(accepted.{time}), now())
            end
        """).format(time=sql.Identifier(source.change_time))
    return connection.execute(
        sql.SQL("""
            with added as (
                insert into {raw} ({columns}, _valid_from, _is_deleted, _batch_id, _loaded_at)
                select {accepted_columns}, greatest({changed_at}, latest._valid_from), false, {batch}, now()
                from {accepted} as accepted
                left join pg_temp.latest as latest
                    on {same_key}
                where latest._batch_id is null or latest._is_deleted or not {same_row}
                returning *
            )
            insert into {new_versions}
            select
                added.*,
                not exists (select from pg_temp.latest as latest where {same_key_added})
            from added
        """).format(
            new_versions=_NEW_VERSIONS,
            raw=_raw(source),
            columns=_columns(source),
            accepted_columns=_names([column.name for column in source.columns], "accepted"),
            changed_at=changed_at,
            batch=batch_id,
            accepted=ACCEPTED,
            same_key=_equal(source.key, "latest", "accepted"),
            same_key_added=_equal(source.key, "latest", "added"),
            same_row=_same_row(source, "latest", "accepted"),
        )
    ).rowcount


def _add_tombstones(connection: Connection, source: Source, batch_id: int) -> int:
    """Add a deleted version of each key that the source does not have any more; how many."""
    # A key whose row was rejected is still at the source.
    rejected_key = sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(
            cast_if_valid(source, column_of(source, name), sql.Identifier("stage", name)),
            sql.Identifier("latest", name),
        )
        for name in source.key
    )
    return connection.execute(
        sql.SQL("""
            with added as (
                insert into {raw} ({key}, _valid_from, _is_deleted, _batch_id, _loaded_at)
                select {latest_key}, greatest(now(), latest._valid_from), true, {batch}, now()
                from pg_temp.latest as latest
                where not latest._is_deleted
                    and not exists (select from {accepted} as accepted where {same_key})
                    and not exists (
                        select from {stage} as stage where stage._rejection is not null and {rejected_key}
                    )
                returning *
            )
            insert into {new_versions}
            select added.*, false
            from added
        """).format(
            raw=_raw(source),
            key=_names(source.key),
            latest_key=_names(source.key, "latest"),
            batch=batch_id,
            accepted=ACCEPTED,
            same_key=_equal(source.key, "latest", "accepted"),
            stage=STAGE,
            rejected_key=rejected_key,
            new_versions=_NEW_VERSIONS,
        )
    ).rowcount


def _raw(source: Source) -> sql.Identifier:
    return sql.Identifier("raw", source.name)


def _names(names: Sequence[str], *alias: str) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(*alias, name) for name in names)


def _columns(source: Source) -> sql.Composed:
    return _names([column.name for column in source.loaded_columns])


def _equal(names: Sequence[str], one: str, other: str) -> sql.Composed:
    return sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(sql.Identifier(one, name), sql.Identifier(other, name)) for name in names
    )


def _same_row(source: Source, one: str, other: str) -> sql.Composed:
    names = [column.name for column in source.columns]
    return sql.SQL("(({}) is not distinct from ({}))").format(_names(names, one), _names(names, other))


def _same_bytes(source: Source, one: str, other: str) -> sql.Composed:
    """Equal as raw stores it, 1.0 and 1.00 being different: as fingerprints see it, or they would never agree."""
    names = [column.name for column in source.columns]
    return sql.SQL("record_image_eq(row({}), row({}))").format(_names(names, one), _names(names, other))
