"""`_all_docs`: documents in order of their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from starlette.responses import Response, StreamingResponse

from gateway.couch.answers import Json, answer, bad, encode, json_of
from gateway.couch.parameters import NOT_GIVEN, Parameters
from projectors.documents import changes, couch
from projectors.documents.couch import Span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from gateway.couch.callers import Callers
    from gateway.couch.needs import Needs
    from projectors.documents.couch import Audience, Entry
    from projectors.documents.reader import Reader

_PAGE: Final = 1000
_MOST_KEYS: Final = 20_000


class Wanted(NamedTuple):
    """Which documents, and how many of them."""

    span: Span
    empty: bool
    descending: bool
    limit: int | None
    skip: int
    bodies: bool
    sequence: bool


class Listing:
    """The endpoint."""

    def __init__(self, context: Needs, callers: Callers) -> None:
        self._context = context
        self._callers = callers

    async def respond(self, request: Request) -> Response:
        database, _ = await self._callers.database(request)
        body = await json_of(request) if request.method == "POST" else {}
        given = Parameters.of(request, body)
        wanted = wanted_of(given)
        keys = given.json("keys")
        if keys is not NOT_GIVEN:
            if not isinstance(keys, list) or len(keys) > _MOST_KEYS:
                raise bad(f"keys must be an array of at most {_MOST_KEYS}")
            chosen = keys[::-1] if wanted.descending else keys
            end = None if wanted.limit is None else wanted.skip + wanted.limit
            content = await self._context.views.read(
                lambda view: _by_keys(view, database.audience, chosen[wanted.skip : end], wanted)
            )
            return answer(content)
        return StreamingResponse(
            self._pages(database.audience, wanted), media_type="application/json"
        )

    async def _pages(self, audience: Audience, wanted: Wanted) -> AsyncIterator[bytes]:
        opening, separator = (
            await self._context.views.read(lambda view: _opening(view, audience, wanted)),
            b"",
        )
        yield opening
        span, left, skip = wanted.span, wanted.limit, wanted.skip
        while not wanted.empty and left != 0:
            most = _PAGE if left is None else min(_PAGE, left)
            entries = await self._context.views.read(
                lambda view, at=span, most=most, skip=skip: couch.listing(  # type: ignore[misc]  # bound now, for the thread
                    view, audience, at, descending=wanted.descending, limit=most, skip=skip
                )
            )
            if entries:
                rows = b",\n".join(_row(each, bodies=wanted.bodies) for each in entries)
                yield separator + rows
                separator = b",\n"
            if len(entries) < most:
                break
            skip, last = 0, entries[-1].doc
            left = None if left is None else left - len(entries)
            span = Span(span.low, last) if wanted.descending else Span(last + "\0", span.high)
        yield b"\n]}\n"


def _opening(view: Reader, audience: Audience, wanted: Wanted) -> bytes:
    """Everything before the rows, of the moment when the answer began."""
    total = couch.count(view, audience)
    span = wanted.span
    before = 0
    if wanted.descending and span.high is not None:
        before = couch.count(view, audience, Span(span.high, None))
    elif not wanted.descending and span.low is not None:
        before = couch.count(view, audience, Span(None, span.low))
    fields = {"total_rows": total, "offset": min(total, before + wanted.skip)}
    if wanted.sequence:
        here = couch.head(view)
        fields["update_seq"] = changes.token(changes.everything(here), here.log)  # type: ignore[assignment]  # the one text among numbers
    return encode(fields)[:-1] + b',"rows":[\n'


def _row(entry: Entry, *, bodies: bool) -> bytes:
    id = encode(entry.doc)
    doc = b',"doc":' + entry.body if bodies else b""
    return b'{"id":%b,"key":%b,"value":{"rev":"%b"}%b}' % (id, id, entry.rev.encode(), doc)


def _by_keys(view: Reader, audience: Audience, keys: list[Any], wanted: Wanted) -> bytes:
    """One row for each key, in their order."""
    rows = []
    for key in keys:
        entry = couch.entry(view, audience, key) if isinstance(key, str) else None
        if entry is None:
            rows.append(encode({"key": key, "error": "not_found"}))
        elif entry.deleted:
            row = {"id": key, "key": key, "value": {"rev": entry.rev, "deleted": True}}
            rows.append(encode({**row, "doc": None} if wanted.bodies else row))
        else:
            rows.append(_row(entry, bodies=wanted.bodies))
    opening = _opening(view, audience, wanted._replace(span=Span(), skip=0))
    return opening + b",\n".join(rows) + b"\n]}"


def wanted_of(given: Parameters) -> Wanted:
    """The parameters of a listing."""
    descending = given.flag("descending")
    start, end = given.json("startkey", "start_key"), given.json("endkey", "end_key")
    inclusive = given.flag("inclusive_end", default=True)
    key = given.json("key")
    if key is not NOT_GIVEN:
        start = end = key
        inclusive = True
    first, last = (end, start) if descending else (start, end)
    # The end that may be left out is the one where the listing ends.
    low = _bound(first, behind=descending and not inclusive)
    high = _bound(last, behind=descending or inclusive)
    span = Span(low or None, high)
    if low is None and first is not NOT_GIVEN:
        empty = True
    else:
        empty = high is not None and (high == "" or (low or "") >= high)
    return Wanted(
        span,
        empty,
        descending,
        given.number("limit"),
        given.number("skip", 0) or 0,
        given.flag("include_docs"),
        given.flag("update_seq"),
    )


def _bound(key: Json, *, behind: bool) -> str | None:
    """A key as a bound of ids; None is above all of them. Ids are texts: null, booleans and
    numbers sort before every text, arrays and objects behind."""
    if key is NOT_GIVEN:
        return None
    if isinstance(key, str):
        return key + "\0" if behind else key
    return None if isinstance(key, list | dict) else ""
