"""The tables of Data status, of a source on a day and of a batch: what sorts, searches and pages them."""

from __future__ import annotations

from shop_pages import status
from shop_pages.drill import OFFSETS_QUERY, REJECTED_QUERY
from shop_pages.figures import FigureColumn, PageTable
from shop_pages.formats import Format
from shop_pages.pool import Row

_DAYS = FigureColumn("window_start", "Days", Format.DAY, cell="days", help="The shop’s days, the first to the last.")
_RUN = FigureColumn("run_id", "Run", cell="run", help="The run of Airflow.")
_STARTED = FigureColumn("started_at", "Started", Format.TIMESTAMP, help="When it began.")
_READ = FigureColumn("rows_read", "Read", Format.COUNT, help="Rows that the source gave.")
_NEW = FigureColumn("rows_loaded", "New", Format.COUNT, help="Rows that were new or had changed.")
_REJECTED = FigureColumn("rows_quarantined", "Rejected", Format.COUNT, help="Rows that break a rule of the source.")
_OBSERVED = FigureColumn("observed", "Observed", Format.NUMBER, help="What the check has found.")
_EXPECTED = FigureColumn("expected", "Expected", Format.NUMBER, help="What it compares that with.")
_MESSAGE = FigureColumn("message", "Message", is_long=True, help="What is the matter, in a sentence.")


def _batch_path(row: Row) -> str:
    return f"/batches/{row['batch_id']}"


INCIDENTS = PageTable(
    name="incidents",
    title="Incidents",
    query=status.INCIDENTS,
    order_by="closed_at desc nulls first, opened_at, alert_id",
    sorted_by="open ones first",
    columns=(
        FigureColumn("status", "State", cell="state", help="The highest severity so far, or closed."),
        FigureColumn("what", "Check or task", Format.NAME, is_long=True, help="What has failed or warned."),
        FigureColumn("owner", "Owner", cell="owner", is_queried=False, help="Who looks after it."),
        _MESSAGE,
        _OBSERVED,
        _EXPECTED,
        _DAYS,
        FigureColumn("opened_at", "Opened", Format.TIMESTAMP, cell="opened", help="When it was seen first."),
        FigureColumn("times_seen", "Seen", Format.COUNT, help="How many runs have seen it."),
        FigureColumn("last_run_id", "Last run", cell="last_run", help="The run that has seen it last."),
        FigureColumn("sent", "Alert sent to", cell="sent", is_long=True, help="The connections that took the alert."),
    ),
    links={"what": lambda row: f"/incidents/{row['alert_id']}"},
)

RUNS = PageTable(
    name="runs",
    title="Runs",
    query=status.RUNS,
    order_by="started_at desc, run_id",
    sorted_by="the newest first",
    columns=(
        _RUN,
        FigureColumn("outcome", "Outcome", cell="outcome", is_long=True, help="What became of the run, and why."),
        FigureColumn("error", "Error", is_long=True, help="What the task that failed first has said."),
        _DAYS,
        _STARTED,
        FigureColumn(
            "seconds", "Duration", Format.NUMBER, cell="duration",
            help="From its first load to the publication, or to its last load or check.",
        ),
        _READ,
        _NEW,
        _REJECTED,
        FigureColumn("rows_changed", "Mart rows changed", Format.COUNT, help="Rows that its publication wrote."),
        FigureColumn(
            "steps", "Steps", cell="steps", is_queried=False, help="Seconds of each group of its tasks in Airflow."
        ),
    ),
)  # fmt: skip

CHECKS = PageTable(
    name="checks",
    title="Checks",
    query=status.CHECKS,
    order_by="status = 'pass', check_name, subject",
    sorted_by="failures first",
    columns=(
        FigureColumn("check_name", "Check", Format.NAME, help="The check, as include/quality/checks.yml has it."),
        FigureColumn("subject", "Subject", Format.NAME, is_long=True, help="What it looks at."),
        FigureColumn("status", "State", cell="state", help="Its last result."),
        FigureColumn(
            "passed", "History", cell="history", help="How many of its last 20 results passed; each bar is one."
        ),
        _OBSERVED,
        _EXPECTED,
        _MESSAGE,
        FigureColumn("checked_at", "Checked", Format.TIMESTAMP, help="When it was asked last."),
    ),
)

QUALITY = PageTable(
    name="quality",
    title="Quality of 30 days",
    query=status.QUALITY,
    order_by="subject_kind desc, pass_percent, subject_name",
    sorted_by="sources first, then the worst",
    columns=(
        FigureColumn("subject_name", "Subject", Format.NAME, help="A source or a mart."),
        FigureColumn("subject_kind", "Kind", help="Source or mart."),
        FigureColumn("pass_percent", "Passed", Format.PERCENT, help="Results that passed, in percent of all."),
        FigureColumn("checks", "Results", Format.COUNT, help="Results of its checks in these days."),
        FigureColumn("warned", "Warned", Format.COUNT, help="Results that only warned."),
        FigureColumn("failed", "Failed", Format.COUNT, help="Results that failed."),
        FigureColumn("failures", "Failures", Format.COUNT, help="Times that a check began to fail."),
        FigureColumn("failing", "Not repaired", Format.COUNT, help="Of these, those that fail until now."),
        FigureColumn("hours", "Hours to repair, median", Format.NUMBER, help="From a failure to the next pass."),
    ),
)

REASONS = PageTable(
    name="reasons",
    title="Reasons of rejected rows",
    query=status.QUARANTINE,
    order_by="rejected desc, source, reason",
    sorted_by="by rejected rows",
    columns=(
        FigureColumn("source", "Source", Format.NAME, help="Where the rows are from."),
        FigureColumn("reason", "Reason", is_long=True, help="The rule that they break, without the value."),
        FigureColumn("rejected", "Rejected", Format.COUNT, cell="rejected_rows", help="How many; opens the list."),
        FigureColumn("replayed", "Loaded later", Format.COUNT, help="How many of them were loaded later."),
        FigureColumn("first_at", "First", Format.TIMESTAMP, help="When the first was rejected."),
        FigureColumn("last_at", "Last", Format.TIMESTAMP, help="When the last was rejected."),
        FigureColumn("batch_id", "Last batch", Format.NUMBER, help="The load that rejected the last."),
        FigureColumn("examples", "Examples", cell="examples", is_queried=False, help="The last three of them."),
    ),
    links={"batch_id": _batch_path},
)

PUBLICATIONS = PageTable(
    name="publications",
    title="Publications",
    query=status.PUBLICATIONS,
    order_by="publication_id desc, run_id",
    sorted_by="the newest first",
    columns=(
        FigureColumn("publication_id", "No.", Format.NUMBER, help="The number of the publication."),
        FigureColumn("published_at", "Published", Format.TIMESTAMP, help="When readers got it."),
        FigureColumn("run_id", "Run", cell="publication_run", help="The run of Airflow."),
        FigureColumn("rows_inserted", "Inserted", Format.COUNT, help="Rows of marts that are new."),
        FigureColumn("rows_updated", "Updated", Format.COUNT, help="Rows of marts that are changed."),
        FigureColumn("rows_deleted", "Deleted", Format.COUNT, help="Rows of marts that are gone."),
        FigureColumn("mart_names", "Marts", cell="changed_marts", help="The marts that it changed."),
        FigureColumn("is_undoable", "Undo", cell="undo", is_queried=False, help="Takes it back, and all after it."),
    ),
)

#: Those of Data status.
STATUS_TABLES = {table.name: table for table in (INCIDENTS, RUNS, CHECKS, QUALITY, REASONS, PUBLICATIONS)}

LOADS = PageTable(
    name="loads",
    title="Loads of this day",
    query=status.LOADS_OF_DAY,
    order_by="batch_id desc",
    sorted_by="the newest first",
    columns=(
        FigureColumn("batch_id", "Batch", Format.NUMBER, help="The number of the load."),
        FigureColumn("status", "State", cell="state", help="Loaded, failed, or running."),
        FigureColumn("error", "Error", is_long=True, help="Why it failed."),
        _DAYS,
        _STARTED,
        _READ,
        _NEW,
        FigureColumn("rows_unchanged", "Unchanged", Format.COUNT, help="Rows that the warehouse had already."),
        FigureColumn("rows_removed", "Removed", Format.COUNT, help="Rows that the source has no longer."),
        _REJECTED,
        _RUN,
    ),
    links={"batch_id": _batch_path},
)

MARTS = PageTable(
    name="marts",
    title="Still published",
    query=status.PUBLISHED_MARTS,
    order_by="mart",
    sorted_by="by mart",
    columns=(
        FigureColumn("mart", "Mart that uses this source", Format.NAME, help="It stays as it is without the source."),
        FigureColumn("publication_id", "Publication", Format.NUMBER, help="The publication that its rows are of."),
        FigureColumn("published_at", "Published", Format.TIMESTAMP, help="When that was."),
        FigureColumn("as_of_date", "Its “today”", Format.DAY, help="The last day that its figures are of."),
        FigureColumn("state", "State", cell="mart_state", help="Whether it was published with the others."),
    ),
    links={"mart": lambda row: f"/models/{row['mart']}"},
)

#: Those of a source on a day.
SOURCE_DAY_TABLES = {table.name: table for table in (LOADS, MARTS)}

REJECTED = PageTable(
    name="rejected",
    title="Rejected rows",
    query=REJECTED_QUERY,
    order_by="quarantine_id desc",
    sorted_by="the newest first",
    columns=(
        FigureColumn("quarantine_id", "No.", Format.NUMBER, help="The number of the rejected row."),
        FigureColumn("source", "Source", Format.NAME, help="Where the row is from."),
        FigureColumn("reason", "Reason", is_long=True, help="The rule that it breaks, with the value."),
        FigureColumn("quarantined_at", "Rejected", Format.TIMESTAMP, help="When."),
        FigureColumn("batch_id", "Batch", Format.NUMBER, help="The load that rejected it."),
        FigureColumn("replayed_at", "Loaded later", Format.TIMESTAMP, help="When it was loaded after all."),
        FigureColumn("payload", "Row", cell="payload", help="As the source gave it, without what is personal."),
    ),
    links={"batch_id": _batch_path},
)

OFFSETS = PageTable(
    name="offsets",
    title="Kafka offsets",
    query=OFFSETS_QUERY,
    order_by="topic, partition",
    sorted_by="by partition",
    columns=(
        FigureColumn("topic", "Topic", help="The topic of Kafka."),
        FigureColumn("partition", "Partition", Format.NUMBER, help="Its partition."),
        FigureColumn("first_offset", "First offset", Format.NUMBER, help="Of the first message of the batch."),
        FigureColumn("last_offset", "Last offset", Format.NUMBER, help="Of the last message of the batch."),
        FigureColumn("messages", "Messages loaded", Format.COUNT, help="How many of them were loaded."),
    ),
)

#: Those of a batch.
BATCH_TABLES = {table.name: table for table in (OFFSETS, REJECTED)}
