"""What the DAG files share: the defaults of every task."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ecommerce.callbacks import note_failure

OWNER = "data-platform"

DEFAULT_ARGS: dict[str, Any] = {
    "owner": OWNER,
    "retries": 1,
    "retry_delay": timedelta(seconds=10),
    "execution_timeout": timedelta(hours=2),
    "on_failure_callback": note_failure,
}

#: One slot: of the runs that want to build, one waits at a time, and the others take no worker while they queue.
CLAIM_POOL = "warehouse_claim"
