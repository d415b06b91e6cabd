"""Answers as CouchDB gives them: always JSON, an error is `{error, reason}`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from events.errors import MosaicError, Temporary
from gateway.errors import Forbidden, TooManyAttempts, Unauthenticated
from projectors.documents.tokens import BadToken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request

_logger = logging.getLogger(__name__)

# A decoded JSON value.
Json = Any

JSON: Final = "application/json"
# What a client sends at once; replicators ask for a few thousand revisions at most.
MAX_BODY: Final = 8 * 1024 * 1024

encode = msgspec.json.Encoder().encode


class CouchError(MosaicError):
    """An answer other than success. `error` is CouchDB's word, which clients look at."""

    def __init__(self, status: int, error: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.error, self.reason = status, error, reason


def missing(reason: str = "missing") -> CouchError:
    return CouchError(404, "not_found", reason)


def bad(reason: str) -> CouchError:
    return CouchError(400, "bad_request", reason)


READ_ONLY: Final = "documents are changed by commands, not written; see /api"


def forbidden(reason: str = READ_ONLY) -> CouchError:
    return CouchError(403, "forbidden", reason)


def answer(content: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer; bytes are JSON already."""
    body = content if isinstance(content, bytes) else encode(content)
    fresh = {"cache-control": "must-revalidate", **(headers or {})}
    return Response(body + b"\n", status, fresh, JSON)


def guarded(
    handler: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint whose errors are CouchDB's."""

    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request)
        except Exception as wrong:  # noqa: BLE001  # the edge: every error becomes an answer
            return told(wrong, request)

    return endpoint


def told(wrong: Exception, request: Request) -> Response:
    """The answer for an error; an unexpected one is logged, and not told to the caller."""
    status, error, reason = _words(wrong)
    if status == 500:
        fields = {"method": request.method, "path": request.url.path}
        _logger.error("a request failed", exc_info=wrong, extra=fields)
    headers = {"retry-after": "1"} if status == 503 else {}
    if isinstance(wrong, TooManyAttempts):
        headers["retry-after"] = str(wrong.retry_after)
    if isinstance(wrong, HTTPException) and wrong.headers:
        headers |= dict(wrong.headers)
    return answer({"error": error, "reason": reason}, status, headers)


def _words(wrong: Exception) -> tuple[int, str, str]:
    if isinstance(wrong, CouchError):
        return wrong.status, wrong.error, wrong.reason
    if isinstance(wrong, BadToken):
        return 400, "bad_request", str(wrong)
    if isinstance(wrong, Unauthenticated):
        return 401, "unauthorized", str(wrong)
    if isinstance(wrong, Forbidden):
        return 403, "forbidden", str(wrong)
    if isinstance(wrong, TooManyAttempts):
        return 429, "too_many_requests", str(wrong)
    if isinstance(wrong, Temporary):
        return 503, "service_unavailable", str(wrong)
    if isinstance(wrong, HTTPException):
        return wrong.status_code, "bad_request", str(wrong.detail)
    return 500, "internal_server_error", "something unexpected happened; the gateway's log has it"


async def body_of(request: Request) -> bytes:
    """The request's body, refused above MAX_BODY."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY:
            raise CouchError(413, "too_large", f"a body has at most {MAX_BODY} bytes")
        parts.append(part)
    return b"".join(parts)


async def json_of(request: Request) -> dict[str, Any]:
    """The request's body as a JSON object; an absent one is empty."""
    raw = await body_of(request)
    if not raw.strip():
        return {}
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise bad("invalid UTF-8 JSON") from None
    if not isinstance(found, dict):
        raise bad("the body must be a JSON object")
    return found
