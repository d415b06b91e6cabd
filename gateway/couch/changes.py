"""`_changes`: what happened since a position, now, at the next change, or for ever.

The order of things matters: a waiter is registered before the view is read, and the view is read
again after each wake-up, so that a commit between reading and waiting wakes. A filter that matches
nothing moves the position on and keeps waiting. When the gateway stops, everybody is answered with
the position that they reached.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from starlette.responses import Response, StreamingResponse

from gateway.couch.answers import bad, encode, json_of
from gateway.couch.filters import Filter, filter_of
from gateway.couch.parameters import Parameters
from projectors.documents import changes, couch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from gateway.couch.callers import Callers
    from gateway.couch.needs import Changes as Waiter
    from gateway.couch.needs import Needs
    from projectors.documents.couch import Audience, Entry, Head
    from projectors.documents.reader import Reader
    from projectors.documents.tokens import Vector

_FEEDS: Final = ("normal", "longpoll", "continuous", "eventsource")
# How many changes are read, rendered and sent at once: some hundred kilobytes with bodies.
_PAGE: Final = 1000
_DEFAULT_S: Final = 60.0
_SHORTEST_S: Final = 0.1


class Question(NamedTuple):
    """What a client asks of `_changes`."""

    audience: Audience
    feed: str
    since: str
    limit: int | None
    bodies: bool
    descending: bool
    heartbeat: float | None
    timeout: float
    interval: int
    filter: Filter


class Batch(NamedTuple):
    """Rendered rows, and the position behind all that was looked at."""

    rows: list[bytes]
    after: Vector
    done: bool
    head: Head


class Changes:
    """The endpoint."""

    def __init__(self, context: Needs, callers: Callers) -> None:
        self._context = context
        self._callers = callers

    async def respond(self, request: Request) -> Response:
        database, _ = await self._callers.database(request)
        body = await json_of(request) if request.method == "POST" else {}
        asked = _question(request, body, database.audience)
        if asked.descending:
            if asked.feed != "normal":
                raise bad("descending needs feed=normal")
            return StreamingResponse(self._backward(asked), media_type="application/json")
        here, start = await self._context.views.read(lambda view: _start(view, asked.since))
        if asked.feed == "normal":
            lines = self._normal(asked, start, here)
        elif asked.feed == "longpoll":
            lines = self._longpoll(asked, start, here)
        else:
            lines = self._lasting(asked, start, here)
        media = "text/event-stream" if asked.feed == "eventsource" else "application/json"
        return StreamingResponse(
            lines, media_type=media, headers={"cache-control": "must-revalidate"}
        )

    async def _scan(
        self, asked: Question, start: Vector, limit: int | None
    ) -> AsyncIterator[Batch]:
        """All that is in the view now, batch by batch, up to the limit."""
        position, left, until = start, limit, None
        while left is None or left > 0:
            batch = await self._context.views.read(
                lambda view, at=position, most=left, end=until: _batch(  # type: ignore[misc]  # bound now, for the thread
                    view, asked, at, most, end
                )
            )
            yield batch
            position, until = batch.after, until or batch.head
            left = None if left is None else left - len(batch.rows)
            if batch.done:
                return

    async def _normal(self, asked: Question, start: Vector, here: Head) -> AsyncIterator[bytes]:
        yield b'{"results":[\n'
        async for chunk in self._rows(asked, start, here):
            yield chunk

    async def _rows(self, asked: Question, start: Vector, here: Head) -> AsyncIterator[bytes]:
        """Everything of an answer behind its opening."""
        position, head, separator = start, here, b""
        async for batch in self._scan(asked, start, asked.limit):
            position, head = batch.after, batch.head
            if batch.rows:
                yield separator + b",\n".join(batch.rows)
                separator = b",\n"
        yield await self._closing(asked, position, head)

    async def _closing(self, asked: Question, position: Vector, head: Head) -> bytes:
        pending = await self._context.views.read(
            lambda view: changes.pending(view, asked.audience, position)
        )
        last = changes.token(position, head.log)
        return f'\n],\n"last_seq":"{last}","pending":{pending}}}\n'.encode()

    async def _backward(self, asked: Question) -> AsyncIterator[bytes]:
        """The newest first. `since` has no say, as in CouchDB."""
        yield b'{"results":[\n'
        at: changes.Back | None = None
        left, separator, last = asked.limit, b"", ""
        while left is None or left > 0:
            rows, at, last = await self._context.views.read(
                lambda view, at=at, most=left: _back(view, asked, at, most)  # type: ignore[misc]  # bound now, for the thread
            )
            if rows:
                yield separator + b",\n".join(rows)
                separator = b",\n"
            left = None if left is None else left - len(rows)
            if at is None:
                break
        if not last:
            here = await self._context.views.read(couch.head)
            last = changes.token(changes.everything(here), here.log)
        yield f'\n],\n"last_seq":"{last}","pending":0}}\n'.encode()

    async def _longpoll(self, asked: Question, start: Vector, here: Head) -> AsyncIterator[bytes]:
        yield b'{"results":[\n'
        position = start
        clock = _Clock(asked)
        with self._context.feed.changed() as waiter:
            while asked.limit != 0:
                waiter.take()
                found = False
                async for batch in self._scan(asked, position, asked.limit):
                    if batch.rows:
                        found = True
                        break
                    position, here = batch.after, batch.head
                if found:
                    break
                ended = False
                async for beat in self._until_changed(waiter, clock):
                    if beat is None:
                        ended = True
                    else:
                        yield beat
                if ended:
                    break
        if self._context.stopping.is_set() or asked.limit == 0:
            yield await self._closing(asked, position, here)
            return
        async for chunk in self._rows(asked, position, here):
            yield chunk

    async def _lasting(self, asked: Question, start: Vector, here: Head) -> AsyncIterator[bytes]:
        """`continuous` and `eventsource`: one line for each change, until the time is over."""
        events = asked.feed == "eventsource"
        position, left = start, asked.limit
        clock = _Clock(asked)
        with self._context.feed.changed() as waiter:
            ended = False
            while not ended and left != 0:
                waiter.take()
                async for batch in self._scan(asked, position, left):
                    position, here = batch.after, batch.head
                    if batch.rows:
                        yield b"".join(_event(row) if events else row + b"\n" for row in batch.rows)
                        left = None if left is None else left - len(batch.rows)
                        clock.restart()
                if left == 0:
                    break
                async for beat in self._until_changed(waiter, clock):
                    if beat is None:
                        ended = True
                    else:
                        yield b"event: heartbeat\ndata: \n\n" if events else beat
        if not events:
            pending = await self._context.views.read(
                lambda view: changes.pending(view, asked.audience, position)
            )
            last = changes.token(position, here.log)
            yield f'{{"last_seq":"{last}","pending":{pending}}}\n'.encode()

    async def _until_changed(self, waiter: Waiter, clock: _Clock) -> AsyncIterator[bytes | None]:
        """Heartbeats until something was committed; None when the time is over."""
        stopping = asyncio.ensure_future(self._context.stopping.wait())
        changed = asyncio.ensure_future(waiter.wait())
        try:
            while True:
                done, _ = await asyncio.wait(
                    {stopping, changed},
                    timeout=clock.left(),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if stopping in done:
                    yield None
                    return
                if changed in done:
                    return
                if asked_beat := clock.beat():
                    yield asked_beat
                else:
                    yield None
                    return
        finally:
            for task in (stopping, changed):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(stopping, changed, return_exceptions=True)


class _Clock:
    """When the next heartbeat is due, or when the waiting is over; a heartbeat overrides that."""

    def __init__(self, asked: Question) -> None:
        self._beats = asked.heartbeat is not None
        self._span = asked.heartbeat if asked.heartbeat is not None else asked.timeout
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + self._span

    def left(self) -> float:
        return max(0.0, self._due - self._loop.time())

    def restart(self) -> None:
        self._due = self._loop.time() + self._span

    def beat(self) -> bytes | None:
        if not self._beats:
            return None
        self.restart()
        return b"\n"


def _question(request: Request, body: dict[str, Any], audience: Audience) -> Question:
    given = Parameters.of(request, {key: body[key] for key in body if key not in _BODY_ONLY})
    feed = given.text("feed", "normal")
    if feed not in _FEEDS:
        raise bad(f"feed is one of {', '.join(_FEEDS)}")
    since = given.text("since", "0")
    if (last := request.headers.get("last-event-id")) is not None and feed == "eventsource":
        since = last
    heartbeat: float | None = None
    if given.text("heartbeat", "false") == "true":
        heartbeat = _DEFAULT_S
    elif given.text("heartbeat", "false") != "false":
        heartbeat = max((given.number("heartbeat") or 0) / 1000, _SHORTEST_S)
    timeout = given.number("timeout")
    return Question(
        audience,
        feed,
        since,
        given.number("limit"),
        given.flag("include_docs"),
        given.flag("descending"),
        heartbeat,
        _DEFAULT_S if timeout is None else min(timeout / 1000, _DEFAULT_S),
        given.number("seq_interval", 1) or 1,
        filter_of(given, body),
    )


_BODY_ONLY: Final = frozenset({"selector", "doc_ids", "fields"})


def _start(view: Reader, since: str) -> tuple[Head, Vector]:
    here = couch.head(view)
    return here, changes.since(since, here)


def _batch(
    view: Reader, asked: Question, position: Vector, most: int | None, until: Head | None
) -> Batch:
    """One page of the view, filtered and rendered."""
    limit = _PAGE
    if asked.filter.everything and most is not None:
        limit = min(_PAGE, most)
    page = changes.page(
        view,
        asked.audience,
        position,
        limit=limit,
        until=until,
        condition=asked.filter.condition,
    )
    lines: list[bytes] = []
    vector = dict(position)
    for row in page.rows:
        for stream, at in row.given:
            vector[stream] = max(at, vector.get(stream, at))
        if not asked.filter.accepts(row.entry):
            continue
        seq = None
        if len(lines) % asked.interval == 0:
            seq = changes.token(vector, page.head.log)
        lines.append(_line(row.entry, seq, bodies=asked.bodies))
        if most is not None and len(lines) == most and row is not page.rows[-1]:
            return Batch(lines, vector, False, page.head)
    return Batch(lines, page.after, page.done, page.head)


def _back(
    view: Reader, asked: Question, at: changes.Back | None, most: int | None
) -> tuple[list[bytes], changes.Back | None, str]:
    limit = _PAGE if most is None or not asked.filter.everything else min(_PAGE, most)
    found, left, here = changes.page_back(
        view, asked.audience, at, limit=limit, condition=asked.filter.condition
    )
    lines: list[bytes] = []
    last = ""
    for entry, vector in found:
        last = changes.token(vector, here.log)
        if asked.filter.accepts(entry):
            lines.append(_line(entry, last, bodies=asked.bodies))
            if len(lines) == most:
                break
    return lines, left, last


def _line(entry: Entry, seq: str | None, *, bodies: bool) -> bytes:
    deleted = b',"deleted":true' if entry.deleted else b""
    doc = b',"doc":' + entry.body if bodies else b""
    mark = b"null" if seq is None else b'"' + seq.encode() + b'"'
    return b'{"seq":%b,"id":%b,"changes":[{"rev":"%b"}]%b%b}' % (
        mark,
        encode(entry.doc),
        entry.rev.encode(),
        deleted,
        doc,
    )


def _event(row: bytes) -> bytes:
    """A row as a server-sent event; its id is the row's `seq`."""
    seq = row[len(b'{"seq":') : row.index(b',"id":')].strip(b'"')
    return b"data: %b\nid: %b\n\n" % (row, seq)
