"""A projector under test, and what may be asked of it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import textwrap
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from events import append, streams
from events.codec import encode
from events.machine import control
from events.moments import moment
from events.vocabulary.files import FileIndexed
from projectors import service
from projectors.documents.reader import NoView, Reader
from projectors.feed import FeedReader
from tests.conftest import WAIT_S, connected, eventually
from tests.test_projectors.tape import a_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from events.append import Ack
    from events.connection import Connection
    from events.machine.places import Places
    from events.vocabulary import Event
    from tests.conftest import NatsServer

_LINE: Final = 1024 * 1024


class Log:
    """What agents and gateways do to the log."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.said = 0
        self.writer = secrets.token_hex(6)

    async def say(self, event: Event, *where: str, id: str | None = None) -> Ack:
        self.said += 1
        wire = encode(
            event,
            *where,
            time=moment(1_790_000_000_000 + self.said),
            actor="test",
            id=id or f"{self.writer}-{self.said}",
        )
        return await append.append(self.connection, wire)

    async def index(self, first: int, count: int = 1, *, node: str = "n1", per: int = 1) -> Ack:
        """Files with these numbers, `per` of them in a message."""
        wires = []
        for start in range(first, first + count, per):
            self.said += 1
            files = [a_file(each) for each in range(start, min(start + per, first + count))]
            wires.append(
                encode(
                    FileIndexed(files=files),
                    node,
                    time=moment(1_790_000_000_000 + self.said),
                    actor="test",
                    id=f"{self.writer}-{self.said}",
                )
            )
        for at in range(0, len(wires), 500):
            ack = await append.append_atomic(self.connection, wires[at : at + 500])
        return ack

    async def garbage(self, subject: str = "mosaic.files.n1.indexed") -> Ack:
        reply = await self.connection.client.request(subject, b"garbage", timeout=WAIT_S)
        answer = json.loads(reply.data)
        return append.Ack(answer["stream"], answer["seq"])


@asynccontextmanager
async def a_log(server: NatsServer) -> AsyncIterator[Log]:
    """The streams, and a connection to write to them."""
    async with connected(server.url) as connection:
        await streams.ensure(connection)
        yield Log(connection)


def point_to(places: Places, server: NatsServer) -> None:
    """Tell a machine where its log is."""
    places.make()
    (places.nats / "url").write_text(server.url)


class Running:
    """A projector that runs."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.socket = places.socket("projector")

    async def status(self) -> dict[str, Any]:
        return await control.ask(self.socket, {"do": "status"})

    async def live(self) -> dict[str, Any]:
        """Wait until it is up with the log."""
        found: dict[str, Any] = {}

        async def is_live() -> bool:
            nonlocal found
            try:
                found = await self.status()
            except control.NotRunning:
                return False
            return bool(found["state"] == "live")

        try:
            await eventually(is_live, "the projector is live")
        except BaseException as wrong:
            wrong.add_note(f"its last status: {found}")
            raise
        return found

    async def reached(self, ack: Ack) -> None:
        """Wait until a message is in the view."""
        async with FeedReader(self.socket) as feed:
            await feed.wait_for(ack.stream, ack.sequence, WAIT_S)

    async def do(self, verb: str) -> list[dict[str, Any]]:
        """All answers to a verb, up to the last."""
        found = []
        async with asyncio.timeout(3 * WAIT_S):
            async for answer in control.follow(self.socket, {"do": verb}):
                found.append(answer)
                if answer.get("step") == "done" or "equal" in answer:
                    break
        return found

    async def equal(self) -> dict[str, Any]:
        """The last answer of `verify`, which has to be yes."""
        found = (await self.do("verify"))[-1]
        assert found["equal"], found
        return found


@asynccontextmanager
async def projecting(places: Places) -> AsyncIterator[Running]:
    """A projector in this process, for the length of a block; it may not end by itself."""
    task = asyncio.create_task(service.run(places))
    running = Running(places)
    try:
        await eventually(
            lambda: running.socket.exists() or task.done(), "the projector has a socket"
        )
        yield running
    finally:
        over = task.done()
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled() and (wrong := task.exception()) is not None:
            raise wrong
        assert not over, "the projector ended by itself"


def names(path: Path) -> set[str]:
    """The names of all live files in a view; none where there is no view."""
    try:
        with Reader(path) as reader:
            return {row.name for row in reader.files(limit=1_000_000)}
    except NoView:
        return set()


class Process:
    """A projector in a process of its own, which can be killed."""

    _MAIN: Final = """
        import asyncio, sys
        from pathlib import Path
        from events.machine import log, places
        from events.machine.process import until_stopped
        from projectors import service
        found = places.find(Path(sys.argv[1]))
        log.set_up("projector", file=None)
        asyncio.run(until_stopped(service.run(found)))
    """

    def __init__(self, places: Places) -> None:
        self._log = (places.state / "projector.txt").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(self._MAIN), str(places.state)],
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> bool:
        """Whether it was the kill that ended it."""
        self._process.send_signal(signal.SIGKILL)
        self._log.close()
        return self._process.wait(WAIT_S) == -signal.SIGKILL

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        self._log.close()
        return self._process.wait(WAIT_S)
