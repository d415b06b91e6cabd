"""Errors as HTTP tells them: problem+json (RFC 9457) with a stable code. The only place that knows
which error is which HTTP status."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from events.errors import LogRejected, LogUnavailable, MosaicError, Refused, Temporary
from gateway.commands import NotYetVisible, Stale
from gateway.errors import (
    BadRequest,
    Forbidden,
    Invalid,
    NotFound,
    TooLarge,
    TooManyAttempts,
    Unauthenticated,
    WrongMedia,
)
from projectors.documents.reader import NoView

if TYPE_CHECKING:
    from starlette.requests import Request

_logger = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong. `code` is stable and meant for programs, `detail` is meant for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    # A conflict: the document, and its present revision if it has one.
    id: str | None = None
    rev: str | None = None
    # A change that is stored but not visible yet: where it stands.
    stream: str | None = None
    sequence: int | None = None


# Refusals by their code; every other one is 422.
_REFUSED: Final = {
    "not_found": 404,
    "exists": 409,
    "conflict": 409,
    "not_empty": 409,
    "no_parent": 409,
    "system_directory": 403,
}
# Code and status for each kind of error; the first that fits counts.
_KINDS: Final[tuple[tuple[type[MosaicError], str, int], ...]] = (
    (Unauthenticated, "unauthenticated", 401),
    (Forbidden, "forbidden", 403),
    (NotFound, "not_found", 404),
    (TooLarge, "too_large", 413),
    (WrongMedia, "wrong_media_type", 415),
    (TooManyAttempts, "too_many_attempts", 429),
    (NotYetVisible, "not_yet_visible", 503),
    (NoView, "no_view", 503),
    (LogUnavailable, "log_unavailable", 503),
    (Temporary, "unavailable", 503),
    (LogRejected, "log_rejected", 502),
)


def problem_of(wrong: Exception) -> Problem:
    """The problem that an error is told as."""
    if isinstance(wrong, Stale):
        return _problem(409, wrong.code, str(wrong), id=wrong.doc, rev=wrong.rev)
    if isinstance(wrong, Refused):
        return _problem(_REFUSED.get(wrong.code, 422), wrong.code, str(wrong))
    if isinstance(wrong, BadRequest):
        return _problem(422 if isinstance(wrong, Invalid) else 400, wrong.code, str(wrong))
    if isinstance(wrong, NotYetVisible):
        stream, sequence, _ = wrong.committed
        return _problem(503, "not_yet_visible", str(wrong), stream=stream, sequence=sequence)
    for kind, code, status in _KINDS:
        if isinstance(wrong, kind):
            return _problem(status, code, str(wrong))
    if isinstance(wrong, HTTPException):
        code = HTTPStatus(wrong.status_code).phrase.lower().replace(" ", "_")
        return _problem(wrong.status_code, code, str(wrong.detail))
    return _problem(500, "internal", "something unexpected happened; the gateway's log has it")


def _problem(
    status: int,
    code: str,
    detail: str,
    *,
    id: str | None = None,
    rev: str | None = None,
    stream: str | None = None,
    sequence: int | None = None,
) -> Problem:
    return Problem(
        type=f"urn:mosaicfs:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        id=id,
        rev=rev,
        stream=stream,
        sequence=sequence,
    )


async def respond(request: Request, wrong: Exception) -> Response:
    """The response for an error; an unexpected one is logged, and not told to the caller."""
    problem = problem_of(wrong)
    if problem.status == 500:
        _logger.error(
            "a request failed",
            exc_info=wrong,
            extra={"method": request.method, "path": request.url.path},
        )
    headers = {"cache-control": "no-store"}
    if problem.status == 401:
        headers["www-authenticate"] = 'Bearer realm="mosaicfs"'
    if isinstance(wrong, TooManyAttempts):
        headers["retry-after"] = str(wrong.retry_after)
    elif problem.status == 503:
        headers["retry-after"] = "1"
    if isinstance(wrong, HTTPException) and wrong.headers:
        headers |= dict(wrong.headers)
    content = b"" if request.method == "HEAD" else msgspec.json.encode(problem)
    return Response(content, problem.status, headers, MEDIA_TYPE)
