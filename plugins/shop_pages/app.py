"""The application that Airflow's API server mounts. Which module serves which address: `routes/__init__.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse

from shop_pages import limits
from shop_pages.access import require_plain_address, require_read_access
from shop_pages.assets import ASSETS, asset
from shop_pages.cached_response import ResponseCache
from shop_pages.downloads import Downloads
from shop_pages.error_pages import add_error_pages
from shop_pages.metrics import metrics_html
from shop_pages.pool import ConnectionPool, LastAnswers
from shop_pages.queries import Warehouse
from shop_pages.replica import ReplicaWatch
from shop_pages.routes import ROUTERS, health_check
from shop_pages.security import SecurityHeaders


def create_app() -> FastAPI:
    """The application, without FastAPI's own documentation pages, which need no login."""
    app = FastAPI(
        title="Shop",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=_lifespan,
        dependencies=[Depends(require_plain_address)],
        default_response_class=HTMLResponse,
    )
    app.add_middleware(SecurityHeaders)
    add_error_pages(app)
    # Before the others: the last of them answers every address.
    app.include_router(health_check.router)
    for router in ROUTERS:
        app.include_router(router, dependencies=[Depends(require_read_access)])
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    last_answers: LastAnswers = {}
    app.state.inspector = Warehouse(ConnectionPool(limits.INSPECTOR, last_answers=last_answers))
    app.state.responses = ResponseCache()

    def forget() -> None:
        app.state.inspector.forget()
        app.state.responses.forget()

    app.state.reader = Warehouse(
        ConnectionPool(limits.READER, last_answers=last_answers), reads_marts_only=True, on_erasure=forget
    )
    app.state.replica = ReplicaWatch(app.state.reader, app.state.inspector)
    app.state.downloads = Downloads(limits.READER)
    app.state.inspector_downloads = Downloads(limits.INSPECTOR)
    # Before the first reader comes: to compress the chart library, to connect, and to render the definitions each take
    # a third of a second.
    warm_up = asyncio.gather(
        *(asyncio.to_thread(asset, name) for name in ASSETS),
        asyncio.to_thread(metrics_html),
        app.state.reader.rows("select 1"),
        app.state.inspector.rows("select 1"),
        return_exceptions=True,  # the server starts without a warehouse; the pages report that
    )
    yield
    await warm_up
    await app.state.replica.close()
    await asyncio.gather(app.state.reader.close(), app.state.inspector.close())
