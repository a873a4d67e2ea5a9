"""
### Verify the warehouse

Does the warehouse still follow from raw? Builds all marts and dimensions, and the facts of a sample of days, a second
time in other schemas, and compares them row by row. Weekly, with other days each time; by hand with *Days*, *Seed* or
*Full*. No run builds meanwhile.

Fails if rows differ, and names their keys and the run that wrote them (also in `ops.check_result`, check `drift`).
**To repair**: trigger `ecommerce_warehouse` with *Full refresh*, which rebuilds everything from raw.
"""

import pendulum
from airflow.sdk import CronDataIntervalTimetable, Param, dag

from ecommerce.common.shop import shop
from ecommerce.dag_defaults import ALONE_ARGS, CLAIM_POOL
from ecommerce.verify.verify_warehouse import VerifyWarehouse

PARAMS = {
    "days": Param(
        7, type="integer", minimum=1, title="Days", description="How many days of the facts are built again."
    ),
    "seed": Param(
        None,
        type=["null", "integer"],
        title="Seed",
        description="The same seed draws the same days. Empty: other days on each day it runs.",
    ),
    "full": Param(False, type="boolean", title="Full", description="Build every day of the facts, not a sample."),
}


@dag(
    schedule=CronDataIntervalTimetable("0 6 * * 0", timezone=shop().time_zone),
    start_date=pendulum.datetime(2010, 1, 1, tz=shop().time_zone),
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
