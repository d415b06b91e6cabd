"""The change feed between two real ends, under asyncio and under trio."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from events.machine.control import Control, NotRunning
from projectors.feed import Feed, FeedReader, FeedTimeout, Line
from tests.conftest import WAIT_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The mount is trio's. In CI a missing trio is a failure, elsewhere the tests are passed over.
_TRIO = pytest.param(
    "trio",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("trio") is None and os.environ.get("CI") != "true",
        reason="trio is not installed",
    ),
)
both = pytest.mark.parametrize("backend", ["asyncio", _TRIO])


class Served:
    """A feed on a control socket, in a thread with an event loop of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.feed = Feed()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._task: asyncio.Task[None] | None = None

    def _run(self) -> None:
        control = Control(self.path, dict, {"follow": self.feed.follow})
        self._task = self._loop.create_task(control.serve(self._ready.set))
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(WAIT_S)

    def stop(self) -> None:
        if self._thread.is_alive():
            assert self._task is not None
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(WAIT_S)
            assert not self._thread.is_alive()

    def tell(self, *lines: Line) -> None:
        done = threading.Event()

        def now() -> None:
            for line in lines:
                self.feed.tell(line)
            done.set()

        self._loop.call_soon_threadsafe(now)
        assert done.wait(WAIT_S)

    @property
    def readers(self) -> int:
        return len(self.feed._readers)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path / "projector.sock")
    served.start()
    yield served
    served.stop()


def a_line(n: int, docs: list[str] | None = None, epoch: str = "e", **streams: int) -> Line:
    return Line(n, streams or {"FILES": n}, docs, epoch)


@both
def test_a_reader_has_the_last_line_at_once_and_then_every_line(
    served: Served, backend: str
) -> None:
    served.tell(a_line(1, ["x"]), a_line(2, ["y"]))

    async def read() -> None:
        async with FeedReader(served.path) as reader:
            # What came before is not named: this reader knows nothing yet.
            assert await reader.line() == a_line(2, None)
            await anyio.to_thread.run_sync(served.tell, a_line(3, ["z"]), a_line(4, None))
            assert await reader.line() == a_line(3, ["z"])
            assert await reader.line() == a_line(4, None)
            assert reader.streams == {"FILES": 4}

    anyio.run(read, backend=backend)


@both
def test_wait_for_returns_with_the_line_that_reaches_it(served: Served, backend: str) -> None:
    served.tell(a_line(1, FILES=5, NODES=2))

    async def read() -> None:
        async with FeedReader(served.path) as reader:
            await reader.wait_for("NODES", 2)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(reader.wait_for, "FILES", 7)
                for n in (6, 7, 8):
                    await anyio.to_thread.run_sync(served.tell, a_line(n, FILES=n))
            # It took no line more than it needed.
            assert reader.streams == {"FILES": 7}
            assert (await reader.line()).n == 8

    anyio.run(read, backend=backend)


@both
def test_wait_for_gives_up_and_the_reader_goes_on(served: Served, backend: str) -> None:
    served.tell(a_line(1))

    async def read() -> None:
        async with FeedReader(served.path) as reader:
            with pytest.raises(FeedTimeout, match="did not reach FILES 9"):
                await reader.wait_for("FILES", 9, limit=0.05)
            await anyio.to_thread.run_sync(served.tell, a_line(9))
            await reader.wait_for("FILES", 9)

    anyio.run(read, backend=backend)


@both
def test_no_projector_no_feed(tmp_path: Path, backend: str) -> None:
    async def read(path: Path) -> None:
        with pytest.raises(NotRunning):
            async with FeedReader(path):
                pass

    anyio.run(read, tmp_path / "nothing.sock", backend=backend)
    # A socket that nobody listens on any more, as a killed process leaves it.
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "left.sock"))
    left.close()
    anyio.run(read, tmp_path / "left.sock", backend=backend)


@both
def test_the_end_of_the_projector_ends_the_reader(served: Served, backend: str) -> None:
    served.tell(a_line(1))

    async def read() -> None:
        async with FeedReader(served.path) as reader:
            await reader.line()
            await anyio.to_thread.run_sync(served.stop)
            with pytest.raises(NotRunning, match="went away"):
                await reader.wait_for("FILES", 2)

    anyio.run(read, backend=backend)


def test_a_socket_deep_below_is_reached(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    served = Served(folder / "projector.sock")
    served.start()
    served.tell(a_line(1))

    async def read() -> None:
        async with FeedReader(served.path) as reader:
            assert (await reader.line()).n == 1

    anyio.run(read)
    served.stop()


def test_another_build_has_another_epoch(served: Served) -> None:
    served.tell(a_line(10, epoch="one"))

    async def read() -> None:
        async with FeedReader(served.path) as reader:
            assert (await reader.line()).epoch == "one"
            # A rebuilt view may well stand lower; what it says now is what counts.
            await anyio.to_thread.run_sync(served.tell, a_line(3, epoch="two"))
            assert await reader.line() == a_line(3, epoch="two")
            with pytest.raises(FeedTimeout):
                await reader.wait_for("FILES", 10, limit=0.05)

    anyio.run(read)


def test_a_slow_reader_gets_fewer_wider_lines_and_the_last_one(served: Served) -> None:
    count = 20_000
    slow = socket.socket(socket.AF_UNIX)
    slow.settimeout(WAIT_S)
    slow.connect(str(served.path))
    slow.sendall(b'{"do":"follow"}\n')
    wait_until(lambda: served.readers == 1, "the reader is known")
    for start in range(0, count, 1000):
        # It says nothing and reads nothing, and nobody waits for it.
        began = time.monotonic()
        served.tell(*(a_line(n, [f"doc {n}"]) for n in range(start + 1, start + 1001)))
        assert time.monotonic() - began < 5
    (waiting,) = served.feed._readers
    assert waiting.qsize() <= 256
    lines: list[dict[str, Any]] = []
    with slow.makefile("rb") as file:
        while not lines or lines[-1]["n"] < count:
            lines.append(json.loads(file.readline()))
    slow.close()
    assert len(lines) < count
    numbers = [line["n"] for line in lines]
    assert numbers == sorted(numbers)
    # Where lines are missing, the next one does not claim to name everything.
    for before, line in zip([0, *numbers], lines, strict=False):
        assert line["n"] == before + 1 or line["docs"] is None
    assert any(line["docs"] is None for line in lines)


def test_a_reader_that_left_is_forgotten(served: Served) -> None:
    served.tell(a_line(1))

    async def read() -> None:
        async with FeedReader(served.path) as reader:
            await reader.line()

    for _ in range(5):
        anyio.run(read)
    wait_until(lambda: served.readers > 0, "they were known")

    def tell_and_look() -> bool:
        served.tell(a_line(2))
        return served.readers == 0

    wait_until(tell_and_look, "those who left are forgotten")
