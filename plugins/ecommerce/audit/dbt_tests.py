"""The check of dbt's tests: each test has a result of this build, and none of them failed."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from asgiref.sync import sync_to_async
from psycopg import AsyncConnection

from ecommerce.audit.check import Check, CheckContext, fetch_rows
from ecommerce.audit.check_results import CheckResult
from ecommerce.build.dbt_project import manifest_file

#: `check_name` of the results that dbt records by its own hook (include/dbt/macros/record_tests.sql).
DBT_TEST = "dbt_test"

_SUBJECT = "dbt tests"
#: Tests that a message names.
_TESTS_IN_MESSAGE = 5

_LAST_BUILD = """
select
    run_id,
    claimed_at,
    is_published
from ops.build
where
    exists (
        select from ops.rebuild
        where rebuild.run_id = build.run_id and rebuild.rebuilt_at >= build.claimed_at
    )
order by claimed_at desc
limit 1
"""

_TEST_RESULTS = """
select distinct on (subject)
    subject,
    status,
    message,
    checked_at
from ops.check_result
where run_id = %(run_id)s and check_name = %(check_name)s and checked_at >= %(since)s
order by subject, check_result_id desc
"""

_REBUILT = """
select model, rebuilt_at
from ops.rebuild
where run_id = %(run_id)s and rebuilt_at >= %(since)s
"""


class DbtTests(Check):
    """
    Every test of the project that the build was to run has a result of this build, and none of them failed.

    The build alone does not ensure that: a failed test on two models does not stop what dbt builds after them, a
    person can mark a task as successful, and a result may be of an earlier try, or from before a model that it tests
    was built again. In a run that had nothing to build,
    the tests of the last build count, if that was published.
    """

    kind: Literal["dbt_tests"]

    async def evaluate(self, connection: AsyncConnection, context: CheckContext) -> list[CheckResult]:
        """One result for all tests."""
        builds = await fetch_rows(connection, _LAST_BUILD)
        if not builds:
            return [CheckResult(_SUBJECT, "fail", 0, None, "nothing was built yet")]
        run_id, claimed_at, is_published = builds[0]
        is_own = run_id == context.run_id
        if not is_own and not is_published:
            message = "this run has built nothing, and the last build was not published"
            return [CheckResult(_SUBJECT, "fail", 0, None, message)]
        rows = await fetch_rows(connection, _TEST_RESULTS, run_id=run_id, check_name=DBT_TEST, since=claimed_at)
        rebuilt = dict(await fetch_rows(connection, _REBUILT, run_id=run_id, since=claimed_at))
        expected = await sync_to_async(expected_tests)(excluded_models=context.exclusions.models)
        tested = await sync_to_async(models_of_tests)()
        failed = {test: message for test, status, message, _ in rows if status == "fail"}
        current = {
            test
            for test, _, _, checked_at in rows
            if all(rebuilt.get(model, checked_at) <= checked_at for model in tested.get(test, ()))
        }
        passed = len(current - failed.keys())
        missing = expected - current - failed.keys()
        return [_result(passed, len(expected), failed, missing, None if is_own else run_id)]


def _result(
    passed: int, expected: int, failed: Mapping[str, str], missing: set[str], other_run_id: str | None
) -> CheckResult:
    if failed or missing:
        problems = [
            *(f"{test} failed: {message}" for test, message in sorted(failed.items())),
            *(f"{test} has no result" for test in sorted(missing)),
        ]
        rows = [{"test": test, "result": failed.get(test, "missing")} for test in [*sorted(failed), *sorted(missing)]]
        n = len(problems) - _TESTS_IN_MESSAGE
        message = "; ".join(problems[:_TESTS_IN_MESSAGE]) + (f"; and {n} more" if n > 0 else "")
        return CheckResult(_SUBJECT, "fail", passed, expected, message, rows)
    of_build = f" in the last build, of run {other_run_id}" if other_run_id else ""
    return CheckResult(_SUBJECT, "pass", passed, expected, f"{passed} tests passed{of_build}")


def expected_tests(*, excluded_models: Container[str] = ()) -> set[str]:
    """
    Subjects of the tests that a build runs, by the manifest that the DAG is made from.

    :param excluded_models: names of models that the build leaves out; tests that use one of them are not run
    """
    return {
        subject
        for subject, models in models_of_tests().items()
        if not any(model in excluded_models for model in models)
    }


def models_of_tests() -> dict[str, list[str]]:
    """Subject of each test → names of the models and sources that it reads."""
    manifest = manifest_file()
    return {
        subject: [parent.rsplit(".", 1)[-1] for parent in parents]
        for subject, parents in _tests(manifest, manifest.stat().st_mtime_ns).items()
    }


@lru_cache(maxsize=2)
def _tests(manifest: Path, _changed: int) -> Mapping[str, list[str]]:
    """Subject of each test → unique ids of the nodes that it uses."""
    content: dict[str, Any] = json.loads(manifest.read_text())
    tables = {**content["nodes"], **content["sources"]}
    tests = {}
    for node in content["nodes"].values():
        if node["resource_type"] == "test":
            table = tables.get(node.get("attached_node"))
            prefix = f"{table['schema']}.{table['name']} " if table else ""
            tests[f"{prefix}{node['name']}"] = node["depends_on"]["nodes"]
    return tests
