"""
### Prune the warehouse

Deletes what the warehouse has recorded about itself and nothing reads any more: results of checks, rejected rows that
were replayed, loads that changed nothing, closed incidents, logs of tasks. `include/retention.yml` says after how many
days, and when this DAG runs by itself; by default it only runs when a person starts it. See *docs/retention.md*.

What a rebuild, a rollback, a replay or an erasure needs stays, whatever its age. Loads and builds go on meanwhile: it
deletes in small steps. What is gone stands in `ops.pruning`. A dry run, the form's default unless there is a schedule,
only counts rows and bytes.
"""

from airflow.sdk import CronDataIntervalTimetable, Param, dag

from ecommerce.common.shop import shop
from ecommerce.dag_defaults import started_by_hand
from ecommerce.prune.prune_warehouse import PruneWarehouse
from ecommerce.prune.retention_file import read_retention

SCHEDULE = read_retention().schedule

PARAMS = {
    "dry_run": Param(
        # A run by schedule has no form, and is to delete.
        SCHEDULE is None,
        type="boolean",
        title="Dry run",
        description="Only list what would be deleted. Nothing is changed.",
    ),
}


@dag(
    # With a schedule it is not paused either: whoever has set one wants it to run.
    **started_by_hand() | {"schedule": SCHEDULE and CronDataIntervalTimetable(SCHEDULE, timezone=shop().time_zone)},
    params=PARAMS,
    doc_md=__doc__,
    tags=["ecommerce", "maintenance"],
)
def prune_warehouse() -> None:
    PruneWarehouse(task_id="prune")


prune_warehouse()
