"""The plugin that mounts the shop's pages in Airflow's API server and adds them to its navigation."""

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


class ShopPages(AirflowPlugin):
    """Loaded by every Airflow process; only the API server asks for the application, which is built then."""

    name = "ecommerce_pages"
    fastapi_root_middlewares = [{"name": "block cosmos docs", "middleware": CosmosDocsBlocker}]  # noqa: RUF012 – as Airflow has it

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
