"""The tests of the build are part of the audit: each must have a result of this build, and none may have failed."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from asgiref.sync import sync_to_async
from psycopg import AsyncConnection

from ecommerce.audit.check import Check, CheckContext, rows_of
from ecommerce.audit.check_results import CheckResult
from ecommerce.build.dbt_project import MANIFEST

#: `check_name` of the results that dbt writes by its own hook (include/dbt/macros/record_tests.sql).
DBT_TEST = "dbt_test"


class DbtTests(Check):
    """
    Every test of the project that the build was to run has a result of this very build, and none of them failed.

    A failed test on two parents does not by itself stop what dbt builds after them, a task may have been marked as done
    by hand, and a result may be of an earlier try. Where nothing had to be built, the tests of the last build count,
    which was published.
    """

    kind: Literal["dbt_tests"]

    async def judge(self, connection: AsyncConnection, asked: CheckContext) -> list[CheckResult]:
        """One judgement, of all tests."""
        subject = "dbt tests"
        built = await rows_of(
            connection,
            "select run_id, claimed_at, is_published from ops.build where exists (select from ops.rebuild"
            " where rebuild.run_id = build.run_id and rebuild.rebuilt_at >= build.claimed_at)"
            " order by claimed_at desc limit 1",
        )
        if not built or (built[0][0] != asked.run_id and not built[0][2]):
            message = "this run has built nothing, and the build before it was not published"
            return [CheckResult(subject, "fail", 0, None, message if built else "nothing was built yet")]
        ((run_id, claimed_at, _),) = built
        found = {
            test: (status, message)
            for test, status, message in await rows_of(
                connection,
                "select distinct on (subject) subject, status, message from ops.check_result"
                " where run_id = %(run_id)s and check_name = %(check)s and checked_at >= %(since)s"
                " order by subject, check_result_id desc",
                run_id=run_id,
                check=DBT_TEST,
                since=claimed_at,
            )
        }
        expected = await sync_to_async(expected_tests)(left_out=asked.left_out.models)
        missing = sorted(expected - set(found))
        failed = {test: message for test, (status, message) in found.items() if status == "fail"}
        said = [
            *(f"{test} failed: {message}" for test, message in sorted(failed.items())),
            *(f"{test} has no result" for test in missing),
        ]
        rows = [{"test": test, "result": failed.get(test, "missing")} for test in [*sorted(failed), *missing]]
        passed = len(found) - len(failed)
        if said:
            more = f"; and {len(said) - 5} more" if len(said) > 5 else ""
            return [CheckResult(subject, "fail", passed, len(expected), "; ".join(said[:5]) + more, rows)]
        whose = "" if run_id == asked.run_id else f" in the last build, of run {run_id}"
        return [CheckResult(subject, "pass", passed, len(expected), f"{passed} tests passed{whose}")]


def expected_tests(*, left_out: Container[str] = ()) -> set[str]:
    """
    Subjects of the tests that a build runs, by the manifest that the DAG is made from.

    :param left_out: names of models that the build leaves out; a test of any of them is not run
    """
    return {
        subject
        for subject, parents in _tests(MANIFEST, MANIFEST.stat().st_mtime_ns).items()
        if not any(parent.rsplit(".", 1)[-1] in left_out for parent in parents)
    }


@lru_cache(maxsize=2)
def _tests(manifest: Path, _changed: int) -> Mapping[str, list[str]]:
    """Subject of each test → unique ids of what it looks at."""
    content: dict[str, Any] = json.loads(manifest.read_text())
    tables = {**content["nodes"], **content["sources"]}
    tests = {}
    for node in content["nodes"].values():
        if node["resource_type"] == "test":
            of = tables.get(node.get("attached_node"))
            named = f"{of['schema']}.{of['name']} " if of else ""
            tests[f"{named}{node['name']}"] = node["depends_on"]["nodes"]
    return tests
