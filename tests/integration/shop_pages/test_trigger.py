"""The trigger form and the start of a run, in Airflow's own database: no run is left to wait at a paused DAG."""

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from airflow import settings as airflow_settings
from airflow.dag_processing.dagbag import DagBag
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.utils.db import synchronize_log_template
from airflow.utils.session import create_session
from fastapi.testclient import TestClient
from sqlalchemy import delete, inspect, select

from include.demo.state import ROOT
from shop_pages import access
from shop_pages.airflow_access import DagAccessEntity, is_allowed
from tests.integration.shop_pages.conftest import client_of

REPLAY, ROLLBACK, ERASE = "replay_quarantine", "rollback_publication", "erase_customer"
WHO_MAY = "Whoever may edit the DAG can unpause it, with the switch on its page in Airflow."


@pytest.fixture(scope="module")
def known_dags() -> Iterator[None]:
    """Airflow knows the DAGs of three forms; afterwards its database is as before."""
    import_all_models()
    before = set(inspect(airflow_settings.engine).get_table_names())
    Base.metadata.create_all(airflow_settings.engine)
    with create_session(scoped=False) as session:
        # A run refers to one of these.
        synchronize_log_template(session=session)
        session.add(DagBundleModel(name="dags-folder"))
        session.flush()
        for name in (REPLAY, ROLLBACK, ERASE):
            dag = DagBag(ROOT / "dags" / f"{name}.py", load_op_links=False).dags[name]
            SerializedDAG.bulk_write_to_db("dags-folder", None, [dag], session=session)
            SerializedDagModel.write_dag(LazyDeserializedDAG.from_dag(dag), "dags-folder", session=session)
    yield
    created = [table for table in Base.metadata.sorted_tables if table.name not in before]
    Base.metadata.drop_all(airflow_settings.engine, tables=created)


@pytest.fixture
def user(known_dags: None, tokens: dict[str, str]) -> Iterator[TestClient]:
    """A user who may start runs and edit DAGs; these DAGs are paused, and have no run."""
    with create_session(scoped=False) as session:
        session.execute(delete(DagRun))
        for model in session.scalars(select(DagModel)):
            model.is_paused = True
    with client_of(tokens["user"]) as client:
        yield client


@pytest.fixture
def no_editor(user: TestClient, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """The same user, who may start runs, but not edit DAGs."""

    def is_allowed_but_to_edit(user, method, dag_id: str, entity: DagAccessEntity | None = None) -> bool:
        return not (method == "PUT" and entity is None) and is_allowed(user, method, dag_id, entity)

    monkeypatch.setattr(access, "is_allowed", is_allowed_but_to_edit)
    return user


def set_paused(dag_id: str, is_paused: bool) -> None:
    with create_session(scoped=False) as session:
        model = session.get(DagModel, dag_id)
        assert model is not None
        model.is_paused = is_paused


def is_paused(dag_id: str) -> bool:
    with create_session(scoped=False) as session:
        model = session.get(DagModel, dag_id)
        assert model is not None
        return bool(model.is_paused)


def runs_of(dag_id: str) -> list[tuple[str, str, Any]]:
    with create_session(scoped=False) as session:
        query = select(DagRun.run_id, DagRun.triggering_user_name, DagRun.conf).where(DagRun.dag_id == dag_id)
        return [(str(run_id), str(name), conf) for run_id, name, conf in session.execute(query)]


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", "", html)).split())


@pytest.mark.parametrize(
    ("dag_id", "values"), [(REPLAY, {"source": "sales_fact"}), (ROLLBACK, {"publication_id": "3"})]
)
def test_run_of_a_paused_dag_unpauses_it_and_the_pages_say_so(
    user: TestClient, dag_id: str, values: dict[str, str]
) -> None:
    form = user.get(f"/trigger/{dag_id}")
    assert "This DAG is paused. Starting a run unpauses it; its schedule, if it has one, goes on." in text_of(form.text)
    assert is_paused(dag_id), "to look at the form changes nothing"

    answer = user.post(f"/trigger/{dag_id}", data=values)
    assert answer.status_code == 303, answer.text
    assert not is_paused(dag_id)
    ((run_id, name, conf),) = runs_of(dag_id)
    assert (name, str((conf or {})[next(iter(values))])) == ("user", next(iter(values.values())))
    started = text_of(user.get(answer.headers["location"]).text)
    assert run_id in started
    assert "The DAG was paused, and is unpaused now; its schedule, if it has one, goes on." in started


@pytest.mark.parametrize("dag_id", [REPLAY, ROLLBACK])
def test_run_of_a_paused_dag_is_refused_to_a_user_who_may_not_unpause_it(no_editor: TestClient, dag_id: str) -> None:
    form = no_editor.get(f"/trigger/{dag_id}")
    answer = no_editor.post(f"/trigger/{dag_id}", data={"source": "sales_fact"})
    assert (form.status_code, answer.status_code) == (200, 409)
    for response in (form, answer):
        assert "This DAG is paused, and you may not unpause it" in text_of(response.text)
        assert WHO_MAY in text_of(response.text)
        assert f'/dags/{dag_id}">its page in Airflow</a>' in response.text
        assert re.search(r'<button type="submit"[^>]* disabled>', response.text)
    assert is_paused(dag_id)
    assert runs_of(dag_id) == []


def test_user_who_may_not_unpause_starts_a_run_of_a_dag_that_is_not_paused(no_editor: TestClient) -> None:
    set_paused(ROLLBACK, False)
    form = no_editor.get(f"/trigger/{ROLLBACK}")
    assert "paused" not in text_of(form.text)
    assert " disabled" not in form.text
    answer = no_editor.post(f"/trigger/{ROLLBACK}", data={})
    assert answer.status_code == 303, answer.text
    assert len(runs_of(ROLLBACK)) == 1
    assert "paused" not in text_of(no_editor.get(answer.headers["location"]).text)


def test_dag_whose_run_airflow_rejects_stays_paused(user: TestClient) -> None:
    answer = user.post(f"/trigger/{ROLLBACK}", data={"publication_id": "0"})
    assert answer.status_code == 400
    assert "0 is less than the minimum of 1" in text_of(answer.text)
    assert is_paused(ROLLBACK)
    assert runs_of(ROLLBACK) == []


def test_only_an_administrator_erases_a_customer(user: TestClient, tokens: dict[str, str]) -> None:
    entries = {"customer": "CUST001", "dry_run": "on"}
    refused = user.post(f"/trigger/{ERASE}", data=entries)
    assert (refused.status_code, runs_of(ERASE)) == (403, [])
    with client_of(tokens["admin"]) as admin:
        from_another_site = admin.post(
            f"/trigger/{ERASE}", data=entries, headers={"Authorization": "", "Sec-Fetch-Site": "cross-site"}
        )
        assert from_another_site.status_code in (401, 403)
        assert admin.post(f"/trigger/{ERASE}", data=entries).status_code == 303
    ((_, name, conf),) = runs_of(ERASE)
    assert (name, conf) == ("admin", {"customer": "CUST001", "dry_run": True})
