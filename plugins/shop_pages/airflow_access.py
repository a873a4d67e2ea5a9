"""
All that the pages take from inside Airflow, in one place.

None of it is in Airflow's public interface (`airflow.sdk`): a plugin in the API server has no other way to ask who is
logged in, to read DAG params, or to start a run. A change of Airflow that breaks the pages breaks this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from airflow.configuration import conf
from fastapi import Request
from fastapi.security import HTTPBearer

__all__ = [
    "BaseUser",
    "CurrentUser",
    "DagAccessEntity",
    "DagParam",
    "DagReading",
    "InvalidParams",
    "PausedDag",
    "StartedRun",
    "TaskTimes",
    "UnknownDag",
    "ask_to_read",
    "base_path",
    "connection_by_id",
    "dag_exists",
    "dag_params",
    "dag_reading",
    "is_administrator",
    "is_allowed",
    "login_url",
    "server_host",
    "service_states",
    "start_dag_run",
    "task_times",
    "user_of",
]

#: FastAPI dependency: the user who is logged in; the request is answered with 401 where nobody is.
CurrentUser = GetUserDep


class UnknownDag(Exception):
    """Airflow has no such DAG, or it was deleted."""


class InvalidParams(Exception):
    """Airflow rejects the params of a run; the message says why."""


class PausedDag(Exception):
    """The DAG is paused, so a run of it would wait without an end, and the user may not unpause it."""


# -- users -------------------------------------------------------------------------------------------------------------


def is_allowed(
    user: BaseUser, method: Literal["GET", "POST", "PUT"], dag_id: str, entity: DagAccessEntity | None = None
) -> bool:
    """Whether Airflow's auth manager allows a user an action on a DAG, or on its runs."""
    return get_auth_manager().is_authorized_dag(
        method=method, access_entity=entity, details=DagDetails(id=dag_id), user=user
    )


def is_administrator(user: BaseUser) -> bool:
    """Whether a user may change Airflow's connections, and so reaches all that they lead to."""
    return get_auth_manager().is_authorized_connection(method="PUT", user=user)


async def user_of(request: Request) -> BaseUser:
    """
    The user who is logged in, where a route decides by itself whether it needs one.

    :raises HTTPException: 401, nobody is; 403, the token is not valid
    """
    return await get_user(request, None, await HTTPBearer(auto_error=False)(request))


def login_url(next_url: str) -> str:
    """The address of Airflow's login page, which then leads on to ``next_url``."""
    return get_auth_manager().get_url_login(next_url=next_url)


# -- configuration -----------------------------------------------------------------------------------------------------


def base_path() -> str:
    """The path under which Airflow itself is served: empty, or for example `/airflow`."""
    return urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")


def server_host() -> str:
    """Host and port at which browsers reach Airflow, as its configuration has them; empty where it has none."""
    return urlsplit(conf.get("api", "base_url", fallback="")).netloc


def connection_by_id(conn_id: str) -> Any:
    """
    An Airflow connection, from the secrets backends, the environment or the database.

    :raises LookupError: there is no such connection
    """
    from airflow.exceptions import AirflowNotFoundException
    from airflow.models.connection import Connection

    try:
        return Connection.get_connection_from_secrets(conn_id)
    except AirflowNotFoundException as error:
        raise LookupError(conn_id) from error


# -- services ----------------------------------------------------------------------------------------------------------


def service_states() -> dict[str, str | None]:
    """Services of Airflow, and its database → `healthy`, `unhealthy`, or None for one that was never started."""
    from airflow.api.common.airflow_health import get_airflow_health

    return {name: found["status"] for name, found in get_airflow_health().items()}


# -- DAGs and runs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DagParam:
    """One param of a DAG: its default and its JSON schema."""

    name: str
    default: Any
    description: str | None
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class StartedRun:
    """
    A run that was started.

    :param was_paused: the DAG was paused, and was unpaused for the run
    """

    run_id: str
    was_paused: bool


@dataclass(frozen=True)
class TaskTimes:
    """When one task of a run started and ended, and how."""

    run_id: str
    task_id: str
    state: str
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class DagReading:
    """
    What Airflow has read of a DAG's file.

    :param read_at: when it began to read what it has of the DAG now; None: it never has
    :param error: when it could not import the file, and the last line of the error; None: it can
    """

    read_at: datetime | None
    error: tuple[datetime, str] | None


def dag_exists(dag_id: str) -> bool:
    """Whether Airflow has the DAG."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    with create_session(scoped=False) as session:
        model = session.get(DagModel, dag_id)
        return model is not None and not model.is_stale


def dag_params(dag_id: str) -> tuple[list[DagParam], bool]:
    """
    The params of a DAG, and whether it is paused.

    :raises UnknownDag: Airflow has no such DAG
    """
    from airflow.models.dag import DagModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session

    with create_session(scoped=False) as session:
        model = session.get(DagModel, dag_id)
        dag = SerializedDagModel.get_dag(dag_id, session=session) if model and not model.is_stale else None
        if model is None or dag is None:
            raise UnknownDag(f"Airflow does not know the DAG {dag_id!r}.")
        params = [(name, dag.params.get_param(name)) for name in dag.params]
        return [DagParam(name, param.value, param.description, param.schema or {}) for name, param in params], bool(
            model.is_paused
        )


def dag_reading(dag_id: str) -> DagReading:
    """
    When Airflow has read a DAG's file, and whether it could.

    :raises UnknownDag: Airflow has no such DAG
    """
    from airflow.models.dag import DagModel
    from airflow.models.errors import ParseImportError
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session(scoped=False) as session:
        model = session.get(DagModel, dag_id)
        if model is None:
            raise UnknownDag(f"Airflow does not know the DAG {dag_id!r}.")
        read_at = model.last_parsed_time
        written_at = session.scalar(
            select(SerializedDagModel.last_updated)
            .where(SerializedDagModel.dag_id == dag_id)
            .order_by(SerializedDagModel.created_at.desc())
            .limit(1)
        )
        # What Airflow reads so soon after it has written a DAG, it does not write.
        pause = timedelta(seconds=conf.getint("core", "min_serialized_dag_update_interval"))
        if read_at and written_at and read_at - written_at <= pause:
            read_at = min(read_at, written_at)
        error = session.scalar(
            select(ParseImportError).where(
                ParseImportError.bundle_name == model.bundle_name, ParseImportError.filename == model.relative_fileloc
            )
        )
        return DagReading(
            read_at - timedelta(seconds=model.last_parse_duration or 0) if read_at else None,
            (error.timestamp, (error.stacktrace or "").strip().rpartition("\n")[2]) if error else None,
        )


def ask_to_read(dag_id: str) -> None:
    """
    Ask the DAG processor to read a DAG's file now.

    :raises UnknownDag: Airflow has no such DAG
    """
    from airflow.models.dag import DagModel
    from airflow.models.dagbag import DagPriorityParsingRequest
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from sqlalchemy.exc import IntegrityError

    try:
        with create_session(scoped=False) as session:
            model = session.get(DagModel, dag_id)
            if model is None or model.relative_fileloc is None:
                raise UnknownDag(f"Airflow does not know the DAG {dag_id!r}.")
            asked = select(DagPriorityParsingRequest).where(
                DagPriorityParsingRequest.bundle_name == model.bundle_name,
                DagPriorityParsingRequest.relative_fileloc == model.relative_fileloc,
            )
            if session.scalar(asked) is None:
                session.add(DagPriorityParsingRequest(model.bundle_name, model.relative_fileloc))
    except IntegrityError:
        # Another request has asked at the same moment.
        return


def start_dag_run(dag_id: str, params: Mapping[str, Any], *, user_name: str, may_unpause: bool) -> StartedRun:
    """
    Start a run as Airflow's own trigger form does; a paused DAG is unpaused first.

    :param may_unpause: whether the user may edit the DAG
    :raises UnknownDag: Airflow has no such DAG
    :raises InvalidParams: Airflow rejects the params; the DAG is as it was
    :raises PausedDag: the DAG is paused, and the user may not unpause it; no run was started
    """
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.exceptions import DagNotFound
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType

    unknown = UnknownDag(f"Airflow does not know the DAG {dag_id!r}.")
    try:
        # One transaction: a DAG whose run is rejected stays paused.
        with create_session(scoped=False) as session:
            model = session.get(DagModel, dag_id)
            if model is None:
                raise unknown
            was_paused = bool(model.is_paused)
            if was_paused and not may_unpause:
                raise PausedDag(dag_id)
            model.is_paused = False
            run = trigger_dag(
                dag_id,
                conf=dict(params),
                triggered_by=DagRunTriggeredByType.UI,
                triggering_user_name=user_name,
                session=session,
            )
            if run is None:
                raise unknown
            return StartedRun(str(run.run_id), was_paused)
    except DagNotFound as error:
        raise unknown from error
    except ValueError as error:  # Airflow's ParamValidationError is one
        raise InvalidParams(str(error)) from error


def task_times(dag_id: str, run_ids: Sequence[str]) -> list[TaskTimes]:
    """The tasks of some runs of a DAG, from Airflow's own database."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    if not run_ids:
        return []
    query = select(
        TaskInstance.run_id, TaskInstance.task_id, TaskInstance.state, TaskInstance.start_date, TaskInstance.end_date
    ).where(TaskInstance.dag_id == dag_id, TaskInstance.run_id.in_(run_ids))
    with create_session(scoped=False) as session:
        return [
            TaskTimes(run_id, task_id, str(state), started_at, ended_at)
            for run_id, task_id, state, started_at, ended_at in session.execute(query)
        ]
