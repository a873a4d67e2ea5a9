"""Default arguments and pools that the DAG files share."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum

from ecommerce.alerts.task_callbacks import alert_failure, alert_recovery
from ecommerce.common.run_notes import note_failure, note_own_repair
from ecommerce.common.shop import shop

OWNER = "data-platform"

DEFAULT_ARGS: dict[str, Any] = {
    "owner": OWNER,
    "retries": 1,
    "retry_delay": timedelta(seconds=10),
    "execution_timeout": timedelta(hours=2),
    "on_failure_callback": [note_failure, alert_failure],
}

#: For DAGs whose tasks all run in a worker: a success closes the task's alert, which costs a query for each task.
ALONE_ARGS: dict[str, Any] = {**DEFAULT_ARGS, "on_success_callback": [alert_recovery, note_own_repair]}

#: A pool with one slot: only one run at a time waits for the lease in a worker; the others queue without one.
CLAIM_POOL = "warehouse_claim"


def started_by_hand() -> dict[str, Any]:
    """The settings of a DAG that a person starts, one run at a time. A function, since they read the shop's profile."""
    return {
        "schedule": None,
        "is_paused_upon_creation": False,
        "start_date": pendulum.datetime(2010, 1, 1, tz=shop().time_zone),
        "catchup": False,
        "max_active_runs": 1,
        "default_args": ALONE_ARGS,
    }
