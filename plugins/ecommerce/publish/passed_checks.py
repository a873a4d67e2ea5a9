"""
A publication needs a passed result of every check, whatever the tasks of the run say.

A person can mark a task as successful, write an XCom, clear only some tasks, or call the publication by hand. So the
results in `ops.check_result` decide, and they are read in the transaction that publishes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from psycopg import Connection

from ecommerce.audit.checks_file import read_checks
from ecommerce.audit.decisions import digest_of
from ecommerce.build.lease import Exclusions
from ecommerce.common.errors import PublishError
from ecommerce.publish.preview import as_json, differences

#: Problems that a message names.
_PROBLEMS_IN_MESSAGE = 5
_NO_RESULT = "has no result"
#: What to do if the check was written after Airflow had read `checks.yml` for this run.
_IF_NEW = "If a check without a result is new, this run has no task for it: start another run"

#: By check, all results of its last evaluation for the build under way; they have the same time.
_LAST_RESULTS = """
with evaluation as (
    select
        check_result.check_name,
        max(check_result.checked_at) as checked_at
    from ops.check_result
    inner join ops.build using (run_id)
    where
        check_result.run_id = %(run_id)s
        and check_result.checked_at >= build.claimed_at
        and check_result.check_name = any(%(checks)s)
        and check_result.recorded_by <> 'transformer'
    group by check_result.check_name
)

select
    check_result.check_name,
    check_result.subject,
    check_result.status,
    check_result.message,
    check_result.checked_at > coalesce(
        (select max(rebuild.rebuilt_at) from ops.rebuild where rebuild.run_id = %(run_id)s),
        '-infinity'
    )
from ops.check_result
inner join evaluation using (check_name, checked_at)
where check_result.run_id = %(run_id)s and check_result.recorded_by <> 'transformer'
order by check_result.check_name, check_result.subject
"""

#: By check, what a person has approved, if the last results of the check are those of the approval.
_APPROVED = """
select
    decision.check_name,
    decision.digest,
    decision.revoked_at is not null
from ops.decision
inner join ops.build using (run_id)
where
    decision.run_id = %(run_id)s
    and decision.check_name = any(%(checks)s)
    and decision.decision = 'approved'
    and decision.decided_at >= build.claimed_at
    and decision.decided_at = (
        select max(check_result.checked_at)
        from ops.check_result
        where
            check_result.run_id = decision.run_id
            and check_result.check_name = decision.check_name
            and check_result.recorded_by <> 'transformer'
    )
order by decision.check_name
"""

#: Marts that the run had to build, and has not built since its claim.
_NOT_BUILT = """
select mart
from unnest(%(marts)s::text[]) as mart
cross join ops.build
where
    build.run_id = %(run_id)s
    and build.is_build_needed
    and not exists (
        select from ops.rebuild
        where
            rebuild.run_id = build.run_id
            and rebuild.model = mart
            and rebuild.rebuilt_at >= build.claimed_at
    )
order by mart
"""


def assert_checks_passed(
    connection: Connection,
    run_id: str,
    marts: Sequence[str],
    exclusions: Exclusions,
    *,
    gained: Mapping[str, Collection[str]] | None = None,
) -> None:
    """
    Check that each check of `checks.yml` has passed or warned for what the run is about to publish.

    :param marts: names of the marts that it publishes
    :param gained: columns that the publication has already added to its marts
    :raises PublishError: one failed, has no result since the claim, or none since the build; or a mart was not built
    """
    problems = [
        *_unpassed(connection, run_id, exclusions),
        *_no_longer_approved(connection, run_id, gained),
        *(f"marts_build.{mart} was not built by this run" for mart in _not_built(connection, run_id, marts)),
    ]
    if not problems:
        return
    n = len(problems) - _PROBLEMS_IN_MESSAGE
    more = f"; and {n} more" if n > 0 else ""
    has_new = any(problem.endswith(_NO_RESULT) for problem in problems)
    if_new = f". {_IF_NEW}" if has_new else ""
    raise PublishError(
        f"nothing was published: {'; '.join(problems[:_PROBLEMS_IN_MESSAGE])}{more}. Clear the run from its task "
        f"`claim` on, so that it builds and checks again; to mark a task as successful does not help{if_new}"
    )


def _unpassed(connection: Connection, run_id: str, exclusions: Exclusions) -> Iterator[str]:
    checks = read_checks().checks
    rows = connection.execute(_LAST_RESULTS, {"run_id": run_id, "checks": list(checks)}).fetchall()
    for name, subject, status, message, _ in rows:
        if status == "fail" and not exclusions.covers(subject):
            yield f"check {name} failed, {subject}: {message}"
    yield from (f"check {name} {_NO_RESULT}" for name in checks if name not in {row[0] for row in rows})
    before_build = {name for name, *_, follows_build in rows if checks[name].checks_the_build and not follows_build}
    yield from (f"check {name} was evaluated before the last build" for name in sorted(before_build))


def _no_longer_approved(
    connection: Connection, run_id: str, gained: Mapping[str, Collection[str]] | None
) -> Iterator[str]:
    """An approval is of what was shown: the same rows have to change, from the same values to the same values."""
    rows = connection.execute(_APPROVED, {"run_id": run_id, "checks": list(read_checks().checks)}).fetchall()
    if not rows:
        return
    current = digest_of(as_json(differences(connection, run_id, gained=gained)))
    for name, digest, is_revoked in rows:
        if is_revoked:
            yield f"the approval of check {name} was revoked by a rollback"
        elif digest != current:
            yield f"what was approved of check {name} is not what would be published now"


def _not_built(connection: Connection, run_id: str, marts: Collection[str]) -> list[str]:
    rows = connection.execute(_NOT_BUILT, {"run_id": run_id, "marts": list(marts)}).fetchall()
    return [mart for (mart,) in rows]
