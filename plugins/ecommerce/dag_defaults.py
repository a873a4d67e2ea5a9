"""Default arguments and pools that the DAG files share."""

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

#: For DAGs whose tasks all run in a worker: a success closes the task's alert, which costs a query for each task.
ALONE_ARGS: dict[str, Any] = {**DEFAULT_ARGS, "on_success_callback": alert_recovery}

#: A pool with one slot: only one run at a time waits for the lease in a worker; the others queue without one.
CLAIM_POOL = "warehouse_claim"
