"""Airflow forgets whom a run has erased, in its form and in the audit log."""

from collections.abc import Iterator

import pytest
from airflow.models.base import Base
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.plugins_manager import AirflowPlugin
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from ecommerce.common.personal_data import ERASE_DAG
from ecommerce.erase.run_conf import FORGOTTEN, ForgetCustomer
from warehouse_plugin import WarehousePlugin


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine, tables=[Log.__table__])
    with Session(engine) as session:
        yield session


def test_ended_run_keeps_no_customer(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = '{"conf": {"customer": "CUST001"}}'
    session.add_all([Log(event="trigger_dag_run", dag_id=dag, extra=extra) for dag in (ERASE_DAG, "another")])
    session.flush()
    monkeypatch.setattr("sqlalchemy.orm.object_session", lambda run: session)
    run = DagRun(dag_id=ERASE_DAG, run_id="a", conf={"customer": "CUST001", "dry_run": False})
    another = DagRun(dag_id="another", run_id="b", conf={"customer": "CUST001"})
    for hook in (ForgetCustomer().on_dag_run_success, ForgetCustomer().on_dag_run_failed):
        hook(run, "")
        hook(another, "")
    assert run.conf == {"customer": FORGOTTEN, "dry_run": False}
    assert another.conf == {"customer": "CUST001"}
    assert {row.dag_id: row.extra for row in session.query(Log)} == {ERASE_DAG: None, "another": extra}


def test_plugin_registers_the_listener() -> None:
    assert issubclass(WarehousePlugin, AirflowPlugin)
    assert any(isinstance(listener, ForgetCustomer) for listener in WarehousePlugin.listeners)
