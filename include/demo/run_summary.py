"""What a run has done, in a few lines: rows read and rejected, checks, marts changed, and what waits now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import dict_row

from ecommerce.audit.check_results import RESULTS_OF_RUN
from ecommerce.common.open_questions import OPEN_QUESTIONS, waiting_in_words
from ecommerce.common.shown_text import one_line
from ecommerce.common.value_rules import rule_in_sql
from ecommerce.erase.receipt import Receipt
from ecommerce.prune.pruning import size_in_words

#: Lines of each list of the summary, and characters of a sentence in it.
LISTED, SENTENCE = 10, 300

#: One row for each source that the run has read; of several tries the last one says how the load ended.
_LOADS = """
select
    source,
    (array_agg(status order by batch_id desc))[1] as status,
    (array_agg(error order by batch_id desc))[1] as error,
    sum(rows_read)::bigint as read,
    sum(rows_loaded)::bigint as loaded,
    sum(rows_unchanged)::bigint as unchanged,
    sum(rows_removed)::bigint as removed,
    sum(rows_quarantined)::bigint as rejected,
    sum(greatest(rows_refused - rows_quarantined, 0))::bigint as rejected_before
from ops.load_batch
where run_id = %(run_id)s and (status <> 'failed' or batch_id = (
    select max(latest.batch_id) from ops.load_batch as latest
    where latest.run_id = load_batch.run_id and latest.source = load_batch.source
))
group by source
order by source
"""

#: The rejected rows that the run's loads have stored, by source and rule.
_REASONS = f"""
select
    quarantine.source,
    {rule_in_sql("quarantine.reason")} as reason,
    count(*) as rows
from ops.quarantine_shown as quarantine
inner join ops.load_batch on quarantine.batch_id = load_batch.batch_id
where load_batch.run_id = %(run_id)s
group by 1, 2
order by 1, 3 desc, 2
"""

_PUBLISHED = """
select publication_id, mart, rows_inserted, rows_updated, rows_deleted
from ops.publication
where run_id = %(run_id)s
order by mart
"""

_LAST_PUBLICATION = """
select publication_id, published_at
from ops.publication
order by publication_id desc
limit 1
"""

_ERASURES = """
select erasure_id, customers, places, erased_at
from ops.erasure
where run_id = %(run_id)s
"""

_PRUNED = """
select place, deleted, bytes
from ops.pruning
where run_id = %(run_id)s
order by place
"""

_DAYS_TO_BUILD = """
select
    source,
    count(distinct dirty_date) as days,
    min(dirty_date) as first_day,
    max(dirty_date) filter (where dirty_date <= current_date) as last_day
from ops.dirty_date
group by source
order by source
"""

_IN_QUARANTINE = """
select source, count(*) as rows
from ops.quarantine_shown
where replayed_at is null
group by source
order by source
"""


def run_summary(dsn: str, run_id: str, *, is_to_publish: bool) -> list[str]:
    """
    The lines of the summary of a run, of any of the DAGs; none before the first run has made the schema `ops`.

    :param dsn: the warehouse, for a role that may read `ops`
    :param is_to_publish: whether a run of this DAG publishes, so that one that has published nothing says so
    """
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        if _rows(connection, "select to_regclass('ops.pruning') as found")[0]["found"] is None:
            return []
        return [
            *_loads(connection, run_id),
            *_checks(connection, run_id),
            *_marts(connection, run_id, is_to_publish=is_to_publish),
            *_erasure(connection, run_id),
            *_pruning(connection, run_id),
            *_waits(connection),
        ]


def sources_in_quarantine(dsn: str) -> list[str]:
    """The sources with rejected rows that no load has brought to raw yet."""
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        if _rows(connection, "select to_regclass('ops.quarantine_shown') as found")[0]["found"] is None:
            return []
        return [row["source"] for row in _rows(connection, _IN_QUARANTINE)]


def _rows(connection: Connection[dict[str, Any]], query: str, **values: Any) -> list[dict[str, Any]]:
    return connection.execute(query.encode(), values or None).fetchall()


def _loads(connection: Connection[dict[str, Any]], run_id: str) -> Iterator[str]:
    loads = _rows(connection, _LOADS, run_id=run_id)
    if not loads:
        return
    reasons = _rows(connection, _REASONS, run_id=run_id)
    yield f"{'Loaded':<20} {'read':>10} {'new':>10} {'unchanged':>10} {'removed':>10} {'rejected':>10}"
    for load in loads:
        if load["status"] == "failed":
            # The message of a load begins with its source.
            error = (load["error"] or "see its log").removeprefix(load["source"] + ": ")
            yield f"{load['source']:<20} failed: {one_line(error, SENTENCE)}"
            continue
        counts = (load[name] for name in ("read", "loaded", "unchanged", "removed", "rejected"))
        yield f"{load['source']:<20} " + " ".join(f"{count:>10,}" for count in counts)
        of_source = [row for row in reasons if row["source"] == load["source"]]
        yield from _first(f"  {row['rows']:,} rejected: {one_line(row['reason'], SENTENCE)}" for row in of_source)
        if load["rejected_before"]:
            yield f"  {load['rejected_before']:,} more: rejected before, and unchanged"


def _checks(connection: Connection[dict[str, Any]], run_id: str) -> Iterator[str]:
    checks = _rows(connection, RESULTS_OF_RUN, run_id=run_id)
    if not checks:
        return
    counts = {state: sum(check["status"] == state for check in checks) for state in ("pass", "warn", "fail")}
    yield f"Checks: {counts['pass']} passed, {counts['warn']} warned, {counts['fail']} failed"
    # What is said of several subjects, such as the marts without a source that failed, is said once.
    said: dict[tuple[str, str, str], list[str]] = {}
    for check in checks:
        if check["status"] != "pass":
            said.setdefault((check["status"], check["check_name"], check["message"]), []).append(check["subject"])
    yield from _first(
        f"  {status} {check_name}, {', '.join(subjects)}: {one_line(message, SENTENCE)}"
        for (status, check_name, message), subjects in said.items()
    )


def _marts(connection: Connection[dict[str, Any]], run_id: str, *, is_to_publish: bool) -> Iterator[str]:
    published = _rows(connection, _PUBLISHED, run_id=run_id)
    if published:
        changed = [row for row in published if row["rows_inserted"] + row["rows_updated"] + row["rows_deleted"]]
        number = published[0]["publication_id"]
        yield f"Marts: {len(changed)} of {len(published)} changed by publication {number}"
        for row in changed:
            counts = f"{row['rows_inserted']:,} new, {row['rows_updated']:,} changed, {row['rows_deleted']:,} gone"
            yield f"  {row['mart']}: {counts}"
    elif is_to_publish:
        last = _rows(connection, _LAST_PUBLICATION)
        as_before = f"; they are as publication {last[0]['publication_id']} left them" if last else ""
        yield f"Marts: this run has published nothing{as_before}"


def _erasure(connection: Connection[dict[str, Any]], run_id: str) -> Iterator[str]:
    for erasure in _rows(connection, _ERASURES, run_id=run_id):
        receipt = Receipt(erasure["erasure_id"], erasure["customers"], erasure["places"])
        if erasure["erased_at"] is None:
            yield "The erasure is not complete: run it again."
        yield from receipt.lines()


def _pruning(connection: Connection[dict[str, Any]], run_id: str) -> Iterator[str]:
    places = _rows(connection, _PRUNED, run_id=run_id)
    if not places:
        return
    gone = [row for row in places if row["deleted"]]
    if not gone:
        yield "Pruned: nothing was old enough"
        return
    yield f"{'Pruned':<20} {'gone':>10} {'bytes':>12}"
    yield from (f"{row['place']:<20} {row['deleted']:>10,} {size_in_words(row['bytes']):>12}" for row in gone)


def _waits(connection: Connection[dict[str, Any]]) -> Iterator[str]:
    lines = [waiting_in_words(question) for question in _rows(connection, OPEN_QUESTIONS)]
    lines += map(_days_in_words, _rows(connection, _DAYS_TO_BUILD))
    lines += [
        f"{row['rows']:,} rejected {'row' if row['rows'] == 1 else 'rows'} of {row['source']}, in quarantine; "
        f"when the cause is repaired: make replay SOURCE={row['source']}"
        for row in _rows(connection, _IN_QUARANTINE)
    ]
    if lines:
        yield "Waits now:"
        yield from (f"  {line}" for line in lines)
    else:
        yield "Nothing waits."


def _days_in_words(row: dict[str, Any]) -> str:
    """The days of a source that wait, and the command that loads just these again and builds."""
    # No run loads days of the future; without days it loads yesterday.
    days = f" FROM={row['first_day']} TO={row['last_day']}" if row["last_day"] else ""
    how_many = f"{row['days']:,} {'day' if row['days'] == 1 else 'days'}"
    return f"{how_many} of {row['source']}, for the next build (make run{days})"


def _first(lines: Iterator[str]) -> Iterator[str]:
    """The first lines of a list, and how many more there are."""
    listed = list(lines)
    yield from listed[:LISTED]
    if len(listed) > LISTED:
        yield f"  … and {len(listed) - LISTED} more, on the page Data status"
