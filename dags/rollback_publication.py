"""
### Roll back a publication

Restores every mart to the state after an earlier publication. Readers see the change at once, as with any publication.
Only the last publications can be restored (`ECOMMERCE_KEPT_PUBLICATIONS`, 7); `ops.publication` lists them.

A rollback is a publication itself, so it can be rolled back in the same way. The next run of `ecommerce_warehouse`
builds and publishes again: pause that DAG until the cause is fixed.
"""

from airflow.sdk import Param, dag

from ecommerce.dag_defaults import CLAIM_POOL, started_by_hand
from ecommerce.publish.rollback_publication import RollbackPublication

PARAMS = {
    "publication_id": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="Publication",
        description="Restore all marts to the state after this publication. Later changes are undone. "
        "Empty: the one before the last.",
    ),
}


@dag(
    **started_by_hand(),
    params=PARAMS,
    doc_md=__doc__,
    tags=["ecommerce", "warehouse"],
)
def rollback_publication() -> None:
    RollbackPublication(task_id="roll_back", pool=CLAIM_POOL)


rollback_publication()
