"""Wait for the right to build, then claim every day that must be rebuilt; a backfill leaves that to its last run."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.bases.skipmixin import SkipMixin
from airflow.sdk.exceptions import AirflowFailException

from dbt_triggerer import nodes_of
from ecommerce.build import lease
from ecommerce.build.dbt_project import project_digest
from ecommerce.build.excluded_models import exclusions_for, nodes_of_models
from ecommerce.build.other_runs import is_in_the_way
from ecommerce.common.connections import LOADER, warehouse
from ecommerce.common.errors import WindowError
from ecommerce.common.run_notes import add_note
from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import request_of

if TYPE_CHECKING:
    from airflow.sdk import Context


#: States of an extract that has not loaded its source.
FAILED = ("failed", "upstream_failed", "removed")

#: XCom: names of the models that are left out, separated by blanks. Of its own, since skipping ends the task before it
#: can return anything.
LEFT_OUT = "left_out"

#: States of a `claim` that is still to be decided. Airflow's API calls a task's lack of a state `null`.
UNDECIDED = ["null", "scheduled", "queued", "running", "up_for_retry", "up_for_reschedule", "restarting"]

#: How far a backfill's run looks for others of it, in days to both sides. Runs start in the order of their days, so
#: this must only be more than the runs that are active at once.
NEIGHBOURS = 32


class ClaimDirtyDates(BaseSensorOperator, SkipMixin):
    """
    Take the lease of the build and all marks that are not published yet, also those of runs that failed.

    Waits while another run builds. Where nothing has changed since the last publication, the build is skipped and
    what is there is audited again. A dry run reports what would be rebuilt and skips everything after it.

    A source that could not be loaded does not stop the others: the models that depend on it are skipped with their
    tests, and stay out of the audit and of the publication.

    A run of a backfill hands over: while other runs of it have yet to come to their `claim`, it skips the build and
    the publication, and its marks wait for the last of them. The pool of one slot decides them one after the other,
    so that two runs cannot hand over to each other.

    :param extract_task_ids: the extract tasks by source, all of which have ended; a dry run reports their figures
    :param build_group_id: the task group that builds
    :param need_build_task_ids: tasks after that group that have nothing to do in a run that builds nothing
    :param warehouse_conn_id: the Postgres that holds ``ops``
    :raises AirflowFailException: not one of the run's sources could be loaded
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
    def models_left_out(self) -> str:
        """A template: names of the models that are not to be built, separated by blanks."""
        return f"{{{{ ti.xcom_pull(task_ids='{self.task_id}', key='{LEFT_OUT}') or '' }}}}"

    def poke(self, context: Context) -> PokeReturnValue:
        """Whether the lease was taken; the days to rebuild, by source."""
        run = context["dag_run"]
        failed = self._failed_sources(context)
        try:
            request = request_of(context)
        except WindowError as error:
            raise AirflowFailException(str(error)) from error
        if failed >= request.sources:
            raise AirflowFailException(f"{', '.join(sorted(failed))} could not be loaded: there is nothing to build")
        without = exclusions_for(failed)
        with warehouse(self.warehouse_conn_id) as connection:
            if request.dry_run:
                self._report(context, lease.pending(connection), failed)
                return PokeReturnValue(is_done=True)
            if successor := self._successor(context):
                return PokeReturnValue(is_done=True, xcom_value={"handed_over_to": str(successor)})
            held_by = lease.holder(connection)
            if held_by and held_by[1] != run.run_id:
                if is_in_the_way(context, connection, *held_by):
                    self.log.info("run %s of %s builds now; waiting for it", held_by[1], held_by[0])
                    return PokeReturnValue(is_done=False)
                self.log.warning("run %s of %s has not published; its days are claimed along", *held_by[::-1])
            claim = lease.take(
                connection,
                run.dag_id,
                run.run_id,
                project=project_digest(),
                full_refresh=request.full_refresh,
                left_out=without,
                over=held_by[1] if held_by else None,
            )
        if claim is None:
            return PokeReturnValue(is_done=False)
        self.log.info("%s%s", claim, "; full refresh: every model is rebuilt whole" if claim.is_full_refresh else "")
        days = {source: [str(day) for day in days] for source, days in claim.days.items()}
        if failed:
            self.log.warning("%s", without)
            add_note(context, str(without))
        return PokeReturnValue(
            is_done=True,
            xcom_value={
                "days": days,
                "is_build_needed": claim.is_build_needed,
                "left_out": sorted(without.models),
            },
        )

    def execute(self, context: Context) -> Any:
        """As a sensor does, then skip what is not needed."""
        claimed = super().execute(context)
        after = self.get_flat_relatives(upstream=False)
        if request_of(context).dry_run:
            self.skip(context["ti"], after)
            return claimed
        build = [task for task in after if task.task_id.startswith(f"{self.build_group_id}.")]
        if "handed_over_to" in claimed:
            self.log.info(
                "the run of %s and maybe others of this backfill come later; the last of them builds for all",
                claimed["handed_over_to"],
            )
            # What checks or publishes a build has none here; the other checks are about this run's own window.
            need_a_build = [task for task in after if task.task_id in self.need_build_task_ids]
            self.skip(context["ti"], [*build, *need_a_build])
        elif not claimed["is_build_needed"]:
            self.log.info("nothing has changed since the last publication; the build is skipped")
            self.skip(context["ti"], build)
        elif claimed["left_out"]:
            context["ti"].xcom_push(key=LEFT_OUT, value=" ".join(claimed["left_out"]))
            nodes = nodes_of_models(claimed["left_out"])
            self.skip(context["ti"], [task for task in build if not nodes.isdisjoint(nodes_of(task))])
        return claimed

    def _failed_sources(self, context: Context) -> set[str]:
        """Sources whose extract has failed, or never began since the run's window was refused."""
        ti = context["ti"]
        states = ti.get_task_states(
            dag_id=ti.dag_id, task_ids=list(self.extract_task_ids.values()), run_ids=[ti.run_id]
        ).get(ti.run_id, {})
        return {source for source, task_id in self.extract_task_ids.items() if states.get(task_id) in FAILED}

    def _successor(self, context: Context) -> date | None:
        """The day of a run that comes to this task after this one, if this one is of a backfill."""
        run, ti = context["dag_run"], context["ti"]
        if run.run_type != "backfill" or run.logical_date is None or request_of(context).full_refresh:
            return None

        def undecided(days: list[datetime]) -> int:
            return ti.get_ti_count(
                dag_id=run.dag_id, task_ids=[self.task_id], logical_dates=days, states=UNDECIDED
            )  # fmt: skip

        near = [run.logical_date + sign * timedelta(days=n) for sign in (1, -1) for n in range(1, NEIGHBOURS + 1)]
        if not undecided(near):
            return None
        for day in near:
            # A run that was stopped by hand may leave a task without a state.
            if undecided([day]) and ti.get_dr_count(
                dag_id=run.dag_id, logical_dates=[day], states=["running", "queued"]
            ):
                return day.date()
        return None

    def _report(self, context: Context, pending: lease.Claim, failed: set[str]) -> None:
        self.log.info("DRY RUN, nothing was changed. Marked before this run: %s", pending)
        for source in SOURCES:
            figures = context["ti"].xcom_pull(task_ids=self.extract_task_ids[source])
            if source in failed:
                self.log.info("%s: could not be read", source)
            elif figures:
                self.log.info(
                    "%s: would load %s, leave %s unchanged, quarantine %s, remove %s, and rebuild %s days",
                    source,
                    f"{figures['rows_loaded']:,}",
                    f"{figures['rows_unchanged']:,}",
                    f"{figures['rows_quarantined']:,}",
                    f"{figures['rows_removed']:,}",
                    f"{figures['days_marked']:,}",
                )
