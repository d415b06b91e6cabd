"""Reading the log for a person: from a moment on, up to a number of events, or live."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from events.connection import ApiError
from events.consume import Message, read
from events.errors import Permanent
from events.streams import BY_NAME, heads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from nats.aio.msg import Msg

    from events.connection import Connection

_NO_MESSAGE: Final = 10037
# A live event is announced before it is stored; it is looked for so often, so long.
_LOOK_AGAIN_S: Final = 0.05
_GIVE_UP_S: Final = 2.0
# Announcements can be lost with the connection, so the streams are looked at now and then anyway.
_LOOK_ANYWAY_S: Final = 5.0


def stream_named(name: str) -> str:
    """The stream's real name for what was typed, whatever its case; raises Permanent."""
    if name.upper() in BY_NAME:
        return name.upper()
    raise Permanent(f"no stream {name!r}; there are {', '.join(BY_NAME)}")


async def first_since(connection: Connection, stream: str, ns: int) -> int:
    """The sequence before the first message that was stored at or behind a time.

    By halving: messages are stored in the order of time, unless the server's clock was set back.
    """
    state = (await connection.api(f"STREAM.INFO.{stream}"))["state"]
    low, high = int(state["first_seq"]), int(state["last_seq"]) + 1
    while low < high:
        middle = (low + high) // 2
        stored = await _stored_ns(connection, stream, middle)
        if stored is None or stored >= ns:
            high = middle
        else:
            low = middle + 1
    return low - 1


async def _stored_ns(connection: Connection, stream: str, sequence: int) -> int | None:
    """When the message with this sequence, or the first one behind it, was stored."""
    from datetime import datetime

    question = {"seq": sequence, "next_by_subj": BY_NAME[stream].subjects}
    try:
        found = await connection.api(f"STREAM.MSG.GET.{stream}", question)
    except ApiError as wrong:
        if wrong.err_code == _NO_MESSAGE:
            return None
        raise
    moment = datetime.fromisoformat(found["message"]["time"])
    return int(moment.timestamp() * 1_000_000_000)


class Tail:
    """What is appended to the log from now on, in all streams or some.

    Plain subscriptions only ring the bell: they also carry what the log then refuses, and no
    sequence. What is shown is read from the streams.
    """

    def __init__(self, connection: Connection, streams: Sequence[str], subject: str | None) -> None:
        self._connection = connection
        self._streams = streams
        self._subject = subject
        self._positions: dict[str, int] = {}
        self._rung: Counter[str] = Counter()
        self._bell = asyncio.Event()

    async def start(self) -> None:
        """Now is now."""
        for stream in self._streams:
            pattern = self._subject or BY_NAME[stream].subjects
            await self._connection.client.subscribe(pattern, cb=self._ring(stream))
        await self._connection.client.flush()
        known = await heads(self._connection)
        self._positions = {
            name: int(known[name]["last_seq"]) for name in self._streams if name in known
        }

    def _ring(self, stream: str) -> Callable[[Msg], Awaitable[None]]:
        async def ring(_: Msg) -> None:
            self._rung[stream] += 1
            self._bell.set()

        return ring

    async def batches(self) -> AsyncIterator[list[Message]]:
        """For ever. Messages of several streams that arrived together are in order of time."""
        loop = asyncio.get_running_loop()
        waiting_since = loop.time()
        while True:
            pause = _LOOK_AGAIN_S if self._rung else _LOOK_ANYWAY_S
            try:
                async with asyncio.timeout(pause):
                    await self._bell.wait()
            except TimeoutError:
                pass
            else:
                self._bell.clear()
                waiting_since = loop.time()
            found = await self._new()
            if found:
                yield sorted(found, key=lambda message: message.stored_ns)
            if loop.time() - waiting_since > _GIVE_UP_S:
                # What was announced was refused by the log.
                self._rung.clear()

    async def _new(self) -> list[Message]:
        known = await heads(self._connection)
        found: list[Message] = []
        for stream in self._streams:
            if stream not in known:
                continue
            position = self._positions.get(stream, 0)
            last = int(known[stream]["last_seq"])
            async for batch in read(
                self._connection, stream, after=position, upto=last, subject=self._subject
            ):
                found += batch
                self._rung[stream] -= len(batch)
            self._positions[stream] = max(position, last)
        self._rung = +self._rung
        return found
