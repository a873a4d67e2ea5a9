"""The page of an incident: what is the matter, since when, in which runs, what was tried, and who looks after it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from ecommerce.common.shop import shop
from shop_pages.figures import FigureColumn, PageTable
from shop_pages.formats import Format
from shop_pages.limits import SHOWN_CHARACTERS, WAREHOUSE_DAG
from shop_pages.pool import Row

#: Characters of a note and of an owner's name.
NOTE_CHARACTERS, OWNER_CHARACTERS = 2_000, 200

#: The choice of the form that leaves a silence as it is.
KEEP_SILENCE = "keep"
#: For how long alerts can be silenced, as the form has it.
SILENCES = {
    "": ("not silent", timedelta()),
    "1h": ("1 hour", timedelta(hours=1)),
    "8h": ("8 hours", timedelta(hours=8)),
    "1d": ("1 day", timedelta(days=1)),
    "7d": ("7 days", timedelta(days=7)),
}

#: One incident, with what a person has said of it last.
INCIDENT = f"""
    select
        alert_id, alert.incident, dag_id, task_id, check_name, subject, severity, observed, expected, window_start,
        window_end - 1 as last_day, left(message, {SHOWN_CHARACTERS}) as message, first_run_id, last_run_id, opened_at,
        last_seen_at, times_seen, closed_at, closed_by, sent_to, left(send_error, {SHOWN_CHARACTERS}) as send_error,
        state.owner, case when state.silent_until > now() then state.silent_until end as silent_until
    from ops.alert
    -- What was said is of the open one: a closed incident of the same name was another.
    left join ops.incident_state as state on alert.incident = state.incident and alert.closed_at is null
    where alert_id = %(alert_id)s"""

#: What the check has found in each run, from the last result before the incident on; the newest first.
RESULTS = f"""
    select
        run_id, status, observed, expected, left(message, {SHOWN_CHARACTERS}) as message, checked_at,
        %(dag_id)s::text as dag_id, count(*) over () as all_rows
    from ops.check_result
    where
        check_name = %(check_name)s
        and subject = %(subject)s
        and checked_at >= coalesce(
            (
                select max(earlier.checked_at)
                from ops.check_result as earlier
                where
                    earlier.check_name = %(check_name)s
                    and earlier.subject = %(subject)s
                    and earlier.checked_at < %(opened_at)s
            ),
            %(opened_at)s
        )
    order by check_result_id desc
    limit %(most)s"""

#: The loads of a source since an incident was opened, with the one before; the newest first.
LOADS = f"""
    select
        batch_id, run_id, dag_id, status, window_start, window_end - 1 as last_day, rows_read, rows_loaded,
        rows_quarantined, started_at, left(error, {SHOWN_CHARACTERS}) as error, count(*) over () as all_rows
    from ops.load_batch
    where
        source = %(source)s
        and batch_id >= coalesce(
            (
                select max(earlier.batch_id)
                from ops.load_batch as earlier
                where earlier.source = %(source)s and earlier.finished_at < %(opened_at)s
            ),
            0
        )
    order by batch_id desc
    limit %(most)s"""

#: What has been tried since: runs that loaded (its source, if the incident is about one), built or published, and
#: rollbacks. `until` is the end of the incident.
TRIED = f"""
    with events as (
        select run_id, dag_id, started_at as happened_at, 'loaded ' || source as what
        from ops.load_batch
        where status = 'loaded' and run_id is not null and source = coalesce(%(source)s, source)
        union all
        select run_id, dag_id, started_at, 'failed to load ' || source
        from ops.load_batch
        where status = 'failed' and run_id is not null and source = coalesce(%(source)s, source)
        union all
        select run_id, dag_id, claimed_at, case when is_full_refresh then 'built everything' else 'built' end
        from ops.build
        where dag_id = '{WAREHOUSE_DAG}'
        union all
        select distinct
            run_id, case when restores is null then '{WAREHOUSE_DAG}' else 'rollback_publication' end, published_at,
            coalesce('restored publication ' || restores, 'published ' || publication_id)
        from ops.publication
        union all
        select
            run_id, '{WAREHOUSE_DAG}', decided_at,
            decision || ' ' || check_name || coalesce(' by ' || decided_by, '')
        from ops.decision
        where decision is not null
    ),
    since as (
        select *
        from events
        where happened_at >= %(opened_at)s and happened_at <= coalesce(%(until)s::timestamptz, 'infinity')
    )
    select
        run_id, max(dag_id) as dag_id, min(happened_at) as happened_at,
        string_agg(what, ', ' order by happened_at, what) as what, count(*) over () as all_rows
    from since
    group by run_id
    order by happened_at desc
    limit %(most)s"""

NOTES = """
    select incident_note_id, owner, silent_until, note, noted_by, noted_at, count(*) over () as all_rows
    from ops.incident_note
    where incident = %(incident)s
    order by incident_note_id desc
    limit %(most)s"""

#: The tables of the page by name.
TABLES = {
    table.name: table
    for table in (
        PageTable(
            name="results",
            title="In each run",
            query=RESULTS,
            order_by="checked_at desc, run_id",
            sorted_by="the newest first",
            columns=(
                FigureColumn("checked_at", "Checked", Format.TIMESTAMP, help="When it was asked."),
                FigureColumn("status", "State", cell="state", help="Its result."),
                FigureColumn("observed", "Observed", Format.NUMBER, help="What the check has found."),
                FigureColumn("expected", "Expected", Format.NUMBER, help="What it compares that with."),
                FigureColumn("message", "Message", is_long=True, help="What is the matter, in a sentence."),
                FigureColumn("run_id", "Run", cell="run", help="The run of Airflow."),
            ),
        ),
        PageTable(
            name="loads",
            title="Loads",
            query=LOADS,
            order_by="batch_id desc",
            sorted_by="the newest first",
            columns=(
                FigureColumn("batch_id", "Batch", Format.NUMBER, help="The number of the load."),
                FigureColumn("started_at", "Started", Format.TIMESTAMP, help="When it began."),
                FigureColumn("status", "State", cell="state", help="Loaded, failed, or running."),
                FigureColumn("window_start", "Days", Format.DAY, cell="days", help="The shop’s days, first to last."),
                FigureColumn("rows_read", "Read", Format.COUNT, help="Rows that the source gave."),
                FigureColumn("rows_loaded", "New", Format.COUNT, help="Rows that were new or had changed."),
                FigureColumn("rows_quarantined", "Rejected", Format.COUNT, help="Rows that break a rule."),
                FigureColumn("error", "Error", is_long=True, help="Why it failed."),
            ),
            links={"batch_id": lambda row: f"/batches/{row['batch_id']}"},
        ),
        PageTable(
            name="tried",
            title="What was tried",
            query=TRIED,
            order_by="happened_at desc, run_id",
            sorted_by="the newest first",
            columns=(
                FigureColumn("happened_at", "When", Format.TIMESTAMP, help="When the run did the first of it."),
                FigureColumn("run_id", "Run", cell="run", help="The run of Airflow."),
                FigureColumn("what", "What it did", Format.NAME, is_long=True, help="In the order in which it did it."),
            ),
        ),
        PageTable(
            name="notes",
            title="What was said",
            query=NOTES,
            order_by="incident_note_id desc",
            sorted_by="the newest first",
            columns=(
                FigureColumn("noted_at", "When", Format.TIMESTAMP, help="When it was said."),
                FigureColumn("noted_by", "Who", help="Who said it."),
                FigureColumn("owner", "Owner", help="Who looks after the incident from then on."),
                FigureColumn("silent_until", "Silent until", Format.TIMESTAMP, help="No alert is sent before."),
                FigureColumn("note", "Note", is_long=True, help="What was said."),
            ),
        ),
    )
}


def parameters_of_table(name: str, incident: Row, most: int) -> dict[str, Any] | None:
    """What the query of a table is asked for; None if the incident has no such table."""
    source = source_of(incident)
    since = {"opened_at": incident["opened_at"], "most": most}
    match name:
        case "results" if incident["check_name"]:
            return since | {column: incident[column] for column in ("check_name", "subject", "dag_id")}
        case "loads" if source:
            return since | {"source": source}
        case "tried":
            return since | {"source": source, "until": incident["closed_at"]}
        case "notes":
            return {"incident": incident["incident"], "most": most}
    return None


def source_of(incident: Row) -> str | None:
    """The source that an incident is about, by its task or by the subject of its check; None if it is about none."""
    words = re.split(r"[^a-z_]+", f"{incident['task_id'] or ''} {incident['subject'] or ''}")
    return next((word for word in words if word in shop().sources), None)
