"""What must be true after any fault and the retry that follows it."""

from __future__ import annotations

import time
from collections import Counter

from ecommerce.common.sources import SOURCES, WriteDisposition
from tests.faults.place import Place, Values


def check(place: Place, *sources: str) -> None:
    """All of it, of the sources that were loaded; every window of theirs was."""
    for source in sources:
        _each_row_is_held_once(place, source)
    _the_ledger_adds_up(place)
    _nothing_is_held_of_a_load_that_did_not_commit(place)
    if "kafka_stream" in sources:
        _positions_are_exact(place)
    no_trace_of_sessions(place)


def no_trace_of_sessions(place: Place) -> None:
    """No session of a try, no lock, no temporary table; the server needs a moment to notice that a client is gone."""
    deadline = time.monotonic() + 10
    while left := _left_behind(place):
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.01)


def is_committed(place: Place, run_id: str, source: str) -> int:
    """How many loads of a source a run has committed."""
    ((count,),) = place.rows(
        "select count(*) from ops.load_batch where run_id = %s and source = %s and status = 'loaded'", [run_id, source]
    )
    return count


def _each_row_is_held_once(place: Place, source: str) -> None:
    there, held, refused = place.source(source), place.raw(source), place.quarantined(source)
    # A key whose row was refused keeps the version before it, and a day the weather that was measured before.
    refused_keys = {_key_of(source, row) for row in refused} - {None}
    surplus = {row: count for row, count in (held - there).items() if _key_of(source, row) not in refused_keys}
    assert not surplus, f"{source}: raw holds what the source has not, or more often: {surplus}"
    missing = there - held
    assert not missing - refused, f"{source}: neither in raw nor in quarantine: {missing - refused}"
    assert max(refused.values(), default=1) == 1, f"{source}: in quarantine more than once: {refused}"
    assert not held & refused, f"{source}: in raw and in quarantine: {held & refused}"


def _key_of(source: str, row: Values) -> Values | None:
    """The key of a row that stays in raw while the source has a bad one: of a version log, or of the weather."""
    entry = SOURCES[source]
    names = [column.name for column in entry.columns]
    return (
        tuple(row[names.index(name)] for name in entry.key)
        if entry.write_disposition is WriteDisposition.VERSION_LOG or entry.keeps_missing
        else None
    )


def _the_ledger_adds_up(place: Place) -> None:
    for batch, source, status, read, loaded, unchanged, quarantined in place.rows(
        "select batch_id, source, status, rows_read, rows_loaded, rows_unchanged, rows_quarantined from ops.load_batch"
    ):
        assert status in ("loaded", "failed"), f"batch {batch} of {source} is left {status}"
        held = Counter(
            dict(
                place.rows(
                    f"select 'loaded', count(*) from raw.{source} where _batch_id = %(batch)s"
                    " union all select 'quarantined', count(*) from ops.quarantine where batch_id = %(batch)s",
                    {"batch": batch},
                )
            )
        )
        if status == "failed":
            assert held.total() == 0, f"batch {batch} of {source} failed and left {held}"
            continue
        assert read == loaded + unchanged + quarantined
        assert held["quarantined"] == quarantined
        if SOURCES[source].write_disposition is WriteDisposition.APPEND:
            assert held["loaded"] == loaded
        else:
            # Of a window, later loads may have replaced some; of a log, tombstones are written besides.
            assert (
                loaded == 0
                or SOURCES[source].write_disposition is WriteDisposition.VERSION_LOG
                or held["loaded"] <= loaded
            )


def _nothing_is_held_of_a_load_that_did_not_commit(place: Place) -> None:
    tables = [*(f"raw.{source}:_batch_id" for source in SOURCES), "ops.quarantine:batch_id", "ops.dirty_date:batch_id",
              "ops.kafka_offset:batch_id"]  # fmt: skip
    for table, _, column in (name.partition(":") for name in tables):
        orphans = place.rows(
            f"select distinct {column} from {table} where {column} not in"
            " (select batch_id from ops.load_batch where status = 'loaded')"
        )
        assert orphans == [], f"{table} has rows of batches that did not commit: {orphans}"
    assert place.rows("select * from ops.dirty_date where claimed_by is not null") == []
    assert place.rows("select * from ops.build where finished_at is null") == []


def _positions_are_exact(place: Place) -> None:
    held = dict(place.rows("select partition, next_offset from ops.kafka_offset where topic = %s", [place.topic]))
    highest = dict(
        place.rows(
            "select partition, max(seen) from ("
            " select _partition as partition, _offset as seen from raw.kafka_stream where _topic = %(topic)s"
            " union all select (payload ->> 'partition')::integer, (payload ->> 'offset')::bigint"
            " from ops.quarantine where source = 'kafka_stream' and payload ->> 'topic' = %(topic)s"
            ") as offsets group by partition",
            {"topic": place.topic},
        )
    )
    assert held == {partition: highest.get(partition, -1) + 1 for partition in place.sent}


def _left_behind(place: Place) -> list[tuple]:
    sessions = place.admin.execute(
        "select application_name, state, query from pg_stat_activity where application_name like 'try!_%' escape '!'"
    ).fetchall()
    locks = place.rows(
        "select 'advisory lock', pid from pg_locks where locktype = 'advisory'"
        " and database = (select oid from pg_database where datname = current_database())"
    )
    tables = place.rows("select 'temporary table', oid::regclass::text from pg_class where relpersistence = 't'")
    return [*sessions, *locks, *tables]
