"""What the API server of the running stack gives to nobody, to a viewer, and to somebody with a forged token."""

import base64
import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import jwt
import pytest
from airflow.api_fastapi.app import create_app
from fastapi.routing import APIRoute
from starlette.routing import Mount

from ecommerce.common.pages_url import PAGES_PREFIX
from tests.running_stack import Demo

#: What needs no login: whether the server is well, its version, the login itself, and the files of the UI.
OPEN = {
    "/api/v2/monitor/health", "/api/v2/version", "/api/v2/auth/login", "/api/v2/auth/logout", "/health",
    "/auth/token", "/auth/token/cli", "/auth/token/login", "/auth/{rest_of_path:path}",
    "/api/v1/{_:path}", "/api/{_:path}", "/{rest_of_path:path}", "/execution/changelog",
}  # fmt: skip
#: Requests that change nothing, though they are no GET, and so are a viewer's as well.
READING = {
    ("POST", "/api/v2/dags/{dag_id}/dagRuns/list"),
    ("POST", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list"),
    # His own favourites, and a token for himself.
    ("POST", "/api/v2/dags/{dag_id}/favorite"),
    ("POST", "/api/v2/dags/{dag_id}/unfavorite"),
    ("POST", "/ui/auth/token"),
    # Whoever has started a test of a connection has a secret, by which he asks for its result.
    ("GET", "/api/v2/connections/enqueue-test"),
}
_DELETE = {"actions": [{"action": "delete", "entities": ["x"]}]}
#: Bodies without which Airflow does not come to ask who may do it.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("PATCH", "/api/v2/connections"): _DELETE,
    ("PATCH", "/api/v2/pools"): _DELETE,
    ("PATCH", "/api/v2/variables"): _DELETE,
    ("PATCH", "/api/v2/dags/{dag_id}/dagRuns"): _DELETE,
    ("POST", "/api/v2/connections/enqueue-test"): {"connection_id": "shop_postgres", "conn_type": "postgres"},
    ("POST", "/api/v2/dags/{dag_id}/clearDagRuns"): {"partition_key": "x"},
}
#: A DAG that is there, so that what is asked about it is not answered with 404.
DAG = {"dag_id": "ecommerce_warehouse"}
#: What a viewer may not even read: passwords and settings.
SECRET = ("/api/v2/connections", "/api/v2/variables", "/api/v2/config")


def operations() -> Iterator[tuple[str, str]]:
    """Method and path of each route of the API server and of what is mounted in it, but for the shop's own pages."""

    def walk(routes: Any, prefix: str) -> Iterator[tuple[str, str]]:
        for route in routes:
            if isinstance(route, Mount) and not route.path.startswith((PAGES_PREFIX, "/cosmos")):
                yield from walk(getattr(route.app, "routes", ()), prefix + route.path)
            elif isinstance(route, APIRoute):
                yield from ((method, prefix + route.path) for method in sorted(route.methods - {"HEAD", "OPTIONS"}))

    yield from walk(create_app(apps="all").routes, "")


@pytest.fixture(scope="module")
def protected() -> list[tuple[str, str]]:
    found = [(method, path) for method, path in operations() if path not in OPEN]
    assert len(found) > 130
    return found


@pytest.fixture(scope="module")
def server(demo: Demo) -> Iterator[httpx.Client]:
    # The server may close a connection that waits for the next request.
    with httpx.Client(
        base_url=demo.state.airflow_url, timeout=60, limits=httpx.Limits(max_keepalive_connections=0)
    ) as client:
        yield client


@pytest.fixture(scope="module")
def token(demo: Demo, server: httpx.Client) -> str:
    """A token of the admin."""
    login = {"username": "admin", "password": demo.state.passwords["admin"]}
    return server.post("/auth/token", json=login).json()["access_token"]


@pytest.fixture(scope="module")
def there(demo: Demo, server: httpx.Client, token: str) -> Iterator[dict[str, str]]:
    """Parameters of paths that name something: of these Airflow asks first what they are, and then who may do it."""
    ((backfill,),) = demo.query(
        """
        insert into backfill (
            dag_id, from_date, to_date, dag_run_conf, is_paused, reprocess_behavior, max_active_runs, created_at,
            completed_at, updated_at
        )
        values ('ecommerce_warehouse', now(), now(), '{}', true, 'none', 1, now(), now(), now())
        returning id
        """,
        database="airflow",
    )
    file = ask(server, "GET", "/api/v2/dags/{dag_id}", token).json()["file_token"]
    yield {**DAG, "backfill_id": str(backfill), "file_token": file}
    demo.query("delete from backfill where id = %s", backfill, database="airflow")


def filled(path: str, there: Mapping[str, str]) -> str:
    """The path with something in the place of its parameters."""
    return re.sub(r"\{(\w+)[^}]*\}", lambda name: there.get(name[1], "1"), path)


def ask(
    server: httpx.Client, method: str, path: str, token: str | None = None, there: Mapping[str, str] = DAG
) -> httpx.Response:
    headers = {"Airflow-Connection-Test-Token": "x"} | ({"Authorization": f"Bearer {token}"} if token else {})
    body = BODIES.get((method, path), {}) if method in ("POST", "PUT", "PATCH") else None
    return server.request(method, filled(path, there), headers=headers, json=body)


def signed(claims: dict[str, Any], key: str, **changes: Any) -> str:
    return jwt.encode({**claims, **changes}, key, algorithm="HS512")


def test_nobody_reads_or_changes_anything_without_a_login(
    server: httpx.Client, protected: list[tuple[str, str]]
) -> None:
    answers = {(method, path): ask(server, method, path).status_code for method, path in protected}
    assert {place: status for place, status in answers.items() if status not in (401, 403)} == {}


def test_open_routes_tell_nothing_of_the_warehouse(server: httpx.Client) -> None:
    for path in OPEN:
        answer = ask(server, "GET", path)
        assert "ecommerce_warehouse" not in answer.text, path
        assert "shop_postgres" not in answer.text, path
    assert server.post("/auth/token", json={"username": "admin", "password": "x"}).status_code == 401
    assert server.get("/auth/token").status_code == 403


@pytest.mark.parametrize(
    "path",
    ["/execution/variables/weather_cities", "/execution/connections/shop_postgres", "/execution/xcoms/a/b/c/d"],
)
def test_api_of_the_tasks_wants_a_token_of_a_task(server: httpx.Client, token: str, path: str) -> None:
    for given in (None, "x", token):
        answer = ask(server, "GET", path, given)
        assert answer.status_code in (401, 403), (given, answer.text)


def test_viewer_changes_nothing_and_reads_no_secret(
    demo: Demo, server: httpx.Client, token: str, protected: list[tuple[str, str]], there: dict[str, str]
) -> None:
    claims = jwt.decode(token, options={"verify_signature": False})
    viewer = signed(claims, demo.state.keys["jwt"], sub="viewer", role="VIEWER")
    assert ask(server, "GET", "/api/v2/dags", viewer).status_code == 200
    allowed = {
        (method, path): status
        for method, path in protected
        if (method, path) not in READING and (method != "GET" or path.startswith(SECRET))
        if (status := ask(server, method, path, viewer, there).status_code) != 403
    }
    assert allowed == {}
    # He is shown the pages; this one needs no warehouse.
    assert ask(server, "GET", f"{PAGES_PREFIX}/metrics", viewer).status_code == 200


def test_forged_token_is_refused(demo: Demo, server: httpx.Client, token: str) -> None:
    claims = jwt.decode(token, options={"verify_signature": False})
    header, payload, signature = token.split(".")
    key, now = demo.state.keys["jwt"], int(time.time())
    nothing = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).rstrip(b"=").decode()
    other = base64.urlsafe_b64encode(json.dumps({**claims, "sub": "x"}).encode()).rstrip(b"=").decode()
    forged = {
        "no signature": f"{nothing}.{payload}.",
        "its signature taken off": f"{header}.{payload}.",
        "other claims under the same signature": f"{header}.{other}.{signature}",
        "another key": signed(claims, "x" * 64),
        "the key of the sessions": signed(claims, demo.state.keys["session"]),
        "over": signed(claims, key, exp=now - 3600, iat=now - 7200, nbf=now - 7200),
        "not begun": signed(claims, key, nbf=now + 3600),
        "for somebody else": signed(claims, key, aud="another"),
        "no role": signed(claims, key, role=None),
        "no token": "x",
    }
    assert ask(server, "GET", "/api/v2/connections", token).status_code == 200
    assert ask(server, "GET", "/api/v2/connections", signed(claims, key)).status_code == 200
    for path in ("/api/v2/connections", f"{PAGES_PREFIX}/today"):
        taken = {what for what, each in forged.items() if ask(server, "GET", path, each).status_code not in (401, 403)}
        assert taken == set(), path


def test_pages_of_the_server_are_framed_by_no_other_site(server: httpx.Client) -> None:
    """A login page in a frame could be clicked through."""
    headers = ask(server, "GET", f"{PAGES_PREFIX}/today").headers
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
