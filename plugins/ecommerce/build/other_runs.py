"""What Airflow says of other runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ecommerce.build import lease

if TYPE_CHECKING:
    from airflow.sdk import Context
    from psycopg import Connection


def is_in_the_way(context: Context, connection: Connection, dag_id: str, run_id: str) -> bool:
    """
    Whether the run that holds the lease is to be waited for.

    Not if it has ended (a deleted one counts as ended), nor while it waits for a person: nobody knows how long.
    """
    if lease.awaits_decision(connection):
        return False
    return bool(context["ti"].get_dr_count(dag_id=dag_id, run_ids=[run_id], states=["running", "queued"]))
