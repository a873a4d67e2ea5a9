"""What the DAG files share: the defaults of every task."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ecommerce.alerts.task_callbacks import alert_failure, alert_recovery
from ecommerce.common.run_notes import note_failure

OWNER = "data-platform"

DEFAULT_ARGS: dict[str, Any] = {
    "owner": OWNER,
    "retries": 1,
    "retry_delay": timedelta(seconds=10),
    "execution_timeout": timedelta(hours=2),
    "on_failure_callback": [note_failure, alert_failure],
}

#: Of DAGs whose tasks all end in a worker, where it costs a query to say that one is well again.
ALONE_ARGS: dict[str, Any] = {**DEFAULT_ARGS, "on_success_callback": alert_recovery}

#: One slot: of the runs that want to build, one waits at a time, and the others take no worker while they queue.
CLAIM_POOL = "warehouse_claim"
