"""Endpoints are declared once: the function's types are its contract, for the server and for the
OpenAPI document alike.

    @get("/api/nodes/{node}", tag="nodes")
    async def node(call: Call, node: str) -> Node: ...

Parameters called `query` and `body` are decoded into their types, all others are parts of the path.
The first line of the docstring is the summary.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
import zlib
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NotRequired, TypedDict, TypeVar, Unpack

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway import problems
from gateway.errors import (
    BadRequest,
    Invalid,
    NotFound,
    TooLarge,
    Unauthenticated,
    WrongMedia,
)
from projectors.documents import revisions

if TYPE_CHECKING:
    from types import ModuleType

    from starlette.requests import Request

    from gateway.context import Context
    from gateway.people import Principal

Handler = Callable[..., Awaitable[Any]]
F = TypeVar("F", bound=Handler)

ROUTE: Final = "mosaic.route"
_MARK: Final = "__endpoint__"
_COMPRESS_FROM: Final = 1024
_WORD: Final = re.compile(r"\{(\w+)(?::path)?\}")
# The longest id that we make ourselves stays far below.
_LONGEST_PART: Final = 500


class Text(msgspec.Struct, frozen=True):
    """An answer that is no JSON."""

    content: bytes
    media_type: str


@dataclasses.dataclass
class Call:
    """One request on its way through an endpoint."""

    context: Context
    request: Request
    who: Principal | None = None
    # What a handler wants to have told besides its answer.
    status: int | None = None
    etag: str | None = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def principal(self) -> Principal:
        """Who asks; for endpoints that need a login."""
        if self.who is None:
            raise Unauthenticated("log in first")
        return self.who

    @property
    def address(self) -> str:
        return self.context.people.address(self.request)

    def if_match(self) -> str | None:
        """The revision that the caller edits; None when it does not say."""
        given = self.request.headers.getlist("if-match")
        if not given or given == ["*"]:
            return None
        tag = given[0].strip().removeprefix("W/")
        if len(given) > 1 or len(tag) < 2 or tag[0] != '"' or tag[-1] != '"' or '"' in tag[1:-1]:
            raise BadRequest("bad_if_match", "If-Match takes one revision in quotes, or *")
        return tag[1:-1]

    def expects(self, doc: str) -> int | None:
        """The generation that the caller edits, for a command on the document."""
        rev = self.if_match()
        if rev is None:
            return None
        generation = revisions.generation_of(doc, rev)
        # No document has a negative generation: a revision of another document is a conflict.
        return -1 if generation is None else generation


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A declared endpoint."""

    method: str
    path: str
    handler: Handler
    tag: str
    status: int
    open: bool
    # Takes If-Match.
    conditional: bool
    query: type[msgspec.Struct] | None
    body: Any
    answer: Any
    parts: tuple[str, ...]
    problems: frozenset[int] = frozenset()

    @property
    def summary(self) -> str:
        return (inspect.getdoc(self.handler) or "").partition("\n")[0]

    @property
    def description(self) -> str:
        return (inspect.getdoc(self.handler) or "").partition("\n")[2].strip()

    @property
    def name(self) -> str:
        return self.handler.__name__


class How(TypedDict):
    """What a declaration says besides method, path and types."""

    tag: str
    # The status of the good answer.
    status: NotRequired[int]
    # Nobody needs to be logged in.
    open: NotRequired[bool]
    # Takes If-Match.
    conditional: NotRequired[bool]
    # Statuses of answers that do not follow from the types.
    problems: NotRequired[tuple[int, ...]]


def _declare(method: str, path: str, how: How) -> Callable[[F], F]:
    def mark(handler: F) -> F:
        hints = typing.get_type_hints(handler, include_extras=True)
        answer = hints.pop("return")
        parts = tuple(_WORD.findall(path))
        query, body = hints.get("query"), hints.get("body")
        endpoint = Endpoint(
            method=method,
            path=path,
            handler=handler,
            tag=how["tag"],
            status=how.get("status", 200),
            open=how.get("open", False),
            conditional=how.get("conditional", False),
            query=query,
            body=body,
            answer=answer,
            parts=parts,
        )
        endpoint = dataclasses.replace(
            endpoint, problems=frozenset({*_expected(endpoint), *how.get("problems", ())})
        )
        setattr(handler, _MARK, endpoint)
        return handler

    return mark


def _expected(endpoint: Endpoint) -> set[int]:
    """The statuses of errors that follow from what an endpoint takes."""
    expected = {503}
    if not endpoint.open:
        expected.add(401)
    if endpoint.method != "GET":
        # A page of another origin, and a log that takes no such message.
        expected |= {403, 502}
    if endpoint.query or endpoint.body or endpoint.parts or endpoint.conditional:
        expected.add(400)
    if endpoint.parts:
        expected.add(404)
    if endpoint.body:
        expected |= {413, 415, 422}
    if endpoint.conditional:
        expected |= {409, 422}
    return expected


def get(path: str, **how: Unpack[How]) -> Callable[[F], F]:
    return _declare("GET", path, how)


def post(path: str, **how: Unpack[How]) -> Callable[[F], F]:
    return _declare("POST", path, how)


def put(path: str, **how: Unpack[How]) -> Callable[[F], F]:
    return _declare("PUT", path, how)


def patch(path: str, **how: Unpack[How]) -> Callable[[F], F]:
    return _declare("PATCH", path, how)


def delete(path: str, **how: Unpack[How]) -> Callable[[F], F]:
    return _declare("DELETE", path, how)


def endpoints(*modules: ModuleType) -> list[Endpoint]:
    """The endpoints that modules declare, in their order."""
    return [
        getattr(thing, _MARK)
        for module in modules
        for thing in vars(module).values()
        if hasattr(thing, _MARK) and thing.__module__ == module.__name__
    ]


def route(endpoint: Endpoint, context: Context) -> Route:
    """The endpoint as Starlette serves it."""
    decoder = None if endpoint.body is None else msgspec.json.Decoder(endpoint.body)

    async def serve(request: Request) -> Response:
        request.scope[ROUTE] = endpoint.path
        call = Call(context, request)
        if not endpoint.open:
            call.who = await context.principal(request)
        given: dict[str, Any] = {part: _part(request, part) for part in endpoint.parts}
        if endpoint.query is not None:
            given["query"] = _query(request, endpoint.query)
        if decoder is not None:
            given["body"] = await _body(request, decoder, context.config.max_body_bytes)
        answer = await endpoint.handler(call, **given)
        return _response(call, endpoint, answer)

    async def guarded(request: Request) -> Response:
        try:
            return await serve(request)
        except Exception as wrong:  # noqa: BLE001  # every end of a request is an answer
            return await problems.respond(request, wrong)

    return Route(endpoint.path, guarded, methods=[endpoint.method], name=endpoint.name)


def _part(request: Request, name: str) -> str:
    value = str(request.path_params[name])
    _check_text(value)
    if len(value) > _LONGEST_PART:
        raise NotFound("there is nothing with so long a name")
    return value


def _check_text(value: str) -> None:
    if "\0" in value:
        raise BadRequest("bad_text", "NUL cannot be part of a name")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRequest("bad_text", "that is not Unicode") from None


def _query(request: Request, kind: type[msgspec.Struct]) -> msgspec.Struct:
    given: dict[str, str] = {}
    for key, value in request.query_params.multi_items():
        if key in given:
            raise BadRequest("bad_query", f"{key[:100]!r} is given twice")
        _check_text(value)
        given[key] = value
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as wrong:
        raise BadRequest("bad_query", str(wrong)) from None


async def _body(request: Request, decoder: msgspec.json.Decoder[Any], limit: int) -> object:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise WrongMedia("the body is application/json")
    raw = await read_limited(request, limit)
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as wrong:
        raise Invalid(str(wrong)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise BadRequest("bad_json", f"the body is not JSON: {wrong}") from None


async def read_limited(request: Request, limit: int) -> bytes:
    """The body of a request; raises TooLarge as soon as it is known to be over the limit."""
    text = f"a body has {limit:,} bytes at the most"
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise TooLarge(text)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLarge(text)
        parts.append(part)
    return b"".join(parts)


def _response(call: Call, endpoint: Endpoint, answer: object) -> Response:
    status = call.status or endpoint.status
    headers = {"cache-control": "private, no-cache", **call.headers}
    if answer is None:
        return Response(status_code=status, headers=headers)
    if isinstance(answer, Text):
        content, media = answer.content, answer.media_type
    else:
        content, media = msgspec.json.encode(answer), "application/json"
    if endpoint.method == "GET" and status == 200:
        etag = f'"{call.etag}"' if call.etag else _tag(content)
        headers["etag"] = etag
        if _matches(call.request.headers.get("if-none-match"), etag):
            return Response(status_code=304, headers=headers)
    elif call.etag:
        headers["etag"] = f'"{call.etag}"'
    if len(content) >= _COMPRESS_FROM:
        headers["vary"] = "accept-encoding"
        if _takes_gzip(call.request.headers.get("accept-encoding", "")):
            packer = zlib.compressobj(1, zlib.DEFLATED, 31)
            content = packer.compress(content) + packer.flush()
            headers["content-encoding"] = "gzip"
    return Response(content, status, headers, media)


def _tag(content: bytes) -> str:
    # Weak, because the same tag stands for the compressed and the plain form.
    return f'W/"{blake2b(content, digest_size=12).hexdigest()}"'


def _matches(given: str | None, etag: str) -> bool:
    if given is None:
        return False
    plain = etag.removeprefix("W/")
    return any(each.strip().removeprefix("W/") in ("*", plain) for each in given.split(","))


def _takes_gzip(accepted: str) -> bool:
    for each in accepted.split(","):
        coding, _, weight = each.strip().partition(";")
        if coding.strip().lower() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
