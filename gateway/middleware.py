"""What holds for every answer of the gateway, whichever part gives it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request

from gateway import problems
from gateway.errors import Forbidden
from gateway.routing import ROUTE

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.metrics import Metrics

_logger = logging.getLogger(__name__)

# A part that serves pages says so by a policy of its own.
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_FORBIDDEN_BYTES: Final = (b"\r", b"\n", b"\0")
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_UNKNOWN: Final = "(none)"
_COUCH: Final = "/db"
_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "COPY"})


class HeaderInjection(Exception):
    """An answer had a header that would have begun another one. A bug; the answer is not sent."""


class Guard:
    """Security headers on every answer, no header that holds a line break, one figure for each
    request, and an answer for whatever goes wrong unforeseen."""

    def __init__(self, app: ASGIApp, metrics: Metrics, *, hsts: bool = False) -> None:
        self._app = app
        self._metrics = metrics
        extra = ((b"strict-transport-security", b"max-age=31536000"),) if hsts else ()
        self._headers = (*_HEADERS, *extra)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began = time.perf_counter()
        status = 0

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                message["headers"] = self._checked(message.get("headers", ()))
                status = message["status"]
            await send(message)

        self._metrics.running += 1
        try:
            try:
                await self._app(scope, receive, guarded)
            except Exception as wrong:
                if status:
                    # The answer has begun; ending the connection is all that is left to say.
                    raise
                response = await problems.respond(Request(scope), wrong)
                await response(scope, receive, guarded)
        finally:
            self._metrics.running -= 1
            method = scope["method"] if scope["method"] in _METHODS else _UNKNOWN
            # Only names of ours: callers could make up any number of others.
            route = scope.get(ROUTE) or (_COUCH if scope["path"].startswith(_COUCH) else _UNKNOWN)
            self._metrics.count(method, route, status, time.perf_counter() - began)

    def _checked(self, headers: Collection[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        checked = list(headers)
        for name, value in checked:
            if any(byte in name or byte in value for byte in _FORBIDDEN_BYTES):
                raise HeaderInjection(f"a line break in the header {name!r}")
        given = {name.lower() for name, _ in checked}
        return checked + [each for each in self._headers if each[0] not in given]


class SameOrigin:
    """Refuses changes that a page of another site asks a browser for, unless it is allowed to."""

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        self._app = app
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _SAFE:
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and not self._is_ours(origin, headers.get("host", "")):
                wrong = Forbidden("this origin may not change anything here")
                response = await problems.respond(Request(scope), wrong)
                return await response(scope, receive, send)
        await self._app(scope, receive, send)

    def _is_ours(self, origin: str, host: str) -> bool:
        if origin in self._allowed:
            return True
        try:
            return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:
            return False
