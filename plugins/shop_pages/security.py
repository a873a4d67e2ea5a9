"""Security headers of every answer, and the content security policies behind them."""

from __future__ import annotations

import base64
import hashlib
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def _policy(style_elements: str = "", style_attributes: str = "'none'") -> str:
    """Scripts and styles only from this package's files; nothing from other sites, and no frame on another site."""
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; style-src-elem 'self'{style_elements};"
        f" style-src-attr {style_attributes}; img-src 'self' data: blob:; font-src 'self'; connect-src 'self';"
        " form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
    )


def _source_of(style: str) -> str:
    return f" 'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"


SECURITY_HEADERS = {
    "Content-Security-Policy": _policy(),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

#: For pages with charts: Plotly fills a style element that it creates empty, and writes style attributes.
CHART_HEADERS = {"Content-Security-Policy": _policy(_source_of(""), "'unsafe-inline'")}

#: The login page loads no file: files also need a login.
LOGIN_STYLE = "body { font: 1rem/1.5 system-ui, sans-serif; max-width: 30rem; margin: 20vh auto; padding: 0 1rem }"
LOGIN_HEADERS = {"Content-Security-Policy": _policy(_source_of(LOGIN_STYLE))}


class SecurityHeaders:
    """Middleware that adds the security headers and `Server-Timing` to every answer, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request with the headers that the route itself has not set."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                headers["Server-Timing"] = f"page;dur={(time.perf_counter() - started) * 1000:.1f}"
            await send(message)

        await self.app(scope, receive, send_with_headers)
