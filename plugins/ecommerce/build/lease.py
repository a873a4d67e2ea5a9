"""
The lease of the build: only one run at a time is between `claim` and the end of `refresh_marts`.

A row of `ops.build` without `finished_at` is the lease; a unique index allows one such row. Two dbt runs at once would
overwrite each other's tables, and a publication must find in `marts_build` what its own run has built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from typing import NamedTuple

from psycopg import Connection
from psycopg.types.json import Jsonb

from ecommerce.common.errors import LeaseLost
from ecommerce.common.windows import Request
from ecommerce.load.erased_rows import fail_while_half_erased


@dataclass(frozen=True)
class Exclusions:
    """
    What a build does not rebuild, because sources could not be loaded.

    :param sources: the sources that failed
    :param models: names of the dbt models that depend on them
    :param unsettled: sources whose dirty dates and batches stay for the next build, because an excluded model is
        rebuilt by them
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
    """
    What a run has to rebuild.

    :param as_of_date: the models' "today"
    :param days: dirty dates by source, in order
    :param is_build_needed: False if a build would give the same marts as the last one
    :param reason_for_full_refresh: why every model is rebuilt from all rows; None: only the dirty dates are
    :param refreshed_models: those that are rebuilt from all rows all the same, since they have changed
    """

    as_of_date: date | None
    days: dict[str, list[date]]
    is_build_needed: bool = True
    reason_for_full_refresh: str | None = None
    refreshed_models: frozenset[str] = frozenset()

    @property
    def is_full_refresh(self) -> bool:
        """Whether every model is rebuilt from all rows, whatever the dirty dates are."""
        return self.reason_for_full_refresh is not None

    def __str__(self) -> str:
        if not self.days:
            return f"no day to rebuild, as of {self.as_of_date}"
        parts = [f"{source}: {len(days)} ({days[0]} to {days[-1]})" for source, days in self.days.items()]
        return f"days to rebuild, as of {self.as_of_date}: {'; '.join(parts)}"


class Holder(NamedTuple):
    """The run that holds the lease."""

    dag_id: str
    run_id: str

    def __str__(self) -> str:
        return f"run {self.run_id} of {self.dag_id}"


@dataclass(frozen=True)
class LastBuild:
    """
    The last build of the warehouse, as a verification needs to know it.

    :param is_complete: no model was excluded
    :param as_of_date: the models' "today"
    :param first_covered_date: the first day that was loaded for sales
    :param project: digest of the dbt project's files, see `ecommerce.build.dbt_project`
    :param time_zone: whose days the models were built of
    :param country: with whose holidays; None without a country
    """

    is_published: bool
    is_complete: bool
    as_of_date: date | None
    first_covered_date: date | None
    project: str
    time_zone: str
    country: str | None


#: Batches that are not in the marts: no build that was published has read them.
NOT_PUBLISHED = """
    load_batch.status = 'loaded'
    and not exists (
        select from ops.build
        where build.run_id = load_batch.built_by and build.is_published
    )
"""


def holder(connection: Connection) -> Holder | None:
    """The run that holds the lease now."""
    row = connection.execute("select dag_id, run_id from ops.build where finished_at is null").fetchone()
    return Holder(*row) if row else None


def awaits_decision(connection: Connection) -> bool:
    """Whether the holder waits for a person to decide; another run may then take the lease over."""
    return _is_true(
        connection,
        """
        select exists (
            select from ops.build
            inner join ops.decision using (run_id)
            where build.finished_at is null and decision.decision is null
        )
        """,
    )


def take(
    connection: Connection,
    dag_id: str,
    run_id: str,
    *,
    project: str,
    models: Callable[[], Mapping[str, str]] | None = None,
    full_refresh: bool,
    take_over_from: str | None = None,
    exclusions: Exclusions = NO_EXCLUSIONS,
    request: Request | None = None,
) -> Claim | None:
    """
    Take the lease and claim every dirty date and batch that is not published; None if another run was quicker.

    :param project: digest of the dbt project's files, see `ecommerce.build.dbt_project`
    :param models: model → digest, see `ecommerce.build.model_digests`: after a change of the project, those with
        another one are rebuilt from all rows; None: all models are. Called only if the last builds do not tell it
    :param take_over_from: run_id of a holder that has ended; its dirty dates are claimed as well
    :param exclusions: what this run does not build; recorded for its checks and its publication
    :param request: the run's window and sources; recorded for its checks
    :raises HalfErased: the erasure of a customer was interrupted
    """
    with connection.transaction():
        _lock_builds(connection)
        _finish_build(connection, take_over_from)
        if holder(connection) is not None:
            return None
        fail_while_half_erased(connection)
        builds = _builds_since_last_publication(connection)
        digests = _digests_of_same_project(builds, project) or (models() if models else None)
        changed = changed_models(builds, project, digests or {})
        reason = "the run asks for it" if full_refresh else _reason_for_full_refresh(connection, changed)
        is_build_needed = reason is not None or any(other != project for other, _ in builds) or _is_stale(connection)
        _record_build(connection, dag_id, run_id, project, reason is not None, exclusions)
        refreshed = (changed or frozenset()) - exclusions.models if reason is None else frozenset()
        _record_models(connection, run_id, _digests_of_tables(digests, changed, exclusions), refreshed)
        _record_request(connection, run_id, request, is_build_needed)
        _claim_all(connection, run_id)
        return replace(
            pending_claim(connection),
            is_build_needed=is_build_needed,
            reason_for_full_refresh=reason,
            refreshed_models=refreshed,
        )


def pending_claim(connection: Connection) -> Claim:
    """What a claim would get now: every dirty date that is not published. Nothing is written."""
    days: dict[str, list[date]] = {}
    for source, day in connection.execute(
        """
        select distinct source, dirty_date
        from ops.dirty_date
        order by source, dirty_date
        """
    ):
        days.setdefault(source, []).append(day)
    row = connection.execute("select as_of_date from ops.as_of").fetchone()
    return Claim(row[0] if row else None, days)


def exclusions_of(connection: Connection, run_id: str) -> Exclusions:
    """What the build of a run excludes; nothing for a run that has not claimed."""
    row = connection.execute(CLAIMED_QUERY, {"run_id": run_id}).fetchone()
    return Exclusions(*map(frozenset, row[:3])) if row else NO_EXCLUSIONS


def claimed_project(connection: Connection, run_id: str) -> tuple[str, frozenset[str]]:
    """
    The digest of the dbt project with which a run has claimed, and the names of the models that it excludes.

    :raises LeaseLost: the run does not hold the lease
    """
    assert_holder(connection, run_id)
    row = connection.execute("select project_digest, left_out from ops.build where run_id = %s", [run_id]).fetchone()
    if row is None:
        raise LeaseLost(_LEASE_LOST.format(run_id=run_id))
    return row[0], frozenset(row[1])


#: The fields of `Exclusions` for a run, then the window and the sources that it was asked to load; no row for one that
#: has not claimed.
CLAIMED_QUERY = """
    select failed_sources, left_out, unsettled_sources, window_start, window_end, requested_sources
    from ops.build
    where run_id = %(run_id)s
"""


def assert_holder(connection: Connection, run_id: str) -> None:
    """
    Check that a run still holds the lease.

    :raises LeaseLost: another run has taken over; what this run has built may not be published
    """
    current = holder(connection)
    if current is None or current.run_id != run_id:
        raise LeaseLost(_LEASE_LOST.format(run_id=run_id))


def release(connection: Connection, run_id: str) -> None:
    """
    End a published build: give the lease back and delete the dirty dates that were built, in the caller's transaction.

    Dirty dates and batches of unsettled sources stay for the next build.

    :raises LeaseLost: another run has taken over; what this run has built may not be published
    """
    released = connection.execute(
        """
        update ops.build
        set finished_at = now(), is_published = true
        where run_id = %s and finished_at is null
        returning unsettled_sources
        """,
        [run_id],
    ).fetchone()
    if released is None:
        raise LeaseLost(_LEASE_LOST.format(run_id=run_id))
    parameters = {"run_id": run_id, "unsettled": released[0]}
    connection.execute(
        """
        delete from ops.dirty_date
        where claimed_by = %(run_id)s and source <> all(%(unsettled)s)
        """,
        parameters,
    )
    connection.execute(
        """
        update ops.dirty_date
        set claimed_by = null, claimed_at = null
        where claimed_by = %(run_id)s
        """,
        parameters,
    )
    connection.execute(
        """
        update ops.load_batch
        set built_by = null
        where built_by = %(run_id)s and source = any(%(unsettled)s)
        """,
        parameters,
    )


_LEASE_LOST = (
    "run {run_id!r} does not hold the right to build and publish (any more); clear it from its task `claim` on, so "
    "that it builds again before it publishes"
)


def lock_for_verification(
    connection: Connection, dag_id: str, run_id: str, *, take_over_from: str | None = None
) -> LastBuild | None:
    """
    Keep others from building and publishing, without a claim; None if a run holds the lease.

    The models' "today" and their first covered day stay those of the last build. `unlock_after_verification` deletes
    the row again.

    :param take_over_from: run_id of a holder of the same DAG that has ended
    :raises LookupError: nothing was ever built
    """
    with connection.transaction():
        _lock_builds(connection)
        # Rows of verifications that were killed before they could unlock.
        connection.execute(
            """
            delete from ops.build
            where dag_id = %s and (finished_at is not null or run_id = %s)
            """,
            [dag_id, take_over_from],
        )
        if holder(connection) is not None:
            return None
        row = connection.execute(
            """
            select is_published, left_out = '{}', as_of_date, first_covered_date, project_digest, time_zone,
                country
            from ops.build
            where dag_id <> %s
            order by claimed_at desc
            limit 1
            """,
            [dag_id],
        ).fetchone()
        if row is None:
            raise LookupError("nothing was built yet")
        last_build = LastBuild(*row)
        connection.execute(
            """
            insert into ops.build (
                run_id, dag_id, as_of_date, first_covered_date, is_full_refresh, project_digest, claimed_at
            )
            values (%s, %s, %s, %s, false, %s, now())
            """,
            [run_id, dag_id, last_build.as_of_date, last_build.first_covered_date, last_build.project],
        )
        return last_build


def unlock_after_verification(connection: Connection, run_id: str) -> None:
    """Let others build again after `lock_for_verification`."""
    connection.execute("delete from ops.build where run_id = %s and finished_at is null", [run_id])


def lock_for_rollback(connection: Connection, dag_id: str, run_id: str, *, take_over_from: str | None = None) -> bool:
    """
    Keep others from building until the caller's transaction ends; False if a run holds the lease.

    Afterwards the last build counts as not published, so that the next claim builds and publishes again.

    :param take_over_from: run_id of a holder that has ended
    """
    _lock_builds(connection)
    _finish_build(connection, take_over_from)
    if holder(connection) is not None:
        return False
    connection.execute(
        """
        insert into ops.build (
            run_id, dag_id, as_of_date, first_covered_date, is_full_refresh, project_digest, model_digests,
            claimed_at, finished_at
        )
        select
            %s, %s, as_of_date, first_covered_date, false, project_digest, model_digests,
            clock_timestamp(), clock_timestamp()
        from ops.build
        order by claimed_at desc
        limit 1
        on conflict (run_id) do update set
            claimed_at = excluded.claimed_at,
            finished_at = excluded.finished_at
        """,
        [run_id, dag_id],
    )
    return True


@contextmanager
def all_builds_stopped(connection: Connection) -> Iterator[None]:
    """Inside, nobody can take or change the lease; who holds it already has to be asked for afterwards."""
    connection.execute("select pg_advisory_lock(hashtext('ecommerce.build'))")
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("select pg_advisory_unlock(hashtext('ecommerce.build'))")


def _lock_builds(connection: Connection) -> None:
    """Let no other session take or change the lease until the transaction ends."""
    connection.execute("select pg_advisory_xact_lock(hashtext('ecommerce.build'))")


def _finish_build(connection: Connection, run_id: str | None) -> None:
    """End the build of a holder that has ended without publishing."""
    connection.execute(
        """
        update ops.build
        set finished_at = now()
        where run_id = %s and finished_at is null
        """,
        [run_id],
    )


def _record_build(
    connection: Connection, dag_id: str, run_id: str, project: str, is_full_refresh: bool, exclusions: Exclusions
) -> None:
    connection.execute(
        """
        insert into ops.build (
            run_id, dag_id, as_of_date, first_covered_date, is_full_refresh, project_digest, claimed_at,
            failed_sources, left_out, unsettled_sources
        )
        select %(run_id)s, %(dag_id)s, as_of_date, first_covered_date, %(is_full_refresh)s, %(project)s, now(),
            %(sources)s, %(models)s, %(unsettled)s
        from ops.as_of
        on conflict (run_id) do update set
            as_of_date = excluded.as_of_date,
            first_covered_date = excluded.first_covered_date,
            claimed_at = excluded.claimed_at,
            is_full_refresh = excluded.is_full_refresh,
            time_zone = excluded.time_zone,
            country = excluded.country,
            project_digest = excluded.project_digest,
            failed_sources = excluded.failed_sources,
            left_out = excluded.left_out,
            unsettled_sources = excluded.unsettled_sources,
            finished_at = null,
            is_published = false
        """,
        {
            "run_id": run_id,
            "dag_id": dag_id,
            "is_full_refresh": is_full_refresh,
            "project": project,
            "sources": sorted(exclusions.sources),
            "models": sorted(exclusions.models),
            "unsettled": sorted(exclusions.unsettled),
        },
    )


#: The last published build and all later ones: any of them has built tables that are there.
_BUILDS_SINCE_LAST_PUBLICATION = """ops.build
        where
            claimed_at >= coalesce(
                (
                    select max(published.claimed_at)
                    from ops.build as published
                    where published.is_published
                ),
                '-infinity'
            )"""


def _builds_since_last_publication(connection: Connection) -> list[tuple[str, Mapping[str, str | None] | None]]:
    """Project and model digests of `_BUILDS_SINCE_LAST_PUBLICATION`."""
    return connection.execute(
        f"""
        select distinct project_digest, model_digests
        from {_BUILDS_SINCE_LAST_PUBLICATION}
        """.encode()
    ).fetchall()


def changed_models(
    builds: Sequence[tuple[str, Mapping[str, str | None] | None]], project: str, models: Mapping[str, str]
) -> frozenset[str] | None:
    """
    The models whose tables may be those of other files; None: any.

    :param builds: project digest, and model digests if there are any, of the builds whose tables are there
    :param project: the digest of the files as they are now; ``models`` those of the models, empty: not known
    """
    changed: set[str] = set()
    for other_project, digests in builds:
        if digests is not None and models:
            changed |= {name for name, digest in models.items() if digests.get(name) != digest}
        elif other_project != project:
            return None
    return frozenset(changed)


def _digests_of_same_project(
    builds: Sequence[tuple[str, Mapping[str, str | None] | None]], project: str
) -> dict[str, str] | None:
    """The digests of the models, if all builds were of this project and know all of them: the files need no reading."""
    (only, digests), *others = builds or [("", None)]
    known = {name: digest for name, digest in (digests or {}).items() if digest is not None}
    return known if not others and only == project and digests and len(known) == len(digests) else None


def _digests_of_tables(
    models: Mapping[str, str] | None, changed: frozenset[str] | None, exclusions: Exclusions
) -> dict[str, str | None] | None:
    """What the tables are made by after the build: of a changed model that it excludes nothing is known, hence null."""
    if models is None:
        return None
    kept = exclusions.models if changed is None else exclusions.models & changed
    return {name: None if name in kept else digest for name, digest in models.items()}


def _record_models(
    connection: Connection, run_id: str, digests: Mapping[str, str | None] | None, refreshed: frozenset[str]
) -> None:
    connection.execute(
        """
        update ops.build
        set model_digests = %s, refreshed_models = %s
        where run_id = %s
        """,
        [None if digests is None else Jsonb(dict(digests)), sorted(refreshed), run_id],
    )


def _record_request(connection: Connection, run_id: str, request: Request | None, is_build_needed: bool) -> None:
    connection.execute(
        """
        update ops.build
        set
            window_start = %(start)s,
            window_end = %(end)s,
            requested_sources = %(sources)s,
            is_build_needed = %(is_build_needed)s
        where run_id = %(run_id)s
        """,
        {
            "run_id": run_id,
            "start": request.window.start if request else None,
            "end": request.window.end if request else None,
            "sources": sorted(request.sources) if request else None,
            "is_build_needed": is_build_needed,
        },
    )


def _claim_all(connection: Connection, run_id: str) -> None:
    """Write the run's id on every dirty date and batch that is not published."""
    connection.execute("update ops.dirty_date set claimed_by = %s, claimed_at = now()", [run_id])
    connection.execute("delete from ops.claimed_date where run_id = %s", [run_id])
    connection.execute(
        """
        insert into ops.claimed_date (run_id, source, dirty_date, batch_id, claimed_at)
        select claimed_by, source, dirty_date, batch_id, claimed_at
        from ops.dirty_date
        """
    )
    connection.execute(f"update ops.load_batch set built_by = %s where {NOT_PUBLISHED}", [run_id])


def _reason_for_full_refresh(connection: Connection, changed: frozenset[str] | None) -> str | None:
    """
    Why an incremental build would not do; None: it does.

    :param changed: as `changed_models`

    It keeps the days that were built before: by other models, as the days of another time zone, or with other holidays.
    """
    row = connection.execute(
        f"""
        select
            max(time_zone) filter (where time_zone <> ops.shop_time_zone()),
            ops.shop_time_zone(),
            max(coalesce(country, 'none')) filter (where country is distinct from ops.shop_country()),
            coalesce(ops.shop_country(), 'none')
        from {_BUILDS_SINCE_LAST_PUBLICATION}
        """.encode()
    ).fetchone()
    other_time_zone, time_zone, other_country, country = row or (None, "", None, "")
    if other_time_zone:
        return f"the shop's time zone was {other_time_zone}, and is {time_zone}"
    if changed is None:
        return "the dbt project has changed"
    if other_country:
        return f"the shop's country was {other_country}, and is {country}"
    return "the last one left models out" if _is_full_refresh_incomplete(connection) else None


def _is_full_refresh_incomplete(connection: Connection) -> bool:
    """Whether the last full refresh had excluded models, and no complete build was published since."""
    return _is_true(
        connection,
        """
        select exists (
            select from ops.build
            where
                is_published
                and is_full_refresh
                and left_out <> '{}'
                and claimed_at > coalesce(
                    (
                        select max(complete.claimed_at)
                        from ops.build as complete
                        where complete.is_published and complete.left_out = '{}'
                    ),
                    '-infinity'
                )
        )
        """,
    )


def _is_stale(connection: Connection) -> bool:
    """
    Whether a build of the same models would give other marts than the last one.

    That is so after new rows, after a review of an order, and with another "today" or another first covered day.

    It is always so after a build that was not published, since its tables have not passed the checks, and after one
    with excluded models.
    """
    return _is_true(
        connection,
        f"""
        with last_build as (
            select *
            from ops.build
            order by claimed_at desc
            limit 1
        ),
        changed_batch as (
            select from ops.load_batch
            where {NOT_PUBLISHED} and (rows_loaded > 0 or rows_removed > 0)
        )
        select
            not exists (select from last_build where is_published and left_out = '{{}}')
            or exists (select from changed_batch)
            or exists (select from ops.dirty_date)
            or exists (select from ops.review where reviewed_at > (select claimed_at from last_build))
            or (
                select (last_build.as_of_date, last_build.first_covered_date)
                    is distinct from (as_of.as_of_date, as_of.first_covered_date)
                from last_build cross join ops.as_of
            )
        """,
    )


def _is_true(connection: Connection, query: str) -> bool:
    row = connection.execute(query.encode()).fetchone()
    return row is not None and bool(row[0])
