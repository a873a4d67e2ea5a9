"""
Whom a run was to erase is not kept by Airflow, either: neither in the run's form nor in the audit log.

A task cannot change its own run. Airflow's scheduler tells listeners when a run has ended, in the session with which it
stores the run's state; the plugin `plugins/warehouse_plugin.py` registers this one.
"""

from __future__ import annotations

from typing import Any

from airflow.listeners import hookimpl

from ecommerce.common.personal_data import ERASE_DAG

#: What stands in the form of a run afterwards.
FORGOTTEN = "(not kept)"


class ForgetCustomer:
    """An Airflow listener: when a run of `erase_customer` has ended, in whatever state, its form loses the customer."""

    @hookimpl
    def on_dag_run_success(self, dag_run: Any, msg: str) -> None:
        """Called by Airflow."""
        forget_customer(dag_run)

    @hookimpl
    def on_dag_run_failed(self, dag_run: Any, msg: str) -> None:
        """Called by Airflow."""
        forget_customer(dag_run)


def forget_customer(dag_run: Any) -> None:
    """Replace the customer in the form of a run, and in what Airflow's audit log has of requests to start such runs."""
    if dag_run.dag_id != ERASE_DAG:
        return
    from airflow.models.log import Log
    from sqlalchemy import update
    from sqlalchemy.orm import object_session

    dag_run.conf = {**(dag_run.conf or {}), "customer": FORGOTTEN}
    if (session := object_session(dag_run)) is not None:
        session.execute(update(Log).where(Log.dag_id == ERASE_DAG, Log.extra.is_not(None)).values(extra=None))
