"""From the outbox to the log, strictly in order.

A row leaves the outbox only after the log confirmed its message. Until then it is sent again, with
the same message id, however often and however late.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import groupby
from typing import TYPE_CHECKING, Final

import msgspec

from events.append import DuplicateInBatch, append, append_atomic
from events.errors import LogRejected, Temporary
from events.machine import database
from events.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent.link import Link
    from agent.state import State
    from events.connection import Connection
    from events.outbox import Waiting

_logger = logging.getLogger(__name__)

_MESSAGES: Final = 64
_BYTES: Final = 4 * 1024 * 1024
# Other processes add to the same outbox; asking SQLite whether one did costs a few microseconds.
_POLL_S: Final = 0.5


class Drain:
    """Empties the outbox for as long as it runs. Call `wake` after adding to it."""

    def __init__(self, state: State, link: Link, rejected: Callable[[str, str], None]) -> None:
        self._state = state
        self._link = link
        self._rejected = rejected
        self._woken = asyncio.Event()
        self._emptied = asyncio.Event()
        self._back = asyncio.Event()
        self.trouble: str | None = None
        self.sent = 0

    def wake(self) -> None:
        """Say that the outbox has something new; only from the event loop."""
        self._woken.set()

    async def run(self) -> None:
        """Send for ever; ends by cancellation."""
        backoff = Backoff()
        self._link.listeners.append(self._back.set)
        seen = -1
        while True:
            connection = await self._link.wait()
            self._woken.clear()
            try:
                waiting = await asyncio.to_thread(self._waiting)
                if waiting:
                    self._emptied.clear()
                    await self._send(connection, waiting)
                    backoff.reset()
                    self.trouble = None
                    continue
            except Temporary as wrong:
                self.trouble = str(wrong)
                _logger.warning("the outbox waits: %s", wrong)
                await self._pause(backoff.next())
                continue
            self._emptied.set()
            seen = await self._idle(seen)

    async def emptied(self) -> None:
        """Wait until nothing is left to send."""
        self._emptied.clear()
        self.wake()
        await self._emptied.wait()

    async def _pause(self, seconds: float) -> None:
        """Wait, but not a moment longer than until the log is back."""
        if self._link.connected:
            # Connected and still refused: news of more to send is no reason to hurry.
            await asyncio.sleep(seconds)
            return
        self._back.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._back.wait()
        except TimeoutError:
            return

    async def _idle(self, seen: int) -> int:
        """Wait for something new, from here or from another process."""
        while True:
            try:
                async with asyncio.timeout(_POLL_S):
                    await self._woken.wait()
                return seen
            except TimeoutError:
                version = self._state.version()
                if version != seen:
                    return version

    def _waiting(self) -> list[Waiting]:
        with database.errors(self._state.path):
            return self._state.outbox.waiting(_MESSAGES, _BYTES)

    async def _send(self, connection: Connection, waiting: list[Waiting]) -> None:
        # An atomic batch is of one stream, and the second word of a subject decides the stream.
        for _, run in groupby(waiting, key=lambda each: each.message.subject.split(".", 2)[1]):
            await self._send_run(connection, list(run))

    async def _send_run(self, connection: Connection, run: list[Waiting]) -> None:
        try:
            await append_atomic(connection, [each.message for each in run])
        except DuplicateInBatch:
            # An earlier try came through, whole or in part: the server sorts out each by its id.
            await self._send_one_by_one(connection, run)
        except LogRejected:
            # One of them is refused; the others must not suffer for it.
            await self._send_one_by_one(connection, run)
        else:
            await self._remove(run)

    async def _send_one_by_one(self, connection: Connection, run: list[Waiting]) -> None:
        for each in run:
            try:
                await append(connection, each.message)
            except LogRejected as wrong:
                await asyncio.to_thread(self._reject, each, str(wrong))
                self._rejected(each.message.subject, str(wrong))
            else:
                await self._remove([each])

    async def _remove(self, run: Iterable[Waiting]) -> None:
        numbers = [each.n for each in run]
        await asyncio.to_thread(self._remove_now, numbers)
        self.sent += len(numbers)

    def _remove_now(self, numbers: list[int]) -> None:
        with self._state.transaction():
            self._state.outbox.remove(numbers)

    def _reject(self, each: Waiting, reason: str) -> None:
        _logger.error("the log refuses a message for good: %s", reason)
        message = each.message
        with self._state.transaction():
            self._state.connection.execute(
                "INSERT OR REPLACE INTO rejected VALUES (?, ?, ?, ?, ?)",
                (
                    each.n,
                    message.subject,
                    msgspec.json.encode(message.headers).decode(),
                    message.body,
                    reason,
                ),
            )
            self._state.outbox.remove([each.n])
