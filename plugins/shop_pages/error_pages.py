"""The answers for errors: pages that say what went wrong, and the login page."""

from __future__ import annotations

from typing import cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

from ecommerce.common.errors import ShopError
from shop_pages.airflow_access import login_url
from shop_pages.cached_response import PageTooLarge
from shop_pages.pool import ImpossibleValue, WarehouseUnavailable
from shop_pages.rendering import render, templates
from shop_pages.security import LOGIN_HEADERS, LOGIN_STYLE

_TITLES = {
    400: "The request is not valid",
    403: "You do not have access",
    404: "Page not found",
    414: "The address is too long",
    503: "The warehouse does not answer",
}


def add_error_pages(app: FastAPI) -> None:
    """Answer every error of a route with a page."""
    app.add_exception_handler(WarehouseUnavailable, _warehouse_unavailable)
    app.add_exception_handler(ShopError, _unreadable_profile)
    app.add_exception_handler(PageTooLarge, _page_too_large)
    app.add_exception_handler(ImpossibleValue, _impossible_value)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)


async def _warehouse_unavailable(request: Request, error: Exception) -> Response:
    return await _error_page(request, 503, str(error))


async def _unreadable_profile(request: Request, error: Exception) -> Response:
    return await _error_page(request, 500, str(error), title="The shop's profile cannot be read")


async def _impossible_value(request: Request, error: Exception) -> Response:
    return await _error_page(request, 400, f"A value of the address is none that the warehouse can have: {error}.")


async def _page_too_large(request: Request, error: Exception) -> Response:
    return await _error_page(request, 500, str(error), title="The page is too large")


async def _invalid_request(request: Request, error: Exception) -> Response:
    errors = cast("RequestValidationError", error).errors()
    return await _error_page(request, 400, "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in errors))


async def _http_error(request: Request, error: Exception) -> Response:
    http_error = cast("HTTPException", error)
    if http_error.status_code == 401:
        return _login_page(request, http_error)
    return await _error_page(request, http_error.status_code, str(http_error.detail))


async def _error_page(request: Request, status: int, detail: str, title: str = "Something went wrong") -> Response:
    title = _TITLES.get(status, title)
    return await render(request, "message.html", status, page="", title=title, detail=detail)


def _login_page(request: Request, error: HTTPException) -> Response:
    html = templates().get_template("login.html").render(
        detail=str(error.detail), login=login_url(str(request.url)), style=LOGIN_STYLE
    )  # fmt: skip
    return HTMLResponse(html, status_code=error.status_code, headers={**(error.headers or {}), **LOGIN_HEADERS})
