"""The page Data status: sources by day, incidents, runs, checks, rejected rows and publications."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from ecommerce.common.shop import shop
from ecommerce.common.sources import SOURCES, WriteDisposition
from ecommerce.common.value_rules import rule_in_sql
from shop_pages.airflow_access import task_times
from shop_pages.limits import SHOWN_CHARACTERS, WAREHOUSE_DAG
from shop_pages.pool import Row
from shop_pages.words import heading_of

#: States of a source on a day: letter, and text of the legend. The first that applies is shown.
STATES = {
    "missing": ("✕", "missing (gap)"),
    "late": ("L", "late (other sources are further)"),
    "failed": ("!", "last load failed"),
    "quarantined": ("5%", "loaded, this share of the rows rejected"),
    "dirty": ("D", "loaded, marts not rebuilt yet"),
    "loaded": ("●", "loaded, not published yet"),
    "published": ("✓", "published"),
    "none": ("·", "before the first load"),
}

#: The rejected rows that wait to be replayed, each with its day. That is the day of its own time (without a zone it is
#: in UTC) or its own day; without either, the last day of its load.
REJECTED_WITH_DAY = """
    select quarantine.source, quarantine.reason, quarantine.batch_id, day.day
    from ops.quarantine_shown as quarantine
    inner join ops.load_batch on quarantine.batch_id = load_batch.batch_id
    cross join lateral (
        select quarantine.own_time as instant, quarantine.own_day as day
    ) as text
    cross join lateral (
        select case
            when pg_input_is_valid(text.instant, 'timestamptz') then
                -- The first and the last times that Postgres knows have no day in some time zones.
                case
                    when text.instant::timestamptz between '0002-01-01 00:00:00Z' and '9998-12-31 00:00:00Z'
                        then ops.shop_day(text.instant::timestamptz)
                    else load_batch.window_end - 1
                end
            when pg_input_is_valid(text.day, 'date') then text.day::date
            else load_batch.window_end - 1
        end as day
    ) as day
    where quarantine.replayed_at is null"""

#: CTEs: the runs whose publication a rollback has taken back. The marts are as the last publication left them, or as
#: the one that it restores.
_UNDONE = """
    in_effect as (
        select publication_id, restores from ops.publication
        where publication_id = (select max(publication_id) from ops.publication)
        union
        select earlier.publication_id, earlier.restores
        from in_effect
        inner join ops.publication as earlier on in_effect.restores = earlier.publication_id
    ),
    undone as (
        select distinct run_id from ops.publication
        where publication_id > (select min(publication_id) from in_effect)
    )"""
_IS_PUBLISHED = "coalesce(build.is_published, false) and build.run_id not in (select undone.run_id from undone)"

#: One row for each source and day of any load. A load of several days counts for each of them; of those that have
#: ended, the last one says whether the day is failed. `rows_of_day`: what raw holds of the day, for a source whose
#: loads note it; `rows_of_load`: what the largest load has read that has rejected rows of the day, or the day's last
#: load; `rows_of_loads`: what all that have rejected rows have read.
CALENDAR = f"""
    with recursive {_UNDONE},
    batches as (
        select
            load_batch.source, load_batch.batch_id, load_batch.status, load_batch.rows_read,
            {_IS_PUBLISHED} as is_published,
            load_batch.status = 'loaded' and load_batch.rows_loaded + load_batch.rows_removed > 0 as has_changed_rows,
            greatest(load_batch.window_start, %(first)s::date) as first_day,
            least(load_batch.window_end - 1, %(last)s::date) as last_day
        from ops.load_batch
        left join ops.build on load_batch.built_by = build.run_id
        where
            load_batch.window_start <= %(last)s::date and load_batch.window_end > %(first)s::date
            and load_batch.status in ('loaded', 'failed')
    ),
    dirty as (
        select distinct source, dirty_date from ops.dirty_date
        where dirty_date between %(first)s::date and %(last)s::date
    ),
    rejected_by_load as (
        select source, day, batch_id, count(*) as rejected
        from ({REJECTED_WITH_DAY}) as rejected
        where day between %(first)s::date and %(last)s::date
        group by source, day, batch_id
    ),
    rejected as (
        select
            rejected_by_load.source, rejected_by_load.day, sum(rejected_by_load.rejected)::bigint as rejected,
            max(load_batch.rows_read) as rows_read, sum(load_batch.rows_read)::bigint as rows_of_loads
        from rejected_by_load
        inner join ops.load_batch on rejected_by_load.batch_id = load_batch.batch_id
        group by rejected_by_load.source, rejected_by_load.day
    ),
    days as (
        select source, day::date as day, batch_id, status, rows_read, is_published, has_changed_rows
        from batches
        cross join lateral generate_series(first_day::timestamp, last_day::timestamp, interval '1 day') as day
    )
    select
        days.source, days.day,
        max(days.batch_id) filter (where days.status = 'loaded') as batch_id,
        bool_or(days.status = 'loaded') as is_loaded,
        (array_agg(days.status order by days.batch_id desc))[1] = 'failed' as is_failed,
        -- Of the last load that has changed rows: its publication may be undone, and that of an earlier one not.
        coalesce(
            (array_agg(days.is_published order by days.batch_id desc) filter (where days.has_changed_rows))[1],
            bool_or(days.is_published)
        ) as is_published,
        max(rejected.rejected) as rejected,
        max(loaded_day.rows) as rows_of_day,
        coalesce(
            max(rejected.rows_read),
            (array_agg(days.rows_read order by days.batch_id desc) filter (where days.status = 'loaded'))[1]
        ) as rows_of_load,
        max(rejected.rows_of_loads) as rows_of_loads,
        bool_or(dirty.source is not null) as is_dirty
    from days
    left join ops.loaded_day on days.source = loaded_day.source and days.day = loaded_day.day
    left join dirty on days.source = dirty.source and days.day = dirty.dirty_date
    left join rejected on days.source = rejected.source and days.day = rejected.day
    group by days.source, days.day
    order by days.source, days.day"""

#: The last loads of a source on a day and the one that is published, the newest first, each with the publication that
#: has built with it.
LOADS_OF_DAY = f"""
    with recursive {_UNDONE},
    loads as (
        select load_batch.*, {_IS_PUBLISHED} as is_published, count(*) over () as all_rows
        from ops.load_batch
        left join ops.build on load_batch.built_by = build.run_id
        where
            load_batch.source = %(source)s
            and load_batch.window_start <= %(day)s::date
            and load_batch.window_end > %(day)s::date
    )
    select
        loads.batch_id, loads.status, loads.window_start, loads.window_end - 1 as last_day, loads.rows_read,
        loads.rows_loaded, loads.rows_unchanged, loads.rows_removed, loads.rows_quarantined, loads.started_at,
        loads.finished_at, loads.dag_id, loads.run_id, left(loads.error, {SHOWN_CHARACTERS}) as error,
        loads.is_published, publication.publication_id, publication.published_at, loads.all_rows
    from (
        select * from loads
        where
            batch_id in (select last.batch_id from loads as last order by last.batch_id desc limit %(most)s)
            or batch_id = (select max(published.batch_id) from loads as published where published.is_published)
    ) as loads
    left join lateral (
        select min(publication_id) as publication_id, min(published_at) as published_at
        from ops.publication
        where publication.run_id = loads.built_by
    ) as publication on true
    order by loads.batch_id desc"""

#: Why rows of a source on a day are rejected, and the load that rejected them last.
REJECTED_OF_DAY = f"""
    select {rule_in_sql("reason")} as reason, count(*) as rows, max(batch_id) as batch_id
    from ({REJECTED_WITH_DAY}) as rejected
    where source = %(source)s and day = %(day)s::date
    group by 1
    order by rows desc, reason
    limit 20"""

#: Which publication some marts are of, and the last one of all.
PUBLISHED_MARTS = """
    with last as (select max(publication_id) as publication_id from ops.publication)
    select
        mart, published.publication_id, published_at, as_of_date,
        published.publication_id < last.publication_id as is_behind,
        case
            when published.publication_id < last.publication_id
                then 'not of the last publication, ' || last.publication_id
            else 'of the last publication'
        end as state
    from marts.published
    cross join last
    where mart = any(string_to_array(%(marts)s, ','))
    order by mart"""

# Those below with `all_rows`, the number of all rows, have the first of them: the page says of how many.

#: First and last day of each source, over all loads.
SOURCE_RANGES = """
    select source, min(window_start) as first_day, max(window_end) - 1 as last_day
    from ops.load_batch where status = 'loaded' group by source order by source"""

#: The last runs. `failed_sources`: those whose last load in the run failed, after its retries. `left_out_sources`:
#: those without which the run has built, and published if it has. `failed_checks`: those whose last result in the run
#: is a failure, and `asking_checks`: those that wait for a person. `failed_task`: the one whose incident was opened or
#: seen last in the run, which says why no check has a result; a run may fail before it has loaded anything. Seconds: to
#: the publication, or to the last load or check.
RUNS = f"""
    with batches as (
        select *, batch_id = max(batch_id) over (partition by run_id, source) as is_last
        from ops.load_batch where run_id is not null
    ),
    loads as (
        select
            run_id, max(dag_id) as dag_id, min(started_at) as started_at, max(finished_at) as finished_at,
            min(window_start) as first_day, max(window_end) - 1 as last_day,
            sum(rows_read) as rows_read, sum(rows_loaded) as rows_loaded, sum(rows_quarantined) as rows_quarantined,
            array_agg(distinct source order by source) filter (where is_last and status = 'failed') as failed_sources
        from batches group by run_id
    ),
    failed_tasks as (
        select distinct on (failure.run_id)
            failure.run_id, failure.failed_at, alert.dag_id, alert.task_id,
            left(alert.message, {SHOWN_CHARACTERS}) as message
        from ops.alert
        cross join lateral (
            values (alert.first_run_id, alert.opened_at), (alert.last_run_id, alert.last_seen_at)
        ) as failure (run_id, failed_at)
        where alert.dag_id = '{WAREHOUSE_DAG}' and alert.task_id is not null and alert.check_name is null
        order by failure.run_id, failure.failed_at
    ),
    started as (
        select * from loads
        where dag_id = '{WAREHOUSE_DAG}'
        union all
        select run_id, dag_id, failed_at, null, null, null, null, null, null, null
        from failed_tasks
        where not exists (select from loads where loads.run_id = failed_tasks.run_id)
    ),
    published as (
        select
            run_id, max(published_at) as published_at,
            sum(rows_inserted + rows_updated + rows_deleted) as rows_changed
        from ops.publication group by run_id
    )
    select
        loads.*, loads.first_day as window_start, build.failed_sources as left_out_sources, build.claimed_at,
        build.finished_at as built_at,
        build.is_full_refresh, published.published_at, published.rows_changed, checked.failed_checks,
        asking.asking_checks, failed_tasks.task_id as failed_task,
        -- A check says itself why it failed, and a load in its batch.
        case when published.published_at is null then failed_tasks.message end as error,
        case
            when published.published_at is not null and cardinality(build.failed_sources) > 0
                then 'failed, published without ' || array_to_string(build.failed_sources, ', ')
            when loads.failed_sources is not null
                then 'load of ' || array_to_string(loads.failed_sources, ', ') || ' failed'
            when published.published_at is not null then 'published'
            when asking.asking_checks is not null
                then 'waits for a person: ' || array_to_string(asking.asking_checks, ', ')
            when checked.failed_checks is not null
                then 'not published, failed: ' || array_to_string(checked.failed_checks, ', ')
            when failed_tasks.task_id is not null then 'not published, failed: ' || failed_tasks.task_id
            else 'not published'
        end as outcome,
        case
            when cardinality(build.failed_sources) > 0 or loads.failed_sources is not null then 'bad'
            when published.published_at is not null then 'good'
            when asking.asking_checks is not null then 'warn'
            when checked.failed_checks is not null or failed_tasks.task_id is not null then 'bad'
            else 'unknown'
        end as outcome_tone,
        extract(epoch from coalesce(
            published.published_at, greatest(loads.finished_at, checked.checked_at)
        ) - loads.started_at)::float8 as seconds
    from (
        select started.*, count(*) over () as all_rows
        from started
        order by started_at desc
        limit %(most)s
    ) as loads
    left join ops.build on loads.run_id = build.run_id
    left join published on loads.run_id = published.run_id
    left join failed_tasks on loads.run_id = failed_tasks.run_id
    cross join lateral (
        select
            max(result.checked_at) as checked_at,
            array_agg(distinct result.check_name order by result.check_name) filter (where result.status = 'fail')
                as failed_checks
        from (
            select distinct on (check_name, subject) check_name, status, checked_at
            from ops.check_result
            where check_result.run_id = loads.run_id
            order by check_name, subject, check_result_id desc
        ) as result
    ) as checked
    cross join lateral (
        select array_agg(decision.check_name order by decision.check_name) as asking_checks
        from ops.decision
        where
            decision.run_id = loads.run_id and decision.decision is null and decision.answer_until > now()
            and build.finished_at is null
    ) as asking
    order by loads.started_at desc"""

CHECKS = f"""
    with results as (
        select
            check_result.check_name, check_result.subject, check_result.status, check_result.observed,
            check_result.expected, left(check_result.message, {SHOWN_CHARACTERS}) as message, check_result.checked_at,
            check_result.run_id,
            -- A verification has no build any more once it has ended.
            coalesce(
                build.dag_id,
                case when check_result.check_name = 'drift' then 'verify_warehouse' else '{WAREHOUSE_DAG}' end
            ) as dag_id,
            row_number() over (
                partition by check_result.check_name, check_result.subject
                order by check_result.check_result_id desc
            ) as n
        from ops.check_result
        left join ops.build on check_result.run_id = build.run_id
        where check_result.checked_at > (select max(checked_at) from ops.check_result) - interval '90 days'
    )
    select
        check_name, subject,
        max(status) filter (where n = 1) as status,
        max(message) filter (where n = 1) as message,
        max(observed) filter (where n = 1) as observed,
        max(expected) filter (where n = 1) as expected,
        max(checked_at) filter (where n = 1) as checked_at,
        max(run_id) filter (where n = 1) as run_id,
        count(*) filter (where status = 'pass') as passed,
        array_agg(status order by n desc) as statuses,
        array_agg(checked_at order by n desc) as times,
        array_agg(run_id order by n desc) as run_ids,
        array_agg(dag_id order by n desc) as dag_ids
    from results
    where n <= 20
    group by check_name, subject
    order by max(status) filter (where n = 1) = 'pass', check_name, subject"""

#: Open incidents, the oldest first, and those closed in the last 30 days.
INCIDENTS = f"""
    select
        alert_id, incident, dag_id, task_id, check_name, subject, severity, observed, expected, window_start,
        case when closed_at is null then severity else 'closed' end as status,
        case
            when check_name is null then coalesce(task_id, 'deadline') || ' of ' || dag_id
            else check_name || ', ' || subject
        end as what,
        window_end - 1 as last_day, left(message, {SHOWN_CHARACTERS}) as message, last_run_id, opened_at, last_seen_at,
        times_seen, closed_at, closed_by, sent_to, array_to_string(sent_to, ', ') as sent,
        left(send_error, {SHOWN_CHARACTERS}) as send_error,
        count(*) over () as all_rows
    from ops.alert
    where closed_at is null or closed_at > now() - interval '30 days'
    order by closed_at desc nulls first, opened_at
    limit 200"""

#: Who looks after the open incidents, and until when no alert of them is sent.
INCIDENT_STATES = """
    select state.incident, state.owner, case when state.silent_until > now() then state.silent_until end as silent_until
    from ops.incident_state as state
    where exists (select from ops.alert where alert.incident = state.incident and alert.closed_at is null)"""

#: Check results of each source and mart in the 30 days before the last check, the worst first.
QUALITY = """
    with last as (select ops.shop_day(max(checked_at)) - 30 as day from ops.check_result),
    results as (
        select
            subject_kind, subject_name, count(*) as checks, count(*) filter (where status = 'warn') as warned,
            count(*) filter (where status = 'fail') as failed,
            round(100.0 * count(*) filter (where status = 'pass') / count(*), 2) as pass_percent
        from quality.quality_judgements
        where subject_kind in ('source', 'mart') and checked_on > (select day from last)
        group by subject_kind, subject_name
    ),
    repaired as (
        select
            subject_kind, subject_name, count(*) as failures, count(*) - count(repaired_at) as failing,
            percentile_cont(0.5) within group (order by hours_to_repair)::numeric as hours
        from quality.quality_repairs
        where failed_on > (select day from last)
        group by subject_kind, subject_name
    )
    select
        results.*, count(*) over () as all_rows, coalesce(failures, 0) as failures,
        coalesce(failing, 0) as failing, round(hours, 1) as hours
    from results
    left join repaired using (subject_kind, subject_name)
    order by subject_kind desc, pass_percent, subject_name
    limit 200"""

QUARANTINE = f"""
    with reasons as (
        select
            -- The rule without the value that broke it; the values are in the examples.
            source, {rule_in_sql("reason")} as reason, quarantined_at, replayed_at, batch_id,
            quarantine_id
        from ops.quarantine_shown
    ),
    rejected as (
        select *, row_number() over (partition by source, reason order by quarantine_id desc) as n
        from reasons
    ),
    counted as (
        select
            source, reason, count(*) as rejected, count(replayed_at) as replayed, min(quarantined_at) as first_at,
            max(quarantined_at) as last_at, max(batch_id) as batch_id, count(*) over () as all_rows,
            array_agg(quarantine_id) filter (where n <= 3) as newest
        from rejected
        group by source, reason
        order by rejected desc, source, reason
        limit 100
    )
    select
        source, reason, rejected, replayed, first_at, last_at, batch_id, all_rows,
        (
            -- Of these rows only: what is shown of a payload takes time.
            select array_agg(left(jsonb_pretty(payload), {SHOWN_CHARACTERS}) order by quarantine_id desc)
            from ops.quarantine_shown
            where quarantine_id = any(counted.newest)
        ) as examples
    from counted
    order by rejected desc, source, reason"""

#: Publications among which those are that can be taken back.
KEPT_ROWS = 100

PUBLICATIONS = """
    select
        publication_id, publication.run_id, count(*) over () as all_rows, max(published_at) as published_at,
        coalesce(max(build.dag_id), 'ecommerce_warehouse') as dag_id, max(restores) as restores,
        sum(rows_inserted) as rows_inserted,
        sum(rows_updated) as rows_updated, sum(rows_deleted) as rows_deleted,
        jsonb_agg(
            jsonb_build_object(
                'mart', mart, 'inserted', rows_inserted, 'updated', rows_updated, 'deleted', rows_deleted
            )
            order by mart
        ) filter (where rows_inserted + rows_updated + rows_deleted > 0) as marts,
        string_agg(mart, ', ' order by mart) filter (where rows_inserted + rows_updated + rows_deleted > 0)
            as mart_names
    from ops.publication
    left join ops.build on publication.run_id = build.run_id
    group by publication_id, publication.run_id
    order by publication_id desc
    limit %(most)s"""


@dataclass(frozen=True)
class CalendarCell:
    """
    A source on a day.

    :param rejected: rows of the day that wait in quarantine
    :param read: rows of which these are: all of the day, or those that its load has read, if `is_of_load`
    :param notes: what else is to be said of the state
    """

    source: str
    day: date
    state: str
    rejected: int
    batch_id: int | None
    read: int = 0
    is_of_load: bool = False
    notes: tuple[str, ...] = ()

    @property
    def letter(self) -> str:
        """The text of the cell, so that colour is not the only sign."""
        return self._share if self.state == "quarantined" and self.read else STATES[self.state][0]

    @property
    def text(self) -> str:
        """What is the matter, in words."""
        text = "loaded" if self.state == "quarantined" else STATES[self.state][1]
        if self.rejected:
            whole = "its load" if self.is_of_load else "the day"
            of = f" of {self.read:,} rows of {whole} rejected ({self._share})" if self.read else " rows rejected"
            text += f", {self.rejected:,}{of}"
        return ", ".join((text, *self.notes))

    @property
    def title(self) -> str:
        """For screen readers, and shown at the pointer."""
        return f"{heading_of(self.source)}, {self.day}: {self.text}"

    @property
    def _share(self) -> str:
        """`31%`; of very few rows `<1%`, and `100%` only of all."""
        percent = 100 * self.rejected / self.read
        return "<1%" if percent < 1 else f"{min(round(percent), 99) if percent < 100 else 100}%"


def calendar(
    rows: Sequence[Row], source_ranges: Sequence[Row], first: date, last: date
) -> dict[str, list[CalendarCell]]:
    """
    Each source of the shop → a cell for each day, first to last.

    A source is late on days that others have loaded. One that the shop does not have (any more) has no row.
    """
    absent = set(shop().absent)
    row_by_day = {(row["source"], row["day"]): row for row in rows}
    ranges = {
        row["source"]: (row["first_day"], row["last_day"]) for row in source_ranges if row["source"] not in absent
    }
    as_of = max((last_day for _, last_day in ranges.values()), default=last)
    names = [*shop().sources, *sorted(set(ranges) - set(shop().sources))]
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return {
        name: [_cell(name, day, row_by_day.get((name, day)), ranges.get(name), as_of) for day in days] for name in names
    }


def _cell(source: str, day: date, row: Row | None, source_range: tuple[date, date] | None, as_of: date) -> CalendarCell:
    state = _state(day, row, source_range, as_of)
    if row is None:
        return CalendarCell(source, day, state, 0, None)
    rejected, rows_of_day = int(row["rejected"] or 0), row["rows_of_day"]
    # Each load of a topic reads other messages; those of a table read the same rows again.
    is_topic = source in SOURCES and SOURCES[source].write_disposition is WriteDisposition.APPEND
    rows_of_load = (row["rows_of_loads"] if is_topic else None) or row["rows_of_load"] or 0
    read = rejected + rows_of_day if rows_of_day is not None else max(rejected, rows_of_load)
    return CalendarCell(
        source,
        day,
        state,
        rejected,
        row["batch_id"],
        read,
        is_of_load=rows_of_day is None,
        notes=tuple(_notes(state, row)),
    )


def _notes(state: str, row: Row) -> Iterator[str]:
    if state == "failed":
        yield "with the rows of an earlier load" if row["is_loaded"] else "no data"
    if state == "quarantined" and row["is_dirty"]:
        yield "marts not rebuilt yet"
    elif state == "quarantined":
        yield "published" if row["is_published"] else "not published yet"


def _state(day: date, row: Row | None, source_range: tuple[date, date] | None, as_of: date) -> str:
    if row is not None:
        return "failed" if row["is_failed"] else _loaded_state(row)
    if source_range is None or day < source_range[0]:
        return "none"
    if day > source_range[1]:
        return "late" if day <= as_of else "none"
    return "missing"


def _loaded_state(row: Row) -> str:
    # Before the other states of a loaded day: rejected rows are missing also in what is published or will be built.
    if row["rejected"]:
        return "quarantined"
    if row["is_dirty"]:
        return "dirty"
    return "published" if row["is_published"] else "loaded"


@dataclass
class RunStep:
    """
    A step of a run: a task group, or a task outside of any group.

    :param task_seconds: the seconds of its tasks, added up
    """

    name: str
    tasks: int = 0
    failed: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    task_seconds: float = 0.0

    @property
    def seconds(self) -> float | None:
        """Seconds from the start of its first task to the end of its last."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()

    def add(self, state: str, started_at: datetime | None, ended_at: datetime | None) -> None:
        """Count one of its tasks."""
        self.tasks += 1
        self.failed += state in ("failed", "upstream_failed")
        if started_at is None or ended_at is None:
            return
        self.started_at = min(self.started_at or started_at, started_at)
        self.ended_at = max(self.ended_at or ended_at, ended_at)
        self.task_seconds += (ended_at - started_at).total_seconds()


def run_steps(dag_id: str, run_ids: Sequence[str]) -> dict[str, list[RunStep]]:
    """Each run → its steps in the order of their start."""
    steps: dict[str, dict[str, RunStep]] = {}
    for task in task_times(dag_id, run_ids):
        name = task.task_id.split(".")[0]
        step = steps.setdefault(task.run_id, {}).setdefault(name, RunStep(name))
        step.add(task.state, task.started_at, task.ended_at)
    return {run_id: _by_start(of_run.values()) for run_id, of_run in steps.items()}


def _by_start(steps: Iterable[RunStep]) -> list[RunStep]:
    started = [(step.started_at, step.name, step) for step in steps if step.started_at is not None]
    return [step for _, _, step in sorted(started, key=lambda entry: entry[:2])]
