"""
### Emit metrics

Sends the warehouse's gauges (rows, lag of each source, age of the last publication, checks, seconds of the steps of a
run) to where Airflow's own metrics go, every five minutes. There is no such DAG unless Airflow's configuration names a
backend for metrics; see `docs/telemetry.md`.
"""

from datetime import timedelta

import pendulum
from airflow.sdk import dag

from ecommerce.dag_defaults import ALONE_ARGS
from ecommerce.telemetry.gauges import is_on


def emit_metrics() -> None:
    """The DAG with its one task."""
    from ecommerce.telemetry.emit_metrics import EmitMetrics

    EmitMetrics(task_id="emit")


if is_on():
    dag(
        schedule="*/5 * * * *",
        # It only reads; whoever configures metrics wants it.
        is_paused_upon_creation=False,
        start_date=pendulum.datetime(2010, 1, 1, tz="UTC"),
        catchup=False,
        max_active_runs=1,
        # The next run measures again soon.
        default_args={**ALONE_ARGS, "retries": 0, "execution_timeout": timedelta(minutes=2)},
        doc_md=__doc__,
        tags=["ecommerce", "telemetry"],
    )(emit_metrics)()
