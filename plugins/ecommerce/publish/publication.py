"""Publish the marts of a run's build: all of them in one transaction, with a record of each."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from psycopg import Connection, sql

from ecommerce.audit.check_results import CheckResult, record_results
from ecommerce.build import lease
from ecommerce.build.lease import Exclusions
from ecommerce.publish.column_changes import add_columns, must_recreate, recreate, retry_while_locked
from ecommerce.publish.kept_publications import KEPT_PUBLICATIONS
from ecommerce.publish.marts import Mart, built_marts, checksum, fetch_number, published_columns
from ecommerce.publish.merge import MartChange, merge
from ecommerce.publish.passed_checks import assert_checks_passed
from ecommerce.publish.plain_tables import assert_plain

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Plan:
    """What a publication does: merge these marts, create those anew, and leave the excluded ones as they are."""

    merge: Sequence[Mart]
    recreate: Sequence[Mart]
    exclusions: Exclusions

    @property
    def marts(self) -> list[str]:
        """The names of all marts that it changes."""
        return [mart.name for mart in (*self.merge, *self.recreate)]


def publish(connection: Connection, run_id: str, *, allow_column_changes: bool = False) -> list[MartChange]:
    """
    Publish every mart that the run has built, record it in `ops.publication`, and give the lease back.

    Readers see either all of it or nothing, and wait for nothing: rows are merged, and new columns are added before, a
    moment each. Excluded marts stay as they were published, and are recorded as stale.

    :param connection: in autocommit
    :param allow_column_changes: create a mart anew that lost columns or changed their types, if no view reads it
    :raises LeaseLost: another run has taken over
    :raises PublishError: a check of the run failed or has no result, no mart was built, one has no key, or one lost a
        published column or changed its type
    """
    lease.assert_holder(connection, run_id)
    plan = _plan(connection, run_id, allow_column_changes)
    # Before any column is added, and again in the transaction that publishes.
    assert_checks_passed(connection, run_id, plan.marts, plan.exclusions)
    gained = {mart.name: add_columns(connection, mart) for mart in plan.merge}
    return retry_while_locked(lambda: _publish_all(connection, run_id, plan, gained), "marts")


def _plan(connection: Connection, run_id: str, allow_column_changes: bool) -> _Plan:
    exclusions = lease.exclusions_of(connection, run_id)
    marts = built_marts(connection, exclusions.models)
    anew = [mart for mart in marts if must_recreate(connection, mart, is_allowed=allow_column_changes)]
    return _Plan(merge=[mart for mart in marts if mart not in anew], recreate=anew, exclusions=exclusions)


def _publish_all(
    connection: Connection, run_id: str, plan: _Plan, gained: Mapping[str, Collection[str]]
) -> list[MartChange]:
    """
    Everything that readers are to see at once.

    :param gained: columns that were added to the marts for this publication
    """
    with connection.transaction():
        # First, so that nothing of a run that was overtaken reaches `marts`.
        lease.release(connection, run_id)
        assert_checks_passed(connection, run_id, plan.marts, plan.exclusions, gained=gained)
        assert_plain(connection, {mart.name: mart.oid for mart in (*plan.merge, *plan.recreate)})
        publication_id = new_publication(connection)
        as_of = _as_of_date(connection, run_id)
        changes = [merge(connection, mart, publication_id) for mart in plan.merge]
        for change in changes:
            record_publication(connection, publication_id, run_id, change, as_of_date=as_of)
        staleness = [*_stale_marts(connection, plan.exclusions), *_no_longer_stale(connection, plan.marts)]
        record_results(connection, "stale", run_id, staleness, window=None)
        delete_old_deltas(connection)
        # Last, since readers of these marts wait from here on until the commit.
        for mart in plan.recreate:
            changes.append(recreate(connection, mart))
            record_publication(connection, publication_id, run_id, changes[-1], as_of_date=as_of)
    return sorted(changes, key=lambda change: change.mart)


def new_publication(connection: Connection) -> int:
    """The id of a new publication."""
    return fetch_number(connection, sql.SQL("select nextval('ops.publication_id_seq')"))


def record_publication(
    connection: Connection,
    publication_id: int,
    run_id: str,
    change: MartChange,
    *,
    as_of_date: date | None,
    restores: int | None = None,
) -> None:
    """
    Write a row of `ops.publication`, with a checksum of the mart as it is now.

    :param restores: of a rollback, the publication whose rows it brings back
    """
    columns = published_columns(connection, change.mart)
    known = connection.execute("select checksum from ops.published_mart where mart = %s", [change.mart]).fetchone()
    connection.execute(
        """
        insert into ops.publication (
            publication_id, run_id, mart, rows_inserted, rows_updated, rows_deleted,
            published_at, as_of_date, undo_by, columns, checksum, restores
        )
        values (%s, %s, %s, %s, %s, %s, now(), %s, %s, %s, %s, %s)
        """,
        [
            publication_id,
            run_id,
            change.mart,
            change.inserted,
            change.updated,
            change.deleted,
            as_of_date,
            change.undo_by,
            columns,
            known[0] if known else checksum(connection, change.mart, columns),
            restores,
        ],
    )


def delete_old_deltas(connection: Connection) -> None:
    """Delete the replaced rows of publications that are too old to be rolled back."""
    connection.execute(
        """
        delete from ops.publication_delta
        where publication_id < (
            select min(publication_id)
            from (
                select distinct publication_id
                from ops.publication
                order by publication_id desc
                limit %s
            ) as kept
        )
        """,
        [KEPT_PUBLICATIONS],
    )


def _as_of_date(connection: Connection, run_id: str) -> date | None:
    """The models' "today" in a run's build."""
    row = connection.execute("select as_of_date from ops.build where run_id = %s", [run_id]).fetchone()
    return row[0] if row else None


def _stale_marts(connection: Connection, exclusions: Exclusions) -> list[CheckResult]:
    """A failed check result for each published mart that the run did not build."""
    rows = connection.execute(
        """
        select mart, max(published_at)
        from ops.publication
        where mart = any(%s)
        group by mart
        order by mart
        """,
        [list(exclusions.models)],
    ).fetchall()
    results = []
    for mart, published_at in rows:
        message = (
            f"keeps what was published at {published_at:%Y-%m-%d %H:%M} UTC: {', '.join(sorted(exclusions.sources))} "
            "could not be loaded"
        )
        log.warning("marts.%s %s", mart, message)
        results.append(CheckResult(f"marts.{mart}", "fail", None, None, message))
    return results


def _no_longer_stale(connection: Connection, marts: Sequence[str]) -> list[CheckResult]:
    """A passed check result for each mart that the run publishes and that an earlier run had left as it was."""
    rows = connection.execute(
        """
        select subject
        from (
            select distinct on (subject) subject, status
            from ops.check_result
            where check_name = 'stale' and subject = any(%s)
            order by subject, check_result_id desc
        ) as latest
        where status = 'fail'
        order by subject
        """,
        [[f"marts.{mart}" for mart in marts]],
    ).fetchall()
    return [CheckResult(subject, "pass", None, None, "published again") for (subject,) in rows]
