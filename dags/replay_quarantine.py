"""
### Replay the quarantine

Judge refused rows once more, by the rules of now, and land those that are good: after a row was corrected at its
source, a message in `ops.quarantine.corrected`, or a rule was relaxed. What lands is marked as replayed, once; what is
refused still stays, with the newer reason. The next run of `ecommerce_warehouse` builds the days that changed.

Choose the *Source*, and perhaps one *Batch* (`ops.load_batch`) or a text that stands in the *Reason*. Of a table or an
API the windows of the chosen rows are read again; of the topic the messages that were put aside.
"""

import pendulum
from airflow.sdk import Param, dag

from ecommerce.common.sources import SOURCES
from ecommerce.common.windows import window_params
from ecommerce.dag_defaults import ALONE_ARGS
from ecommerce.load.replay_quarantine import ReplayQuarantine

PARAMS = {
    "source": Param(next(iter(SOURCES)), type="string", enum=list(SOURCES), title="Source"),
    "batch": Param(
        None,
        type=["null", "integer"],
        title="Batch",
        description="Only what this load refused (`ops.load_batch.batch_id`). Empty: all that waits.",
    ),
    "reason": Param(
        None,
        type=["null", "string"],
        title="Reason",
        description="Only what has this text in its reason, e.g. `is negative`. Empty: all that waits.",
    ),
    "dry_run": window_params()["dry_run"],
}


@dag(
    schedule=None,
    start_date=pendulum.datetime(2010, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    default_args=ALONE_ARGS,
    doc_md=__doc__,
    tags=["ecommerce", "quarantine"],
)
def replay_quarantine() -> None:
    ReplayQuarantine(task_id="replay")


replay_quarantine()
