"""What Airflow says of other runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import Context


def is_alive(context: Context, dag_id: str, run_id: str) -> bool:
    """Whether a run has yet to end; a deleted one counts as ended."""
    return bool(context["ti"].get_dr_count(dag_id=dag_id, run_ids=[run_id], states=["running", "queued"]))
