"""
### Ecommerce warehouse

Extract every source of the shop for one window, rebuild the days that changed, check the result and publish it.

**By hand**: *Trigger*, with the first and the last day (of the shop's time zone, both inclusive); empty means
yesterday. A range is one run. *Dry run* reports what would be loaded and rebuilt. *Full refresh* rebuilds every model
from raw.
**By schedule**: daily, for the day that has just ended. **Backfill**: Airflow's own, one run a day.

If the build or a check fails, nothing is published: readers keep the last good marts, and the next run builds the days
of this one as well. If a source cannot be loaded, the run fails, but everything that does not depend on that source is
built and published.
"""

import pendulum
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import CronDataIntervalTimetable, TaskGroup, chain, dag, get_parsing_context

from ecommerce.alerts.task_callbacks import deadline_alert, settle_checks, settle_failed_run, settle_run
from ecommerce.audit.checks_file import read_checks
from ecommerce.audit.quality_check import QualityCheck
from ecommerce.build.claim_dirty_dates import ClaimDirtyDates
from ecommerce.build.warehouse_group import BUILD_GROUP, WATCHED_BUILD, warehouse_group
from ecommerce.common.open_questions import QUALITY_GROUP
from ecommerce.common.run_notes import note_repair
from ecommerce.common.shop import shop
from ecommerce.common.windows import warehouse_params
from ecommerce.dag_defaults import CLAIM_POOL, DEFAULT_ARGS
from ecommerce.extract.resolve_window import ResolveWindow
from ecommerce.load.extract_source import ExtractSource
from ecommerce.publish.preview import preview_publication
from ecommerce.publish.refresh_marts import RefreshMarts
from ecommerce.telemetry.lineage_hooks import build_hook, load_hooks


@dag(
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone=shop().time_zone),
    start_date=pendulum.datetime(2010, 1, 1, tz=shop().time_zone),
    catchup=False,
    max_active_runs=4,
    params=warehouse_params(),
    default_args=DEFAULT_ARGS,
    on_failure_callback=settle_failed_run,
    deadline=deadline_alert(),
    doc_md=__doc__,
    tags=["ecommerce", "warehouse"],
)
def ecommerce_warehouse() -> None:
    window = ResolveWindow(task_id="window")
    checks = read_checks().checks

    with TaskGroup("extract") as extract:
        extracts = {
            source: ExtractSource(task_id=source, source=source, **load_hooks(DEFAULT_ARGS))
            for source in shop().sources
        }

    # `all_done`: a source that the run does not read is skipped, and one that failed must not stop the others.
    claim = ClaimDirtyDates(
        task_id="claim",
        extract_task_ids={source: task.task_id for source, task in extracts.items()},
        build_group_id=BUILD_GROUP,
        need_build_task_ids=[
            *(f"quality.{name}" for name, check in checks.items() if check.checks_the_build),
            "refresh_marts",
        ],
        pool=CLAIM_POOL,
        trigger_rule="all_done",
    )
    # A failed leaf fails the run: it must not be green without every source. An empty task needs no worker.
    all_sources_loaded = EmptyOperator(task_id="all_sources_loaded", trigger_rule="none_failed")

    # Each task's process parses this file. One that runs a task before the build does not need the tasks of the build,
    # and making them takes most of the parse.
    tasks_before_build = {window.task_id, *(task.task_id for task in extracts.values())}
    build: TaskGroup | EmptyOperator
    if get_parsing_context().task_id in tasks_before_build:
        build = EmptyOperator(task_id=BUILD_GROUP)
    else:
        build = warehouse_group(exclude=claim.excluded_models, post_execute=build_hook())

    # Checks of the loads run beside the build, checks of the build after it, also if the build was skipped.
    with TaskGroup(QUALITY_GROUP) as quality:
        for name, check in checks.items():
            task = QualityCheck(
                task_id=name,
                check_name=name,
                window_task_id=window.task_id,
                build_task_id=WATCHED_BUILD if check.follows_the_build else None,
                preview=preview_publication,
                on_question=settle_checks,
            )
            chain(build if check.follows_the_build else claim, task)

    # `none_failed`: the build is skipped if nothing changed, and models of a failed source are skipped.
    refresh_marts = RefreshMarts(
        task_id="refresh_marts",
        trigger_rule="none_failed",
        on_success_callback=[settle_run, note_repair],
        on_skipped_callback=[settle_run, note_repair],
    )

    chain(window, extract, claim, build, refresh_marts)
    chain(quality, refresh_marts)
    chain(extract, all_sources_loaded)


ecommerce_warehouse()
