"""Commands become events here: decided against the log's own state, appended, then made visible.

The state that a command is decided on is the last message of each subject it looks at, with its
sequence. What is appended carries these sequences, so a document that changed meanwhile turns into
a conflict at the server. The answer is given after the gateway's view has the event.

Retries are safe: one submission has one message id per event. When a confirmation is lost, the
append is tried again, and an event that turns out to be stored already counts as this one.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from events import append, commands, subjects
from events.clock import now
from events.codec import MESSAGE_ID, encode
from events.decide import Decided, Held, decide
from events.errors import Conflict, LogUnavailable, Refused, Temporary
from events.fold import DOCUMENT_TYPES
from events.ids import new_uuid
from events.moments import unix_ms
from events.retry import Backoff
from events.vocabulary.catalog import DirectoryBody, Kind
from gateway.latest import latest
from projectors.feed import FeedTimeout

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from events.codec import Wire
    from events.connection import Connection
    from events.vocabulary.base import Event, Record
    from gateway.catalogue import Catalogue
    from gateway.views import Views

STREAM: Final = "CATALOG"
# How long an answer waits for its own event to be visible.
VISIBLE_S: Final = 10.0
_ATTEMPTS: Final = 3
_RECONNECT_S: Final = 3.0


class Committed(NamedTuple):
    """Where a command's last event stands, and the documents it changed. A command that changes
    nothing names the position that already says so."""

    stream: str
    sequence: int
    ids: list[str]


class Stale(Conflict):
    """A conflict, with the document's present revision (None: there is no such document)."""

    def __init__(self, reason: str, doc: str, rev: str | None) -> None:
        super().__init__(reason)
        self.doc = doc
        self.rev = rev


class NotYetVisible(Temporary):
    """The event is stored, but the view has not got it in time."""

    def __init__(self, reason: str, committed: Committed) -> None:
        super().__init__(reason)
        self.committed = committed


class _Unknown(Exception):
    """The decision looks at a document that is not loaded yet."""

    def __init__(self, kind: Kind, id: str) -> None:
        super().__init__(kind, id)
        self.key = (kind, id)


class _State:
    """What a decision may look at; asks for what it lacks by raising `_Unknown`.

    `decide` is pure, so it can be run again with more loaded until nothing is missing.
    """

    def __init__(self, directories: list[DirectoryBody]) -> None:
        self._directories = directories
        self.loaded: dict[tuple[Kind, str], Held | None] = {}

    def held(self, kind: Kind, id: str) -> Held | None:
        try:
            return self.loaded[kind, id]
        except KeyError:
            raise _Unknown(kind, id) from None

    def below(self, virtual_path: str) -> Iterable[DirectoryBody]:
        prefix = virtual_path.rstrip("/") + "/"
        return [
            each
            for each in self._directories
            if each.virtual_path.startswith(prefix) and each.virtual_path != virtual_path
        ]


def doc_of(kind: Kind, id: str) -> str:
    """The document that a catalog subject stands for."""
    prefix = "node" if kind == "node" else DOCUMENT_TYPES[kind][1]
    return f"{prefix}::{id}"


class Commands:
    """The one way from a wish to the log."""

    def __init__(self, log: Connection, views: Views) -> None:
        self._log = log
        self._views = views
        # Whether a directory may go depends on which others stand below it, which no single
        # subject tells; so this gateway decides about directories one after the other.
        self._directories = asyncio.Lock()

    async def submit(self, command: commands.Command, actor: str) -> Committed:
        """Decide and append; returns when the view has it.

        Raises `Refused`, `Stale`, `LogUnavailable` (nobody knows whether it is stored, and trying
        again is safe) or `NotYetVisible` (it is stored).
        """
        if isinstance(
            command, commands.CreateDirectory | commands.EditDirectory | commands.RemoveDirectory
        ):
            async with self._directories:
                return await self._submit(command, actor)
        return await self._submit(command, actor)

    async def tell(
        self, events: Sequence[tuple[Event, tuple[str, ...]]], stream: str, actor: str
    ) -> Committed:
        """Append events that need no decision, each with the subject tokens that it does not know
        itself, all of one stream; returns when the view has them."""
        at = now()
        wires = [
            encode(event, *where, time=at, actor=actor, id=new_uuid()) for event, where in events
        ]
        sequence = self._views.feed.streams.get(stream, 0)
        for start in range(0, len(wires), append.BATCH_LIMIT):
            part = wires[start : start + append.BATCH_LIMIT]
            sequence = await self._append(part, stream, [None] * len(part))
        committed = Committed(stream, sequence, [])
        await self._visible(committed)
        return committed

    async def _submit(self, command: commands.Command, actor: str) -> Committed:
        state = _State(await self._below(command))
        try:
            decided = await self._decide(command, state)
        except Conflict as wrong:
            # What was looked at last is what did not fit.
            raise await self._stale(wrong, *list(state.loaded)[-1]) from wrong
        if not decided:
            return await self._unchanged(state)
        try:
            sequence = await self._append_decided(decided, actor)
        except Conflict as wrong:
            last = decided[-1].event
            raise await self._stale(wrong, last.kind, last.id) from wrong
        docs = [doc_of(each.event.kind, each.event.id) for each in decided]
        committed = Committed(STREAM, sequence, docs)
        await self._visible(committed)
        return committed

    async def _below(self, command: commands.Command) -> list[DirectoryBody]:
        if not isinstance(command, commands.RemoveDirectory):
            return []

        def directories(view: Catalogue) -> list[DirectoryBody]:
            return [
                DirectoryBody(virtual_path=body["virtual_path"])
                for body in view.documents("virtual_directory")
            ]

        return await self._views.read(directories)

    async def _decide(self, command: commands.Command, state: _State) -> list[Decided]:
        while True:
            try:
                return decide(command, state)
            except _Unknown as need:
                state.loaded[need.key] = await self._held(*need.key)

    async def _held(self, kind: Kind, id: str) -> Held | None:
        last = await latest(self._log, STREAM, subjects.build("catalog", kind, id))
        if last is None:
            return None
        body = cast("Record | None", getattr(last.envelope.event, "body", None))
        if kind == "node":
            # A node's document also changes with each heartbeat; what people edit is told apart by
            # the moment at which it was last configured.
            return Held(body, unix_ms(last.envelope.time), last.sequence)
        await self._views.feed.wait_for(STREAM, last.sequence)
        doc = doc_of(kind, id)
        generation = await self._views.read(lambda view: view.generation(doc))
        return Held(body, generation, last.sequence)

    async def _append_decided(self, decided: list[Decided], actor: str) -> int:
        if len(decided) > append.BATCH_LIMIT:
            raise Refused(
                "too_many", f"one change touches {append.BATCH_LIMIT} documents at the most"
            )
        at = now()
        wires = [encode(each.event, time=at, actor=actor, id=new_uuid()) for each in decided]
        return await self._append(wires, STREAM, [each.expected_sequence for each in decided])

    async def _append(self, wires: list[Wire], stream: str, expected: Sequence[int | None]) -> int:
        """Append, for as long as a lost confirmation may still turn up; the last one's sequence."""
        backoff = Backoff(first=0.1, cap=1.0)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                ack = await append.append_atomic(self._log, wires, expected_sequences=expected)
            except LogUnavailable:
                if attempt == _ATTEMPTS:
                    raise
                await asyncio.sleep(backoff.next())
                await self._reconnected()
            except (Conflict, append.DuplicateInBatch):
                # A conflict with ourselves: an attempt before this one had come through.
                stored = await self._stored(wires[-1], stream) if attempt > 1 else None
                if stored is None:
                    raise
                return stored
            else:
                return ack.sequence
        raise AssertionError("the last attempt returns or raises")

    async def _reconnected(self) -> None:
        """Give a server that was restarted, or a cut connection, the time to come back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RECONNECT_S):
                await self._log.available()

    async def _stored(self, wire: Wire, stream: str) -> int | None:
        last = await latest(self._log, stream, wire.subject)
        if last is None or last.message_id != wire.headers[MESSAGE_ID]:
            return None
        return last.sequence

    async def _unchanged(self, state: _State) -> Committed:
        """The answer to a command that asks for what is so already."""
        held = {key: each for key, each in state.loaded.items() if each is not None}
        sequence = max((each.sequence for each in held.values()), default=0)
        committed = Committed(STREAM, sequence, [doc_of(*key) for key in held])
        await self._visible(committed)
        return committed

    async def _visible(self, committed: Committed) -> None:
        try:
            await self._views.feed.wait_for(committed.stream, committed.sequence, limit=VISIBLE_S)
        except FeedTimeout as late:
            raise NotYetVisible(f"the change is stored, but {late}", committed) from late

    async def _stale(self, wrong: Conflict, kind: Kind, id: str) -> Stale:
        """The conflict with the present revision of the document."""
        doc = doc_of(kind, id)
        last = await latest(self._log, STREAM, subjects.build("catalog", kind, id))
        if last is not None:
            await self._views.feed.wait_for(STREAM, last.sequence)
        body = await self._views.read(lambda view: view.document(doc))
        return Stale(str(wrong), doc, None if body is None else str(body["_rev"]))
