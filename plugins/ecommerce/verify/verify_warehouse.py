"""The task `verify`: compare the warehouse with what its models make of raw now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from ecommerce.audit.check_results import CheckResult, record_results
from ecommerce.build import lease
from ecommerce.build.dbt_project import project_digest
from ecommerce.build.other_runs import must_wait_for
from ecommerce.build.warehouse_group import warehouse_profile
from ecommerce.common.connections import PUBLISHER, TRANSFORMER, postgres, warehouse
from ecommerce.common.shop import shop
from ecommerce.verify.comparison import Sample, verify

if TYPE_CHECKING:
    from airflow.sdk import Context
    from psycopg import Connection

_SETTLE = "nothing can be compared until ecommerce_warehouse has published again"


class VerifyWarehouse(BaseSensorOperator):
    """
    Wait until no run builds, keep others from building, then build a sample a second time and compare it.

    Skipped if the last build cannot be compared with: it was not published, it excluded models, or the models have
    changed since.

    :param warehouse_conn_id: the Postgres to verify, and to write `ops.check_result` into
    :param builder_conn_id: the same Postgres, by the role that builds
    :raises AirflowFailException: at least one table differs; the message says which rows, and what to do
    """

    check_name = "drift"

    def __init__(
        self, *, warehouse_conn_id: str = PUBLISHER, builder_conn_id: str = TRANSFORMER, **kwargs: Any
    ) -> None:
        # It waits in its worker, for the reason given in `ClaimDirtyDates`.
        kwargs.setdefault("poke_interval", timedelta(seconds=10))
        kwargs.setdefault("timeout", timedelta(hours=12))
        super().__init__(**kwargs)
        self.warehouse_conn_id = warehouse_conn_id
        self.builder_conn_id = builder_conn_id

    def poke(self, context: Context) -> bool:
        """Try to lock the build; once it is locked, verify."""
        run = context["dag_run"]
        with warehouse(self.warehouse_conn_id) as connection:
            holder = lease.holder(connection)
            if must_wait_for(context, connection, holder):
                return False
            with _locked(connection, run.dag_id, run.run_id, holder) as last_build:
                if last_build is None:
                    return False
                results = self._compare(connection, _sample(context), last_build)
            record_results(connection, self.check_name, run.run_id, results, window=None)
        self._fail_on_differences(results)
        return True

    def _compare(self, connection: Connection, sample: Sample, last_build: lease.LastBuild) -> list[CheckResult]:
        _skip_unless_comparable(last_build)
        profile = warehouse_profile(self.builder_conn_id, target="verify")
        with postgres(self.builder_conn_id) as builder:
            return list(verify(connection, builder, profile, sample, last_build))

    def _fail_on_differences(self, results: Sequence[CheckResult]) -> None:
        for result in results:
            self.log.info("%s %s: %s", result.status, result.subject, result.message)
        failures = [f"{result.subject}: {result.message}" for result in results if result.status == "fail"]
        if failures:
            raise AirflowFailException(
                "the warehouse is not what its models make of raw. Trigger ecommerce_warehouse with full_refresh: it "
                f"rebuilds everything from raw and publishes it. {'; '.join(failures)}"
            )


def _sample(context: Context) -> Sample:
    params = context["params"]
    seed = params["seed"]
    return Sample(
        days=None if params["full"] else params["days"],
        # Other days each week, but the same ones when a task is tried again.
        seed=context["dag_run"].run_after.date().toordinal() if seed is None else seed,
    )


@contextmanager
def _locked(
    connection: Connection, dag_id: str, run_id: str, holder: lease.Holder | None
) -> Iterator[lease.LastBuild | None]:
    """
    Keep others from building meanwhile; None if a run took the lease first.

    :raises AirflowSkipException: nothing was built, or the last build has ended without publishing
    """
    if holder and holder.dag_id != dag_id:
        raise AirflowSkipException(f"{holder} has not published; {_SETTLE}")
    try:
        last_build = lease.lock_for_verification(
            connection, dag_id, run_id, take_over_from=holder.run_id if holder else None
        )
    except LookupError as error:
        raise AirflowSkipException(str(error)) from error
    try:
        yield last_build
    finally:
        if last_build is not None:
            lease.unlock_after_verification(connection, run_id)


def _skip_unless_comparable(last_build: lease.LastBuild) -> None:
    if not last_build.is_published:
        raise AirflowSkipException(f"the last build was not published; {_SETTLE}")
    if not last_build.is_complete:
        raise AirflowSkipException(f"the last build excluded models whose sources could not be loaded; {_SETTLE}")
    if last_build.project != project_digest():
        raise AirflowSkipException(f"the last build was of other models; {_SETTLE}")
    if last_build.time_zone != shop().time_zone:
        raise AirflowSkipException(f"the last build was of days of the time zone {last_build.time_zone}; {_SETTLE}")
    if last_build.country != shop().country:
        raise AirflowSkipException(f"the last build was with the holidays of {last_build.country}; {_SETTLE}")
