"""The trigger form and the start of a run, in Airflow's own database: no run is left to wait at a paused DAG."""

import asyncio
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from airflow import settings as airflow_settings
from airflow.dag_processing.dagbag import DagBag
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.dag import DagModel
from airflow.models.dagbag import DagPriorityParsingRequest
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.errors import ParseImportError
from airflow.models.serialized_dag import SerializedDagModel
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.utils.db import synchronize_log_template
from airflow.utils.session import create_session
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import delete, inspect, select, update

from include.demo.state import ROOT
from shop_pages import access, changed_files
from shop_pages.airflow_access import DagAccessEntity, dag_reading, is_allowed
from shop_pages.routes import trigger_pages
from shop_pages_plugin import ChangedFilesReader
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


# -- files that have changed -------------------------------------------------------------------------------------------


@pytest.fixture
def changed_profile(user: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile that has changed since Airflow read the DAGs; no test waits long."""
    profile = tmp_path / "shop.yml"
    profile.touch()
    monkeypatch.setattr(changed_files, "files_of_dag", lambda dag_id: [profile] if dag_id == REPLAY else [])
    monkeypatch.setattr(changed_files, "READ_FILES_POLL_SECONDS", 0.01)
    with create_session(scoped=False) as session:
        for model in session.scalars(select(DagModel)):
            model.last_parsed_time = datetime.now(UTC) - timedelta(hours=1)
        session.execute(update(SerializedDagModel).values(last_updated=datetime.now(UTC) - timedelta(hours=2)))
        session.execute(delete(DagPriorityParsingRequest))
        session.execute(delete(ParseImportError))
    return profile


def read_as_asked(error: str | None = None) -> int:
    """What the DAG processor does with requests to read a file; how many there were."""
    with create_session(scoped=False) as session:
        requests = list(session.scalars(select(DagPriorityParsingRequest)))
        for request in requests:
            session.delete(request)
            of_file = DagModel.relative_fileloc == request.relative_fileloc, DagModel.bundle_name == request.bundle_name
            for model in session.scalars(select(DagModel).where(*of_file)):
                if error is None:
                    model.last_parsed_time = datetime.now(UTC)
                else:
                    session.add(
                        ParseImportError(
                            timestamp=datetime.now(UTC),
                            filename=model.relative_fileloc,
                            bundle_name=model.bundle_name,
                            stacktrace=f"Traceback (most recent call last):\n{error}\n",
                        )
                    )
        return len(requests)


@pytest.fixture
def dag_processor(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """A DAG processor that reads a file as soon as it is asked to; the list has what it says of it."""
    says: list[str | None] = [None]
    ask = changed_files.ask_to_read

    def ask_and_read(dag_id: str) -> None:
        ask(dag_id)
        ask(dag_id)
        assert read_as_asked(says[0]) == 1, "two that ask at once ask once"

    monkeypatch.setattr(changed_files, "ask_to_read", ask_and_read)
    return says


@pytest.mark.usefixtures("changed_profile", "dag_processor")
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_changed_file_is_read_before_the_form_and_before_the_run(user: TestClient, method: str) -> None:
    answer = user.request(method, f"/trigger/{REPLAY}", data={"source": "sales_fact"})
    assert answer.status_code == (200 if method == "GET" else 303)
    assert len(runs_of(REPLAY)) == (method == "POST")
    with create_session(scoped=False) as session:
        model = session.get(DagModel, REPLAY)
        assert model is not None
        assert model.last_parsed_time is not None
        assert datetime.now(UTC) - model.last_parsed_time < timedelta(minutes=1)


@pytest.mark.usefixtures("changed_profile")
def test_run_is_refused_while_airflow_has_not_read_a_changed_file(
    user: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("READ_FILES_SECONDS", "FORM_READ_FILES_SECONDS"):
        monkeypatch.setattr(trigger_pages, name, 0.05)
    form = user.get(f"/trigger/{REPLAY}")
    answer = user.post(f"/trigger/{REPLAY}", data={"source": "customer", "reason": "price"})
    assert (form.status_code, answer.status_code, runs_of(REPLAY)) == (200, 409, [])
    for response in (form, answer):
        assert "shop.yml changed, and Airflow has not read the DAG again within" in text_of(response.text)
        assert "So no run is started. Start it again in half a minute" in text_of(response.text)
    assert '<option value="customer" selected>Customer</option>' in answer.text, "what was entered is still there"
    assert user.post(f"/trigger/{ROLLBACK}", data={}).status_code == 303, "a DAG that the file does not change"


@pytest.mark.usefixtures("changed_profile")
def test_run_is_refused_with_the_mistake_of_a_changed_file(user: TestClient, dag_processor: list[str | None]) -> None:
    dag_processor[0] = "ShopError: shop.yml, line 7: there is no source refunds"
    answer = user.post(f"/trigger/{REPLAY}", data={"source": "sales_fact"})
    assert (answer.status_code, runs_of(REPLAY)) == (409, [])
    assert "Airflow cannot read the DAG since: ShopError: shop.yml, line 7: there is no source refunds." in text_of(
        answer.text
    )


@pytest.mark.usefixtures("changed_profile", "dag_processor")
def test_reading_that_airflow_did_not_write_does_not_count(changed_profile: Path) -> None:
    """It writes a DAG at most every 30 s."""
    now = datetime.now(UTC)
    os.utime(changed_profile, (now.timestamp() - 10,) * 2)
    with create_session(scoped=False) as session:
        session.execute(update(SerializedDagModel).values(last_updated=now - timedelta(seconds=20)))
        for model in session.scalars(select(DagModel)):
            model.last_parsed_time = now
    assert dag_reading(REPLAY).read_at == now - timedelta(seconds=20)
    with pytest.raises(changed_files.FilesNotRead, match="has not read the DAG again"):
        asyncio.run(changed_files.read_changed_files(REPLAY, seconds=0.05))


@pytest.mark.usefixtures("changed_profile")
@pytest.mark.parametrize("role", ["user", "viewer", None])
def test_airflows_own_form_waits_for_changed_files_too(
    tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch, role: str | None
) -> None:
    monkeypatch.setattr(changed_files, "read_changed_files", partial(changed_files.read_changed_files, seconds=0.05))
    airflow = FastAPI()
    airflow.add_middleware(ChangedFilesReader)

    @airflow.api_route("/{path:path}", methods=["GET", "POST"])
    def pass_on(path: str) -> str:
        return path

    headers = {"Authorization": f"Bearer {tokens[role]}"} if role else {}
    client = TestClient(airflow, headers=headers)
    refused = client.post(f"/api/v2/dags/{REPLAY}/dagRuns", json={})
    if role == "user":
        assert refused.status_code == 409
        assert "shop.yml changed, and Airflow has not read the DAG again within" in refused.json()["detail"]
    else:
        assert refused.status_code == 200, "Airflow itself refuses who may not start a run"
    assert (read_as_asked() > 0) == (role == "user")
    for method, path in (
        ("GET", f"/api/v2/dags/{REPLAY}/dagRuns"),
        ("POST", f"/api/v2/dags/{ROLLBACK}/dagRuns"),
        ("POST", "/api/v2/dags/no_such_dag/dagRuns"),
        ("POST", f"/api/v2/dags/{REPLAY}/dagRuns"),
    ):
        assert client.request(method, path).json() == path.removeprefix("/")


def test_form_says_that_changed_code_takes_a_restart(user: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "To take up the change" not in user.get(f"/trigger/{REPLAY}").text
    monkeypatch.setattr(changed_files, "_STARTED_AT", 0.0)
    assert (
        "changed after Airflow was started: it still runs the code of before. To take up the change: make restart."
        in (text_of(user.get(f"/trigger/{REPLAY}").text))
    )
