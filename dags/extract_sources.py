"""
### Extract one source

The extract task of `ecommerce_warehouse` alone, for a window of your choice (days of the shop's time zone, both
inclusive; empty means yesterday). It loads `raw` and marks the days that changed as dirty; the next
`ecommerce_warehouse` run rebuilds them.
"""

import pendulum
from airflow.sdk import CronDataIntervalTimetable, dag

from ecommerce.common.shop import shop
from ecommerce.common.windows import window_params
from ecommerce.dag_defaults import ALONE_ARGS
from ecommerce.load.extract_source import ExtractSource
from ecommerce.telemetry.lineage_hooks import load_hooks

#: The others run once a day in `ecommerce_warehouse`; here they only run on demand.
SCHEDULES = {"kafka_stream": CronDataIntervalTimetable("*/15 * * * *", timezone=shop().time_zone)}


def extract_dag(source: str) -> None:
    """One DAG with one task."""

    @dag(
        dag_id=f"extract_{source}",
        schedule=SCHEDULES.get(source),
        # With a schedule, as Airflow's configuration says.
        is_paused_upon_creation=None if source in SCHEDULES else False,
        start_date=pendulum.datetime(2010, 1, 1, tz=shop().time_zone),
        catchup=False,
        max_active_runs=1,
        params=window_params(),
        default_args=ALONE_ARGS,
        doc_md=__doc__,
        tags=["ecommerce", "extract"],
    )
    def extract() -> None:
        ExtractSource(task_id="extract", source=source, **load_hooks(ALONE_ARGS))

    extract()


for name in shop().sources:
    extract_dag(name)
