"""A real agent, as a process of its own, with a real server behind it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

from agent import config
from agent.config import AgentConfig
from events import consume, streams
from events.codec import decode
from events.machine import control, places
from tests.conftest import connected, eventually
from tests.test_agent.disk import Known, fold, on_disk

if TYPE_CHECKING:
    from pathlib import Path

    from events.codec import Envelope
    from tests.conftest import NatsServer

PROGRAM: Final = """
import asyncio, pathlib, sys
from agent import service
from events.machine import log, places
log.set_up("agent", file=None)
asyncio.run(service.run(places.find(pathlib.Path(sys.argv[1]))))
"""


class Agent:
    """An agent that watches `tree`, with its state beside it; may be killed and started again."""

    def __init__(self, folder: Path, server: NatsServer) -> None:
        self.tree = folder / "tree"
        self.tree.mkdir(parents=True)
        self._server = server
        self._log = folder / "agent.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.move_state(folder / "state")

    def move_state(self, folder: Path) -> None:
        """Have the state elsewhere; before the first start."""
        self.places = places.find(folder)
        self.places.make()
        watch = (str(self.tree),)
        config.write(
            self.places.agent_toml,
            AgentConfig(watch_paths=watch, nats_url=self._server.url, debounce_ms=50),
        )

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *before: str) -> None:
        """Start it; `before` is a program that runs it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*before, sys.executable, "-X", "dev", "-c", PROGRAM, str(self.places.state)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdout=log,
                stderr=log,
            )

    def send(self, which: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(which)

    def end(self, how: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(20)

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def stop(self) -> None:
        """As a person would; whatever it has to say about itself is a failure."""
        assert self.end(signal.SIGTERM) == 0, self.log
        assert "Traceback" not in self.log, self.log

    async def ask(self, **question: object) -> dict[str, Any]:
        return await control.ask(self.places.socket("agent"), question)

    async def crawl(self) -> dict[str, Any]:
        """Ask for a crawl and wait for its end; returns what it did."""
        with control.short(self.places.socket("agent")) as name:
            reader, writer = await asyncio.open_unix_connection(name)
        writer.write(b'{"do":"crawl"}\n')
        try:
            while line := await reader.readline():
                answer: dict[str, Any] = json.loads(line)
                if "done" in answer:
                    return dict(answer["done"])
        finally:
            writer.close()
        pytest.fail("the agent hung up")

    async def status(self) -> dict[str, Any]:
        try:
            return await self.ask(do="status")
        except control.NotRunning:
            return {"state": "away"}

    async def settled(self) -> dict[str, Any]:
        """Its status, once all that is on the disk was found and sent."""
        status: dict[str, Any] = {}

        async def quiet() -> bool:
            nonlocal status
            status = await self.status()
            return status["state"] == "watching" and not status["outbox"]

        await eventually(quiet, "the agent has nothing to do")
        return status

    async def told(self, stream: str = "FILES") -> list[Envelope]:
        """All that the log holds."""
        async with connected(self._server.url) as connection:
            return [
                decode(message.subject, message.headers, message.body)
                async for batch in consume.read(connection, stream)
                for message in batch
            ]

    async def files(self) -> dict[str, Known]:
        """What the log says of files, each event exactly once and in order."""
        return fold(await self.told())

    async def agrees(self) -> bool:
        """Whether log and disk say the same."""
        living = {
            each.place: (each.size, each.mtime)
            for each in (await self.files()).values()
            if not each.deleted
        }
        return living == on_disk(self.tree)


async def make_streams(server: NatsServer) -> None:
    async with connected(server.url) as connection:
        await streams.ensure(connection)
