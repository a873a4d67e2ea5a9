"""The plugin that mounts the shop's pages in Airflow's API server and adds them to its navigation."""

import re
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from ecommerce.common.pages_url import PAGES_PREFIX


class CosmosDocsBlocker:
    """
    Middleware that answers all of Cosmos's own pages with 404.

    Cosmos mounts an application under `/cosmos` that needs no login, FastAPI's own documentation pages included. The
    shop's pages show the dbt project to users who may see it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer requests for `/cosmos`; pass on all others."""
        root = scope.get("root_path", "")
        path = scope.get("path", "").removeprefix(root)
        if scope["type"] in ("http", "websocket") and (path == "/cosmos" or path.startswith("/cosmos/")):
            from starlette.responses import PlainTextResponse

            await PlainTextResponse("The dbt docs are among the shop's pages.", 404)(scope, receive, send)
            return
        await self.app(scope, receive, send)


class ChangedFilesReader:
    """
    Middleware that lets Airflow read changed files before it starts a run by its own form or its API.

    So such a run has the sources and checks that the files name now, or none is started: 409, with a sentence.
    """

    _START = re.compile(r"/api/v2/dags/([^/]+)/dagRuns")

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Wait before the start of a run, and answer it if there is a problem; pass on all else."""
        if scope["type"] == "http" and scope["method"] == "POST":
            found = self._START.fullmatch(scope["path"].removeprefix(scope.get("root_path", "")))
            if found and (problem := await self._problem(scope, found[1])):
                from starlette.responses import JSONResponse

                await JSONResponse({"detail": problem}, 409)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    @staticmethod
    async def _problem(scope: Any, dag_id: str) -> str | None:
        from fastapi import Request

        from shop_pages.changed_files import problem_with_files

        return await problem_with_files(Request(scope), dag_id)


class ShopPages(AirflowPlugin):
    """Loaded by every Airflow process; only the API server asks for the application, which is built then."""

    name = "ecommerce_pages"
    fastapi_root_middlewares = [  # noqa: RUF012 – as Airflow has it
        {"name": "block cosmos docs", "middleware": CosmosDocsBlocker},
        {"name": "read changed files", "middleware": ChangedFilesReader},
    ]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The application, for the API server to mount."""
        from shop_pages.app import create_app

        return [{"name": "Shop", "app": create_app(), "url_prefix": PAGES_PREFIX}]

    @cached_property
    def external_views(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The entry in the navigation, which opens the pages in a frame of Airflow's UI."""
        root = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
        return [
            {
                "name": "Shop",
                "href": f"{root}{PAGES_PREFIX}/today",
                "destination": "nav",
                "url_route": "shop",
                "icon": f"{root}{PAGES_PREFIX}/static/latest/shop.svg",
                "icon_dark_mode": f"{root}{PAGES_PREFIX}/static/latest/shop-dark.svg",
            }
        ]
