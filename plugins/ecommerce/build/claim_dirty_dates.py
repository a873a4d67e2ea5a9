"""The task `claim`: wait for the lease of the build, then claim every day that must be rebuilt."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue, TaskInstanceState
from airflow.sdk.bases.skipmixin import SkipMixin
from airflow.sdk.exceptions import AirflowFailException
from airflow.utils.state import State

from dbt_triggerer import nodes_of
from ecommerce.build import lease
from ecommerce.build.dbt_project import project_digest
from ecommerce.build.excluded_models import exclusions_for, nodes_of_models
from ecommerce.build.model_digests import model_digests
from ecommerce.build.other_runs import must_wait_for
from ecommerce.common.connections import LOADER, warehouse
from ecommerce.common.days import day_of, midnight
from ecommerce.common.errors import WindowError
from ecommerce.common.run_notes import add_note
from ecommerce.common.windows import Request, request_of

if TYPE_CHECKING:
    from airflow.sdk import Context
    from psycopg import Connection


#: States of an extract that has not loaded its source.
_FAILED = {*State.failed_states, TaskInstanceState.REMOVED}

#: States of a `claim` that has not ended. Airflow's API calls a task without a state `null`.
_UNFINISHED = ["null", *sorted(state.value for state in State.unfinished if state is not None)]

#: XCom key: names of the excluded models, separated by blanks. Not part of the returned value, which Airflow drops when
#: a task skips others.
EXCLUDED_MODELS = "excluded_models"

#: How many days before and after its own a run of a backfill looks for other runs of it. Runs start in the order of
#: their days, so it only has to be more than the number of runs that are active at once.
_NEIGHBOUR_DAYS = 32


class ClaimDirtyDates(BaseSensorOperator, SkipMixin):
    """
    Take the lease of the build and claim all dirty dates that are not published yet, also those of failed runs.

    Waits while another run builds. If nothing has changed since the last publication, the build is skipped and only
    the checks run. A dry run reports what would be rebuilt and skips everything after it.

    A source that could not be loaded does not stop the others: the models that depend on it are excluded. They are
    skipped with their tests, and are neither checked nor published.

    In a backfill only the last run builds: a run skips the build and the publication as long as `claim` has not ended
    in another run of the same backfill, and its dirty dates wait. The pool with one slot runs one `claim` at a time,
    so that two runs cannot hand over to each other.

    :param extract_task_ids: the extract tasks by source, all of which have ended; a dry run reports their figures
    :param build_group_id: the task group that builds
    :param need_build_task_ids: tasks after that group that have nothing to do in a run that builds nothing
    :param warehouse_conn_id: the Postgres that holds ``ops``
    :raises AirflowFailException: none of the run's sources could be loaded
    """

    def __init__(
        self,
        *,
        extract_task_ids: dict[str, str],
        build_group_id: str,
        need_build_task_ids: Collection[str],
        warehouse_conn_id: str = LOADER,
        **kwargs: Any,
    ) -> None:
        # Not `reschedule`: with LocalExecutor a task that comes back within seconds can be failed by mistake.
        kwargs.setdefault("poke_interval", timedelta(seconds=2))
        kwargs.setdefault("timeout", timedelta(hours=12))
        super().__init__(**kwargs)
        self.extract_task_ids = extract_task_ids
        self.build_group_id = build_group_id
        self.need_build_task_ids = frozenset(need_build_task_ids)
        self.warehouse_conn_id = warehouse_conn_id

    @property
    def excluded_models(self) -> str:
        """A template: names of the models that the run does not build, separated by blanks."""
        return f"{{{{ ti.xcom_pull(task_ids='{self.task_id}', key='{EXCLUDED_MODELS}') or '' }}}}"

    def poke(self, context: Context) -> PokeReturnValue:
        """Try to take the lease; once it is taken, return the days to rebuild by source."""
        failed = self._failed_sources(context)
        request = _request(context)
        if failed >= request.sources:
            raise AirflowFailException(f"{', '.join(sorted(failed))} could not be loaded: there is nothing to build")
        with warehouse(self.warehouse_conn_id) as connection:
            if request.dry_run:
                self._report(context, lease.pending_claim(connection), failed)
                return PokeReturnValue(is_done=True)
            if successor := self._successor(context):
                return PokeReturnValue(is_done=True, xcom_value={"handed_over_to": str(successor)})
            exclusions = exclusions_for(failed)
            claim = self._take_lease(context, connection, request, exclusions)
        if claim is None:
            return PokeReturnValue(is_done=False)
        self.log.info("%s", claim)
        if reason := claim.reason_for_full_refresh:
            self.log.info("full refresh, every model is rebuilt from all rows: %s", reason)
            if not request.full_refresh:
                add_note(context, f"Full refresh: {reason}.")
        if refreshed := sorted(claim.refreshed_models):
            self.log.info("the dbt project has changed; rebuilt from all rows: %s", ", ".join(refreshed))
            add_note(context, f"Models rebuilt from all rows, since the dbt project has changed: {len(refreshed)}.")
        if failed:
            self.log.warning("%s", exclusions)
            add_note(context, str(exclusions))
        return PokeReturnValue(is_done=True, xcom_value=_xcom_value(claim, exclusions))

    def execute(self, context: Context) -> Any:
        """Wait as a sensor does, then skip the tasks that have nothing to do."""
        claimed = super().execute(context)
        if request_of(context).dry_run:
            self.skip(context["ti"], self.get_flat_relatives(upstream=False))
            return claimed
        if excluded := claimed.get("excluded_models"):
            context["ti"].xcom_push(key=EXCLUDED_MODELS, value=" ".join(excluded))
        self.skip(context["ti"], self._tasks_without_work(claimed))
        return claimed

    def _take_lease(
        self, context: Context, connection: Connection, request: Request, exclusions: lease.Exclusions
    ) -> lease.Claim | None:
        """The claim; None while another run builds."""
        run = context["dag_run"]
        holder = lease.holder(connection)
        if must_wait_for(context, connection, holder):
            return None
        if holder and holder.run_id != run.run_id:
            self.log.warning("%s has not published; this run claims its days as well", holder)
        return lease.take(
            connection,
            run.dag_id,
            run.run_id,
            project=project_digest(),
            models=model_digests,
            full_refresh=request.full_refresh,
            exclusions=exclusions,
            request=request,
            take_over_from=holder.run_id if holder else None,
        )

    def _tasks_without_work(self, claimed: Mapping[str, Any]) -> list[Any]:
        """
        The tasks after this one that a run skips.

        :param claimed: what `poke` returned
        """
        downstream = self.get_flat_relatives(upstream=False)
        build = [task for task in downstream if task.task_id.startswith(f"{self.build_group_id}.")]
        if successor := claimed.get("handed_over_to"):
            self.log.info(
                "not the last run of this backfill: the last one builds for all, the next is of %s", successor
            )
            return [*build, *(task for task in downstream if task.task_id in self.need_build_task_ids)]
        if not claimed["is_build_needed"]:
            self.log.info("nothing has changed since the last publication; the build is skipped")
            return build
        if not claimed["excluded_models"]:
            return []
        excluded_nodes = nodes_of_models(claimed["excluded_models"])
        return [task for task in build if not excluded_nodes.isdisjoint(nodes_of(task))]

    def _failed_sources(self, context: Context) -> set[str]:
        """Sources whose extract has failed, or never started because the run's window was rejected."""
        ti = context["ti"]
        states = ti.get_task_states(
            dag_id=ti.dag_id, task_ids=list(self.extract_task_ids.values()), run_ids=[ti.run_id]
        ).get(ti.run_id, {})
        return {source for source, task_id in self.extract_task_ids.items() if states.get(task_id) in _FAILED}

    def _successor(self, context: Context) -> date | None:
        """The day of another run of this backfill in which `claim` has not ended; None for any other kind of run."""
        run = context["dag_run"]
        if run.run_type != "backfill" or run.logical_date is None or request_of(context).full_refresh:
            return None
        # A run begins at the shop's midnight, which is at another hour of UTC when clocks were changed.
        day_of_run = day_of(run.logical_date)
        neighbours = [
            midnight(day_of_run + sign * timedelta(days=n)) for sign in (1, -1) for n in range(1, _NEIGHBOUR_DAYS + 1)
        ]
        # Nearly always the answer for the last run, with one request.
        if not self._has_unfinished_claim(context, neighbours):
            return None
        for day in neighbours:
            # A run that was stopped by hand can leave a `claim` without a state, so the run must be active as well.
            if self._has_unfinished_claim(context, [day]) and _has_active_run(context, day):
                return day_of(day)
        return None

    def _has_unfinished_claim(self, context: Context, days: list[datetime]) -> bool:
        count = context["ti"].get_ti_count(
            dag_id=context["dag_run"].dag_id, task_ids=[self.task_id], logical_dates=days, states=_UNFINISHED
        )
        return bool(count)

    def _report(self, context: Context, pending: lease.Claim, failed: set[str]) -> None:
        """Log what a run that is no dry run would do."""
        self.log.info("DRY RUN: nothing was changed. Not published before this run: %s", pending)
        for source, task_id in self.extract_task_ids.items():
            figures = context["ti"].xcom_pull(task_ids=task_id)
            if source in failed:
                self.log.info("DRY RUN: %s could not be read", source)
            elif figures:
                self.log.info(
                    "DRY RUN: %s would load %s, leave %s unchanged, quarantine %s, remove %s, and rebuild %s days",
                    source,
                    f"{figures['rows_loaded']:,}",
                    f"{figures['rows_unchanged']:,}",
                    f"{figures['rows_quarantined']:,}",
                    f"{figures['rows_removed']:,}",
                    f"{figures['days_marked']:,}",
                )


def _request(context: Context) -> Request:
    try:
        return request_of(context)
    except WindowError as error:
        raise AirflowFailException(str(error)) from error


def _xcom_value(claim: lease.Claim, exclusions: lease.Exclusions) -> dict[str, Any]:
    return {
        "days": {source: [str(day) for day in days] for source, days in claim.days.items()},
        "is_build_needed": claim.is_build_needed,
        "excluded_models": sorted(exclusions.models),
    }


def _has_active_run(context: Context, day: datetime) -> bool:
    count = context["ti"].get_dr_count(
        dag_id=context["dag_run"].dag_id,
        logical_dates=[day],
        states=[state.value for state in State.unfinished_dr_states],
    )
    return bool(count)
