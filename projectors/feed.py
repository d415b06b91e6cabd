"""The change feed: how readers on this machine learn of a commit.

The projector's control socket answers `{"do": "follow"}` with one line at once and one after each
commit: `{"n": …, "streams": {"FILES": 12, …}, "docs": […] | null, "epoch": "…"}`. A line is sent
only after the commit, so whoever reads it and then asks the view sees at least that much. `docs`
null means too many to name, or that lines were left out because the reader was slow: ask the view
what changed since the last `n` that you saw. Another `epoch` means another view file: open it anew.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
import anyio.abc
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from events.errors import Temporary
from events.machine.control import Answer, NotRunning, short

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path
    from types import TracebackType

_WAITING_LINES: Final = 256
_LINE_LIMIT: Final = 1024 * 1024


class Line(msgspec.Struct, frozen=True):
    """One line of the feed."""

    n: int
    streams: dict[str, int]
    docs: list[str] | None
    epoch: str


class Feed:
    """The projector's end. `tell` never waits: a slow reader gets fewer, wider lines."""

    def __init__(self) -> None:
        self._last: Line | None = None
        self._readers: set[asyncio.Queue[Line]] = set()

    def tell(self, line: Line) -> None:
        self._last = Line(line.n, line.streams, None, line.epoch)
        for reader in self._readers:
            if reader.full():
                while not reader.empty():
                    reader.get_nowait()
                reader.put_nowait(self._last)
            else:
                reader.put_nowait(line)

    async def follow(self, question: dict[str, Any]) -> AsyncIterator[Answer]:
        """The verb `follow` of the control socket."""
        return self._lines()

    async def _lines(self) -> AsyncIterator[Answer]:
        mine: asyncio.Queue[Line] = asyncio.Queue(_WAITING_LINES)
        if self._last is not None:
            mine.put_nowait(self._last)
        self._readers.add(mine)
        try:
            while True:
                yield msgspec.to_builtins(await mine.get())
        finally:
            self._readers.discard(mine)


class FeedTimeout(Temporary):
    """The view did not reach a position in time."""


class FeedReader:
    """A reader's end, under asyncio or trio. One task reads it; it ends when the projector does."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._stream: anyio.abc.SocketStream | None = None
        self._buffered: BufferedByteReceiveStream | None = None
        self.streams: Mapping[str, int] = {}

    async def __aenter__(self) -> Self:
        try:
            with short(self._socket) as name:
                stream = await anyio.connect_unix(name)
        except OSError as wrong:
            raise NotRunning(f"no projector answers on {self._socket}") from wrong
        try:
            await stream.send(b'{"do":"follow"}\n')
        except BaseException as wrong:
            await anyio.aclose_forcefully(stream)
            if isinstance(wrong, anyio.BrokenResourceError):
                raise NotRunning(f"no projector answers on {self._socket}") from wrong
            raise
        self._stream = stream
        self._buffered = BufferedByteReceiveStream(stream)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            await self._stream.aclose()

    async def line(self) -> Line:
        """The next line; raises NotRunning when the projector is gone."""
        assert self._buffered is not None, "use the reader as a context manager"
        try:
            raw = await self._buffered.receive_until(b"\n", _LINE_LIMIT)
        except (anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError) as gone:
            raise NotRunning("the projector went away") from gone
        line = msgspec.json.decode(raw, type=Line)
        self.streams = line.streams
        return line

    async def wait_for(self, stream: str, sequence: int, limit: float = 10.0) -> None:
        """Return when the view has committed the stream up to the sequence: read your writes."""
        with anyio.move_on_after(limit):
            while self.streams.get(stream, 0) < sequence:
                await self.line()
            return
        raise FeedTimeout(
            f"the view did not reach {stream} {sequence} within {limit:.0f} s; "
            "`mosaicfs views status` tells how far it is"
        )
