"""
### Verify the warehouse

Is the warehouse still what its models make of raw? Builds all marts and dimensions, and the facts of a sample of days,
a second time beside those that are there, and compares row for row. Weekly, other days each time; by hand with
*Days*, *Seed* or *Full*.

Fails with the keys that differ and the run that wrote them (also in `ops.check_result`, check `drift`). **To repair**:
trigger `ecommerce_warehouse` with *Full refresh*, which rebuilds everything from raw. No run builds meanwhile.
"""

import pendulum
from airflow.sdk import CronDataIntervalTimetable, Param, dag

from ecommerce.dag_defaults import ALONE_ARGS, CLAIM_POOL
from ecommerce.verify.verify_warehouse import VerifyWarehouse

PARAMS = {
    "days": Param(7, type="integer", minimum=1, title="Days", description="So many days of the facts are built again."),
    "seed": Param(
        None,
        type=["null", "integer"],
        title="Seed",
        description="The same seed draws the same days. Empty: other days on each day it runs.",
    ),
    "full": Param(False, type="boolean", title="Full", description="Every day of the facts, not a sample."),
}


@dag(
    schedule=CronDataIntervalTimetable("0 6 * * 0", timezone="UTC"),
    start_date=pendulum.datetime(2010, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    default_args=ALONE_ARGS,
    doc_md=__doc__,
    tags=["ecommerce", "verify"],
)
def verify_warehouse() -> None:
    VerifyWarehouse(task_id="verify", pool=CLAIM_POOL)


verify_warehouse()
