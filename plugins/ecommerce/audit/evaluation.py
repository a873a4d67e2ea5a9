"""Evaluate one check for one run, and record its results: the one way for a worker and for the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from airflow.sdk import Connection as AirflowConnection
from psycopg import AsyncConnection

from ecommerce.audit.check import Approvable, Check, CheckContext, fetch_rows
from ecommerce.audit.check_results import CheckResult, DayFigure, results_statement
from ecommerce.audit.checks_file import check_of
from ecommerce.audit.decisions import APPROVED_FIGURES, WITHDRAW_QUESTION, Approval
from ecommerce.build.lease import CLAIMED_QUERY, Exclusions
from ecommerce.common.connections import async_postgres
from ecommerce.common.windows import Window

#: How many checks may query Postgres at once: the build needs it, too.
_QUERYING = asyncio.Semaphore(4)


async def evaluate_check(
    check_name: str, warehouse: AirflowConnection, context: CheckContext, *, wait: bool, log: Any
) -> list[CheckResult] | None:
    """
    Evaluate a check and record its results; None, with nothing recorded, where it should wait and must not.

    While a subject fails and something is under way that could change that, the check is evaluated again, for as long
    as its `wait_minutes` allow.
    """
    check = check_of(check_name)
    last_start = time.monotonic() + check.wait_minutes * 60 - check.every_seconds
    while True:
        # A connection for each evaluation: a check that waits holds none.
        async with _QUERYING, async_postgres(warehouse, timeout_seconds=check.timeout_seconds) as connection:
            context = await _claimed(connection, context)
            results = await _evaluate_once(check_name, check, connection, context)
            unsettled = [result for result in results if result.status == "fail" and result.may_improve]
            is_final = not unsettled or time.monotonic() > last_start
            if is_final:
                # A publication asks for a result of each check, also of one that has found nothing to check.
                results = results or [CheckResult(check_name, "pass", None, None, "nothing to check")]
                await connection.execute(*results_statement(check_name, context.run_id, results, context.window))
        if is_final:
            _log_results(results, log)
            return results
        if not wait:
            return None
        _log_results(unsettled, log)
        log.info("a load is under way that may change this; evaluating again in %s s", check.every_seconds)
        await asyncio.sleep(check.every_seconds)


async def _claimed(connection: AsyncConnection, context: CheckContext) -> CheckContext:
    """
    The context as the run's claim has recorded it: what it left out, and the window and sources that it was asked for.

    A run that has not claimed publishes nothing; it is checked by what its tasks have passed on.
    """
    rows = await fetch_rows(connection, CLAIMED_QUERY, run_id=context.run_id)
    if not rows:
        return context
    *exclusions, start, end, sources = rows[0]
    request = context.request
    if start is not None:
        request = replace(request, window=Window(start, end), sources=frozenset(sources))
    return replace(context, request=request, exclusions=Exclusions(*map(frozenset, exclusions)))


async def _evaluate_once(
    check_name: str, check: Check, connection: AsyncConnection, context: CheckContext
) -> list[CheckResult]:
    """
    The results of now.

    What the run's build leaves out is not checked. A failure of a source that could not be loaded holds back nothing,
    since everything that depends on that source is left out already.
    """
    context = replace(context, check_name=check_name)
    if isinstance(check, Approvable):
        rows = await fetch_rows(connection, APPROVED_FIGURES, check_name=check_name)
        approvals = [Approval(DayFigure(*figure), by) for *figure, by in rows]
        context = replace(context, approvals=approvals)
        await connection.execute(WITHDRAW_QUESTION, {"run_id": context.run_id, "check_name": check_name})
    results = await check.evaluate_with_severity(connection, context)
    return [replace(result, blocks=not context.exclusions.covers(result.subject)) for result in results]


def _log_results(results: Sequence[CheckResult], log: Any) -> None:
    levels = {"pass": log.info, "warn": log.warning, "fail": log.error}
    for result in results:
        levels[result.status]("%s %s: %s", result.status, result.subject, result.message)
