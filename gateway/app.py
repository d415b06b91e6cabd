"""The gateway as one ASGI application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route

from gateway import couch, pages, problems
from gateway.api import ENDPOINTS
from gateway.errors import NotFound
from gateway.middleware import Guard, SameOrigin
from gateway.routing import route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from gateway.context import Context

# What a page of another, allowed origin may send and read.
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_REQUEST_HEADERS = ("authorization", "content-type", "if-match", "if-none-match")
_ANSWER_HEADERS = ("etag", "location", "retry-after")


def build(context: Context) -> ASGIApp:
    """The application on a context."""
    app = Starlette(
        routes=routes(context),
        exception_handlers={404: _missing, 405: problems.respond},
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=context.config.allowed_origins,
                allow_methods=_METHODS,
                allow_headers=_REQUEST_HEADERS,
                expose_headers=_ANSWER_HEADERS,
            ),
            Middleware(SameOrigin, allowed=context.config.allowed_origins),
        ],
    )
    # Outside of Starlette, whose own last resort would answer in plain text.
    return Guard(app, context.metrics, hsts=context.config.certificate is not None)


def routes(context: Context) -> list[BaseRoute]:
    """Every route: REST, the pages, and the CouchDB API below /db."""
    found: list[BaseRoute] = [*(route(each, context) for each in ENDPOINTS), *pages.routes(context)]
    return [*found, *_refusals(found), *couch.routes(context)]


def _refusals(found: list[BaseRoute]) -> list[Route]:
    """For each path a route behind all others that says which methods there are.

    Starlette answers by the first route whose path fits, which knows its own method only.
    """
    methods: dict[str, set[str]] = {}
    for each in found:
        if isinstance(each, Route):
            methods.setdefault(each.path, set()).update(each.methods or ())
    return [_refusal(path, allowed) for path, allowed in methods.items()]


def _refusal(path: str, allowed: set[str]) -> Route:
    async def refuse(request: Request) -> Response:
        headers = {"allow": ", ".join(sorted(allowed))}
        detail = f"{request.method} is not known here"
        return await problems.respond(request, HTTPException(405, detail, headers))

    made = Route(path, refuse)
    # Given as an argument this would mean GET.
    made.methods = None
    return made


async def _missing(request: Request, _: Exception) -> Response:
    return await problems.respond(request, NotFound("there is nothing at this address"))
