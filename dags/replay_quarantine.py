"""
### Replay the quarantine

Validates rejected rows again, and loads those that pass now: after a row was corrected at its source, a message was
corrected in `ops.quarantine.corrected`, or a rule was relaxed. Rows that are loaded are marked as replayed; rows that
are rejected again stay in quarantine, with the new reason. The next run of `ecommerce_warehouse` rebuilds the days that
changed.

Choose the *Source*, and perhaps one *Batch* (`ops.load_batch`) or a text in the *Reason*. For a table or an API, the
windows of the chosen rows are read again; for the topic, the messages in quarantine.
"""

from airflow.sdk import Param, dag

from ecommerce.common.shop import shop
from ecommerce.common.windows import window_params
from ecommerce.dag_defaults import started_by_hand
from ecommerce.load.replay_quarantine import ReplayQuarantine

PARAMS = {
    "source": Param(next(iter(shop().sources)), type="string", enum=list(shop().sources), title="Source"),
    "batch": Param(
        None,
        type=["null", "integer"],
        title="Batch",
        description="Only rows that this load rejected (`ops.load_batch.batch_id`). Empty: all rows in quarantine.",
    ),
    "reason": Param(
        None,
        type=["null", "string"],
        title="Reason",
        description="Only rows with this text in the reason, e.g. `is negative`. Empty: all rows in quarantine.",
    ),
    "dry_run": window_params()["dry_run"],
}


@dag(
    **started_by_hand(),
    params=PARAMS,
    doc_md=__doc__,
    tags=["ecommerce", "quarantine"],
)
def replay_quarantine() -> None:
    ReplayQuarantine(task_id="replay")


replay_quarantine()
