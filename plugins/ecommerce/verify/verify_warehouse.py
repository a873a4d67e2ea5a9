"""Compare the warehouse with what its models make of raw now."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from ecommerce.audit.check_results import record_results
from ecommerce.build import lease
from ecommerce.build.dbt_project import project_digest
from ecommerce.build.other_runs import is_in_the_way
from ecommerce.build.warehouse_group import warehouse_profile
from ecommerce.common.connections import PUBLISHER, TRANSFORMER, postgres, warehouse
from ecommerce.verify.comparison import Sample, verify

if TYPE_CHECKING:
    from airflow.sdk import Context


class VerifyWarehouse(BaseSensorOperator):
    """
    Wait until no run builds, keep others from building, and build and compare a sample.

    Skipped where there is nothing settled to compare with: the last build was not published, not of everything, or of
    other models.

    :param warehouse_conn_id: the Postgres to verify, and to write `ops.check_result` into
    :param builder_conn_id: the same Postgres, by the role that builds
    :raises AirflowFailException: at least one table differs; the message says which rows, and what to do
    """

    check_name = "drift"

    def __init__(
        self, *, warehouse_conn_id: str = PUBLISHER, builder_conn_id: str = TRANSFORMER, **kwargs: Any
    ) -> None:
        # As in `ClaimDirtyDates`: it waits in its worker.
        kwargs.setdefault("poke_interval", timedelta(seconds=10))
        kwargs.setdefault("timeout", timedelta(hours=12))
        super().__init__(**kwargs)
        self.warehouse_conn_id = warehouse_conn_id
        self.builder_conn_id = builder_conn_id

    def poke(self, context: Context) -> bool:
        """Done once the lease could be held."""
        run, params = context["dag_run"], context["params"]
        seed = params["seed"]
        sample = Sample(
            days=None if params["full"] else params["days"],
            # Other days each week, and the same ones when a task is tried again.
            seed=run.run_after.date().toordinal() if seed is None else seed,
        )
        profile = warehouse_profile(self.builder_conn_id, target="verify")
        with warehouse(self.warehouse_conn_id) as connection:
            held_by = lease.holder(connection)
            is_ours = held_by is not None and held_by[0] == run.dag_id
            if held_by and held_by[1] != run.run_id:
                if is_in_the_way(context, connection, *held_by):
                    self.log.info("run %s of %s has the right to build now; waiting for it", held_by[1], held_by[0])
                    return False
                if not is_ours:
                    raise AirflowSkipException(f"run {held_by[1]} of {held_by[0]} has not published; {_SETTLE}")
            try:
                held = lease.lock_for_verification(
                    connection, run.dag_id, run.run_id, over=held_by[1] if is_ours and held_by else None
                )
            except LookupError as error:
                raise AirflowSkipException(str(error)) from error
            if held is None:
                return False
            try:
                if not held.is_published:
                    raise AirflowSkipException(f"the last build was not published; {_SETTLE}")
                if not held.is_complete:
                    raise AirflowSkipException(f"the last build left out what it could not load; {_SETTLE}")
                if held.project != project_digest():
                    raise AirflowSkipException(f"the last build was of other models; {_SETTLE}")
                with postgres(self.builder_conn_id) as builder:
                    judgements = list(verify(connection, builder, profile, sample, held.as_of_date))
            finally:
                lease.unlock_after_verification(connection, run.run_id)
            record_results(connection, self.check_name, run.run_id, judgements, window=None)
        for judged in judgements:
            self.log.info("%s %s: %s", judged.status, judged.subject, judged.message)
        failures = [f"{judged.subject}: {judged.message}" for judged in judgements if judged.status == "fail"]
        if failures:
            raise AirflowFailException(
                "the warehouse is not what its models make of raw. Trigger ecommerce_warehouse with full_refresh: it "
                f"rebuilds everything from raw and publishes it. {'; '.join(failures)}"
            )
        return True


_SETTLE = "there is nothing settled to compare with until ecommerce_warehouse has published again"
