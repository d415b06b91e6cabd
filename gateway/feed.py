"""The change feed inside the gateway: one reader of the projector's feed, many waiters.

Every line is told after the view's commit, so whoever is woken and then reads the view sees at
least that much.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from events.machine.control import NotRunning
from events.retry import Backoff
from projectors.documents.tokens import Position
from projectors.feed import FeedReader, FeedTimeout, Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_logger = logging.getLogger(__name__)

# How long a writer waits for its own event to be visible.
WAIT_S: Final = 10.0


class Changes:
    """What has changed since the last look, for one waiter. Slow waiters lose nothing: lines that
    came meanwhile are merged."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._docs: set[str] | None = set()

    def tell(self, docs: list[str] | None) -> None:
        if docs is None or self._docs is None:
            self._docs = None
        else:
            self._docs.update(docs)
        self._woken.set()

    async def wait(self, limit: float | None = None) -> bool:
        """Whether a commit came within `limit` seconds."""
        try:
            async with asyncio.timeout(limit):
                await self._woken.wait()
        except TimeoutError:
            return False
        return True

    def take(self) -> set[str] | None:
        """The documents that changed since the last call; None if they are too many to name."""
        docs, self._docs = self._docs, set()
        self._woken.clear()
        return docs


class FeedRelay:
    """Follows the projector for as long as `run` runs, across its restarts."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._waiters: set[Changes] = set()
        self._listeners: list[Callable[[Line], None]] = []
        self.connected = False
        self.streams: Mapping[str, int] = {}
        self.epoch: str | None = None
        self.n = 0

    def listen(self, listener: Callable[[Line], None]) -> None:
        """Call with every line, on the event loop, before any waiter is woken. Must not block."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Follow until cancelled."""
        backoff = Backoff(first=0.05, cap=1.0)
        while True:
            try:
                async with FeedReader(self._socket) as reader:
                    while True:
                        self.tell(await reader.line())
                        self.connected = True
                        backoff.reset()
            except NotRunning as wrong:
                if self.connected:
                    _logger.info("lost the change feed; answers come from the view as it is")
                self.connected = False
                _logger.debug("no change feed: %s", wrong)
                await asyncio.sleep(backoff.next())

    def tell(self, line: Line) -> None:
        """Take one line of the feed."""
        self.streams, self.epoch, self.n = line.streams, line.epoch, line.n
        for listener in self._listeners:
            listener(line)
        for waiter in self._waiters:
            waiter.tell(line.docs)

    @contextlib.contextmanager
    def changed(self) -> Iterator[Changes]:
        """Be woken after each commit, from now on."""
        changes = Changes()
        self._waiters.add(changes)
        try:
            yield changes
        finally:
            self._waiters.discard(changes)

    def reached(self, stream: str, sequence: int) -> bool:
        return self.streams.get(stream, 0) >= sequence

    async def wait_for(self, stream: str, sequence: int, limit: float = WAIT_S) -> None:
        """Return when the view has committed the stream up to the sequence: read your writes."""
        if self.reached(stream, sequence):
            return
        with self.changed() as changes:
            try:
                async with asyncio.timeout(limit):
                    while not self.reached(stream, sequence):
                        await changes.wait()
                        changes.take()
            except TimeoutError:
                raise FeedTimeout(
                    f"the view did not reach {stream} {sequence} within {limit:.0f} s"
                ) from None

    def position(self) -> dict[str, Position]:
        """How far the view is, as a vector for `projectors.documents.tokens`."""
        return {stream: Position(at) for stream, at in self.streams.items()}
