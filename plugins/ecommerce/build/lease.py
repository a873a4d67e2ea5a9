"""
The right to build: one run at a time is between `claim` and the end of `refresh_marts`.

A row of `ops.build` without `finished_at` is the lease; a unique index keeps it single. Concurrent dbt runs would
collide on each other's tables, and a publish must find in `marts_build` what its own run put there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from psycopg import Connection

from ecommerce.common.errors import LeaseLost


@dataclass(frozen=True)
class Exclusions:
    """
    What a build leaves as it is, because sources could not be loaded.

    :param sources: those that failed
    :param models: names of the dbt models that depend on them
    :param unsettled: sources whose marks and batches stay for the next build: a model that follows them is left out
    """

    sources: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    unsettled: frozenset[str] = frozenset()

    def covers(self, subject: str) -> bool:
        """Whether a check's subject, e.g. ``raw.sales_fact last days``, is one of these sources or models."""
        return subject.split()[0].rpartition(".")[2] in self.sources | self.models

    def __str__(self) -> str:
        sources, models = (", ".join(sorted(names)) for names in (self.sources, self.models))
        return f"{sources} could not be loaded; left as before: {models}"


NO_EXCLUSIONS = Exclusions()


@dataclass(frozen=True)
class Claim:
    """What a run is to rebuild: the as-of date of its models, the days of each source, and if it is nothing or all."""

    as_of_date: date | None
    days: dict[str, list[date]]
    is_build_needed: bool = True
    is_full_refresh: bool = False

    def __str__(self) -> str:
        if not self.days:
            return f"no day to rebuild, as of {self.as_of_date}"
        parts = [f"{source}: {len(days)} ({days[0]} to {days[-1]})" for source, days in self.days.items()]
        return f"days to rebuild, as of {self.as_of_date}: {'; '.join(parts)}"


def holder(connection: Connection) -> tuple[str, str] | None:
    """``(dag_id, run_id)`` of the run that holds the lease, or None."""
    row = connection.execute("select dag_id, run_id from ops.build where finished_at is null").fetchone()
    return (row[0], row[1]) if row else None


def awaits_decision(connection: Connection) -> bool:
    """Whether the holder waits for a person's word; others need not wait for it and may take the lease over."""
    row = connection.execute(
        "select exists (select from ops.build inner join ops.decision using (run_id)"
        " where build.finished_at is null and decision.decision is null)"
    ).fetchone()
    return row is not None and bool(row[0])


def take(
    connection: Connection,
    dag_id: str,
    run_id: str,
    *,
    project: str,
    full_refresh: bool,
    over: str | None,
    left_out: Exclusions = NO_EXCLUSIONS,
) -> Claim | None:
    """
    Take the lease and claim every mark and batch that is not published yet; None when another run was quicker.

    :param project: digest of the dbt project's files, see `ecommerce.build.dbt_project`; after a change all is rebuilt
    :param over: run_id of a holder that the caller knows to have ended; its marks come along
    :param left_out: what this run does not build; recorded, so that its audit and its publication leave it out as well
    """
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('ecommerce.build'))")
        if over is not None:
            connection.execute(
                "update ops.build set finished_at = now() where run_id = %s and finished_at is null", [over]
            )
        if holder(connection) is not None:
            return None
        # Days that were built by other models are not what these would build: after a change of the project all is.
        full_refresh = full_refresh or _is_changed(connection, project) or _is_half_refreshed(connection)
        is_needed = full_refresh or _is_stale(connection)
        connection.execute(
            "insert into ops.build (run_id, dag_id, as_of_date, is_full_refresh, project_digest, claimed_at,"
            "  failed_sources, left_out, unsettled_sources)"
            " select %s, %s, as_of_date, %s, %s, now(), %s, %s, %s from ops.as_of"
            " on conflict (run_id) do update set as_of_date = excluded.as_of_date, claimed_at = excluded.claimed_at,"
            "  is_full_refresh = excluded.is_full_refresh, project_digest = excluded.project_digest,"
            "  failed_sources = excluded.failed_sources, left_out = excluded.left_out,"
            "  unsettled_sources = excluded.unsettled_sources, finished_at = null, is_published = false",
            [
                run_id,
                dag_id,
                full_refresh,
                project,
                *(sorted(names) for names in (left_out.sources, left_out.models, left_out.unsettled)),
            ],
        )
        connection.execute("update ops.dirty_date set claimed_by = %s, claimed_at = now()", [run_id])
        connection.execute("delete from ops.claimed_date where run_id = %s", [run_id])
        connection.execute(
            "insert into ops.claimed_date (run_id, source, dirty_date, batch_id, claimed_at)"
            " select claimed_by, source, dirty_date, batch_id, claimed_at from ops.dirty_date"
        )
        connection.execute(
            f"update ops.load_batch set built_by = %s where {NOT_PUBLISHED}",
            [run_id],
        )
        return replace(pending(connection), is_build_needed=is_needed, is_full_refresh=full_refresh)


#: Batches that no published build has taken in.
NOT_PUBLISHED = (
    "load_batch.status = 'loaded' and not exists ("
    " select from ops.build where build.run_id = load_batch.built_by and build.is_published)"
)


def _is_changed(connection: Connection, project: str) -> bool:
    """Whether other models than these have built since the last publication, or for it."""
    row = connection.execute(
        "select exists (select from ops.build where project_digest <> %s and claimed_at >= coalesce("
        " (select max(published.claimed_at) from ops.build as published where published.is_published), '-infinity'))",
        [project],
    ).fetchone()
    return row is None or bool(row[0])


def _is_half_refreshed(connection: Connection) -> bool:
    """Whether a full refresh was published that had to leave something out, and no build has been complete since."""
    row = connection.execute(
        "select exists (select from ops.build where is_published and is_full_refresh and left_out <> '{}'"
        " and claimed_at > coalesce((select max(complete.claimed_at) from ops.build as complete"
        "  where complete.is_published and complete.left_out = '{}'), '-infinity'))"
    ).fetchone()
    return row is None or bool(row[0])


def _is_stale(connection: Connection) -> bool:
    """
    Whether a build of the same models would give other marts than the last one: new rows, another "today".

    After a build that was not published always: what it left in `marts_build` has not passed the audit. So after one
    that left something out.
    """
    row = connection.execute(
        "with last as ("
        " select build.* from ops.build order by build.claimed_at desc limit 1"
        f"), news as (select from ops.load_batch where {NOT_PUBLISHED} and (rows_loaded > 0 or rows_removed > 0))"
        " select not exists (select from last where last.is_published and last.left_out = '{}')"
        " or exists (select from news)"
        " or exists (select from ops.dirty_date)"
        " or (select last.as_of_date is distinct from as_of.as_of_date from last cross join ops.as_of)"
    ).fetchone()
    return row is None or bool(row[0])


def pending(connection: Connection) -> Claim:
    """Every day that is marked and not published yet."""
    days: dict[str, list[date]] = {}
    for source, day in connection.execute(
        "select distinct source, dirty_date from ops.dirty_date order by source, dirty_date"
    ):
        days.setdefault(source, []).append(day)
    row = connection.execute("select as_of_date from ops.as_of").fetchone()
    return Claim(row[0] if row else None, days)


def assert_held(connection: Connection, run_id: str) -> None:
    """
    Refuse a run that was overtaken.

    :raises LeaseLost: another run has taken over; what this run built may not be published
    """
    held_by = holder(connection)
    if held_by is None or held_by[1] != run_id:
        raise LeaseLost(_NOT_HELD.format(run_id=run_id))


_NOT_HELD = (
    "run {run_id!r} does not hold the right to publish (any more); clear it from its task `claim` on, so that it "
    "builds again before it publishes"
)


def release(connection: Connection, run_id: str) -> None:
    """
    Give the lease back and clear the marks that were built, in the caller's transaction.

    A mark that a left-out model follows stays, with its batch: the next build takes it again.

    :raises LeaseLost: another run has taken over; what this run built may not be published
    """
    released = connection.execute(
        "update ops.build set finished_at = now(), is_published = true where run_id = %s and finished_at is null"
        " returning unsettled_sources",
        [run_id],
    ).fetchone()
    if released is None:
        raise LeaseLost(_NOT_HELD.format(run_id=run_id))
    connection.execute("delete from ops.dirty_date where claimed_by = %s and source <> all(%s)", [run_id, *released])
    connection.execute("update ops.dirty_date set claimed_by = null, claimed_at = null where claimed_by = %s", [run_id])
    connection.execute(
        "update ops.load_batch set built_by = null where built_by = %s and source = any(%s)", [run_id, *released]
    )


#: The fields of `Exclusions` for a run; no row for one that has not claimed.
EXCLUSIONS_QUERY = "select failed_sources, left_out, unsettled_sources from ops.build where run_id = %(run_id)s"


def exclusions_of(connection: Connection, run_id: str) -> Exclusions:
    """What the build of a run leaves out; nothing for a run that has not claimed."""
    row = connection.execute(EXCLUSIONS_QUERY, {"run_id": run_id}).fetchone()
    return Exclusions(*map(frozenset, row)) if row else NO_EXCLUSIONS


@dataclass(frozen=True)
class Held:
    """The lease, held by someone who does not build: what the last build of the warehouse was."""

    is_published: bool
    is_complete: bool
    as_of_date: date | None
    project: str


def lock_for_verification(connection: Connection, dag_id: str, run_id: str, *, over: str | None) -> Held | None:
    """
    Keep others from building and publishing, without a claim; None when one of them holds the lease.

    The models' "today" stays that of the last build, and `unlock_after_verification` leaves no trace.

    :param over: run_id of a holder of the same DAG that the caller knows to have ended
    :raises LookupError: nothing was ever built
    """
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('ecommerce.build'))")
        # What is left of a holder that died: one whose lease was taken from it, or the one that the caller knows of.
        connection.execute(
            "delete from ops.build where dag_id = %s and (finished_at is not null or run_id = %s)", [dag_id, over]
        )
        if holder(connection) is not None:
            return None
        last = connection.execute(
            "select is_published, left_out = '{}', as_of_date, project_digest from ops.build where dag_id <> %s"
            " order by claimed_at desc limit 1",
            [dag_id],
        ).fetchone()
        if last is None:
            raise LookupError("nothing was built yet")
        held = Held(*last)
        connection.execute(
            "insert into ops.build (run_id, dag_id, as_of_date, is_full_refresh, project_digest, claimed_at)"
            " values (%s, %s, %s, false, %s, now())",
            [run_id, dag_id, held.as_of_date, held.project],
        )
        return held


def unlock_after_verification(connection: Connection, run_id: str) -> None:
    """End what `lock_for_verification` began."""
    connection.execute("delete from ops.build where run_id = %s and finished_at is null", [run_id])


def interrupt(connection: Connection, dag_id: str, run_id: str, *, over: str | None) -> bool:
    """
    Change `marts` without a build, in the caller's transaction; False when a run holds the lease.

    Until the transaction ends no one can take the lease. Afterwards the last build counts as not published: the next
    claim builds and publishes again.

    :param over: run_id of a holder that the caller knows to have ended
    """
    connection.execute("select pg_advisory_xact_lock(hashtext('ecommerce.build'))")
    connection.execute("update ops.build set finished_at = now() where run_id = %s and finished_at is null", [over])
    if holder(connection) is not None:
        return False
    connection.execute(
        "insert into ops.build (run_id, dag_id, as_of_date, is_full_refresh, project_digest, claimed_at, finished_at)"
        " select %s, %s, as_of_date, false, project_digest, clock_timestamp(), clock_timestamp()"
        " from ops.build order by claimed_at desc limit 1"
        " on conflict (run_id) do update set claimed_at = excluded.claimed_at, finished_at = excluded.finished_at",
        [run_id, dag_id],
    )
    return True
