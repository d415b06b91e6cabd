"""The pages that the gateway serves itself: the OpenAPI document and a browser for it.

Everything a page needs comes from this folder; its policy lets a browser load nothing else.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway import openapi
from gateway.routing import ROUTE

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.context import Context

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES: Final = {
    "/api/docs": ("docs.html", "text/html; charset=utf-8"),
    "/api/docs/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
    "/api/docs/docs.css": ("docs.css", "text/css; charset=utf-8"),
}


def routes(context: Context) -> list[BaseRoute]:
    """The document and the page that shows it; both open to everybody."""
    from gateway.api import ENDPOINTS

    document = msgspec.json.encode(openapi.document(ENDPOINTS, context.about.version))
    here = resources.files(__name__)
    found: list[BaseRoute] = [_fixed("/api/openapi.json", document, "application/json")]
    found += [
        _fixed(path, (here / name).read_bytes(), media) for path, (name, media) in _FILES.items()
    ]
    return found


def _fixed(path: str, content: bytes, media: str) -> Route:
    async def serve(request: Request) -> Response:
        request.scope[ROUTE] = path
        headers = {"content-security-policy": _POLICY, "cache-control": "no-cache"}
        return Response(content, headers=headers, media_type=media)

    return Route(path, serve, methods=["GET"])
