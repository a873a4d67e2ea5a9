"""Who may see the pages, and who may start a run from them: Airflow's own users and their rights on its DAGs."""

from __future__ import annotations

from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.configuration import conf
from fastapi import HTTPException, Request

from shop_pages.limits import WAREHOUSE_DAG

#: Who reads the runs of the warehouse reads what they made.
_READS = (None, DagAccessEntity.RUN)


def may_read(user: GetUserDep) -> BaseUser:
    """
    Dependency of every route: a user whom Airflow lets see the warehouse's DAG and its runs.

    Nobody logged in is refused with 401 before this is asked.

    :raises HTTPException: 403, the user may not
    """
    details = DagDetails(id=WAREHOUSE_DAG)
    if not all(
        get_auth_manager().is_authorized_dag(method="GET", access_entity=entity, details=details, user=user)
        for entity in _READS
    ):
        raise HTTPException(403, f"You may not see the DAG {WAREHOUSE_DAG}, so neither what it made.")
    return user


def may_trigger(dag_id: str, user: BaseUser) -> bool:
    """Whether Airflow lets this user start a run of a DAG."""
    return get_auth_manager().is_authorized_dag(
        method="POST", access_entity=DagAccessEntity.RUN, details=DagDetails(id=dag_id), user=user
    )


def may_unpause(dag_id: str, user: BaseUser) -> bool:
    """Whether Airflow lets this user change whether a DAG is paused."""
    return get_auth_manager().is_authorized_dag(method="PUT", details=DagDetails(id=dag_id), user=user)


def refuse_other_sites(request: Request) -> None:
    """
    Dependency of every route that changes something: the request was made by a page of this site, or by a program.

    A browser says so itself (`Sec-Fetch-Site`, `Origin`), and no page can make it say otherwise. A program shows its
    token in the header, which a foreign page cannot.

    :raises HTTPException: 403, another site made the browser send it, or nobody says where it is from
    """
    if request.headers.get("authorization", "").lower().startswith("bearer "):
        return
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        own = site == "same-origin"
    else:
        hosts = {request.headers.get("host"), urlsplit(conf.get("api", "base_url", fallback="")).netloc}
        own = urlsplit(request.headers.get("origin", "")).netloc in hosts - {None, ""}
    if not own:
        raise HTTPException(403, "This was not sent by a page of this site.")
