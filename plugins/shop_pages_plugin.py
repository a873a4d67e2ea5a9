"""The pages in the Airflow UI, as a plugin: an application in the API server, and an entry in the navigation."""

from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from ecommerce.common.pages_url import PAGES_PREFIX


class OnlyOurDocs:
    """
    Leaves Cosmos's pages off.

    Cosmos mounts an application under `/cosmos` whose routes ask no one who they are, FastAPI's own documentation among
    them. The pages of this plugin show the dbt project to those who may see it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass on whatever is not Cosmos's."""
        root = scope.get("root_path", "")
        path = scope.get("path", "").removeprefix(root)
        if scope["type"] in ("http", "websocket") and (path == "/cosmos" or path.startswith("/cosmos/")):
            from starlette.responses import PlainTextResponse

            await PlainTextResponse("The dbt docs are among the pages of the shop.", 404)(scope, receive, send)
            return
        await self.app(scope, receive, send)


class ShopPages(AirflowPlugin):
    """The plugin. Every process of Airflow loads it; the application is made in the one that asks for it."""

    name = "ecommerce_pages"
    fastapi_root_middlewares = [{"name": "only our docs", "middleware": OnlyOurDocs}]  # noqa: RUF012 – as Airflow has it

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The application, for the API server to mount."""
        from shop_pages.app import create_app

        return [{"name": "Shop", "app": create_app(), "url_prefix": PAGES_PREFIX}]

    @cached_property
    def external_views(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The entry in the navigation; it opens the pages in a frame of Airflow's UI."""
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
