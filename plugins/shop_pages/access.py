"""Who may see the pages, and who may start a run from them: decided by the users' rights on Airflow's DAGs."""

from __future__ import annotations

import asyncio
import hmac
import os
from urllib.parse import urlsplit

from fastapi import HTTPException, Request

from ecommerce.common.personal_data import ERASE_DAG
from ecommerce.extract.texts import storable
from shop_pages.airflow_access import (
    BaseUser,
    CurrentUser,
    DagAccessEntity,
    is_administrator,
    is_allowed,
    server_host,
    user_of,
)
from shop_pages.limits import ADDRESS_CHARACTERS, MONITOR_TOKEN_CHARACTERS, WAREHOUSE_DAG

#: The environment variable with the token by which a monitor asks for `/health` without a login.
MONITOR_TOKEN = "ECOMMERCE_MONITOR_TOKEN"  # noqa: S105 – the name of the variable


def require_read_access(user: CurrentUser) -> BaseUser:
    """
    Dependency of every route but `/health`: only users who may see the warehouse's DAG and its runs see the pages.

    A request without a login is answered with 401 before this is called.

    :raises HTTPException: 403, the user lacks one of these rights
    """
    if not all(is_allowed(user, "GET", WAREHOUSE_DAG, entity) for entity in (None, DagAccessEntity.RUN)):
        raise HTTPException(403, f"You may not see the DAG {WAREHOUSE_DAG}, and therefore not its results either.")
    return user


async def require_monitor(request: Request) -> None:
    """
    Dependency of `/health`: a monitor with the token of `ECOMMERCE_MONITOR_TOKEN`, or a user who may see the pages.

    :raises HTTPException: 401, there is neither; 403, the token is another one, or the user may not see the pages
    """
    token = os.environ.get(MONITOR_TOKEN, "").encode()
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    is_usable = len(token) >= MONITOR_TOKEN_CHARACTERS and scheme.lower() == "bearer"
    # Takes as long for a token that begins alike.
    if is_usable and hmac.compare_digest(given.strip().encode(), token):
        return
    user = await user_of(request)
    await asyncio.to_thread(require_read_access, user)


def may_trigger(dag_id: str, user: BaseUser) -> bool:
    """Whether Airflow lets this user start a run of a DAG."""
    return is_allowed(user, "POST", dag_id, DagAccessEntity.RUN)


def may_start(dag_id: str, user: BaseUser) -> bool:
    """
    Whether this user may start a run of a DAG from the pages.

    To erase a customer also takes an administrator, as nothing brings the customer back.
    """
    return may_trigger(dag_id, user) and (dag_id != ERASE_DAG or is_administrator(user))


def may_unpause(dag_id: str, user: BaseUser) -> bool:
    """Whether Airflow lets this user pause and unpause a DAG."""
    return is_allowed(user, "PUT", dag_id)


def may_edit(user: BaseUser) -> bool:
    """Whether this user may say something of an order or an incident: who may edit the warehouse's DAG."""
    return is_allowed(user, "PUT", WAREHOUSE_DAG)


def require_plain_address(request: Request) -> None:
    """
    Dependency of every route: an address that no page has is refused before it is a key of a cache, or a bound value.

    :raises HTTPException: 414, it is too long; 400, it has a character that Postgres cannot store
    """
    if len(request.url.query) > ADDRESS_CHARACTERS:
        raise HTTPException(414, f"What follows the ? of an address may have {ADDRESS_CHARACTERS:,} characters.")
    values = (*request.path_params.values(), *(part for pair in request.query_params.multi_items() for part in pair))
    if not all(storable(str(value)) for value in values):
        raise HTTPException(400, "The address has a character that no text of the warehouse has.")


def require_same_site(request: Request) -> None:
    """
    Dependency of every route that changes something: only a page of this site, or a program, may send the request.

    A browser sends where a request comes from (`Sec-Fetch-Site`, `Origin`), and no page can change that. A program
    sends its token in a header, which a page of another site cannot.

    :raises HTTPException: 403, the request comes from another site, or does not name its origin
    """
    if request.headers.get("authorization", "").lower().startswith("bearer "):
        return
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        is_same_site = site == "same-origin"
    else:
        hosts = {request.headers.get("host"), server_host()} - {None, ""}
        is_same_site = urlsplit(request.headers.get("origin", "")).netloc in hosts
    if not is_same_site:
        raise HTTPException(403, "This request does not come from a page of this site.")
