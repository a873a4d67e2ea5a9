"""
### Roll back a publication

Puts every mart back to what an earlier publication had left, in one step that readers see as any other publication.
The last publications can be reached (`ECOMMERCE_KEPT_PUBLICATIONS`, 7); which there are: `ops.publication`.

It is a publication itself, so it can be undone in the same way. The next run of `ecommerce_warehouse` builds and
publishes again: pause that DAG until the cause is mended.
"""

import pendulum
from airflow.sdk import Param, dag

from ecommerce.dag_defaults import ALONE_ARGS, CLAIM_POOL
from ecommerce.publish.rollback_publication import RollbackPublication

PARAMS = {
    "publication_id": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="Publication",
        description="The marts become what this publication had left. Empty: the one before the last.",
    ),
}


@dag(
    schedule=None,
    start_date=pendulum.datetime(2010, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    default_args=ALONE_ARGS,
    doc_md=__doc__,
    tags=["ecommerce", "warehouse"],
)
def rollback_publication() -> None:
    RollbackPublication(task_id="roll_back", pool=CLAIM_POOL)


rollback_publication()
