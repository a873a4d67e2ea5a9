"""Wait for the run that holds the lease of the build: for every task that must not run beside a build."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow.utils.state import State

from ecommerce.build import lease

if TYPE_CHECKING:
    from airflow.sdk import Context
    from psycopg import Connection

log = logging.getLogger(__name__)


def must_wait_for(context: Context, connection: Connection, holder: lease.Holder | None) -> bool:
    """Whether this run has to wait for another one that holds the lease."""
    run = context["dag_run"]
    if holder is None or holder == (run.dag_id, run.run_id):
        return False
    if not is_in_the_way(context, connection, *holder):
        return False
    log.info("%s is building, verifying or publishing; waiting for it", holder)
    return True


def is_in_the_way(context: Context, connection: Connection, dag_id: str, run_id: str) -> bool:
    """
    Whether the run that holds the lease is still at work.

    Not if it has ended or was deleted, nor while it waits for a person, which may take days.
    """
    if lease.awaits_decision(connection):
        return False
    unfinished = [state.value for state in State.unfinished_dr_states]
    return bool(context["ti"].get_dr_count(dag_id=dag_id, run_ids=[run_id], states=unfinished))
