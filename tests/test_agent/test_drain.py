"""From the outbox to a real log: in order, once, and nothing silently lost."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from agent.drain import Drain
from agent.link import Link
from agent.state import State
from events import clock, consume
from events.append import append
from events.machine import places
from events.vocabulary.files import File, FileIndexed
from events.vocabulary.notices import NoticeResolved
from tests.conftest import LogRecords, NatsServer, connected, eventually
from tests.test_agent.disk import NODE
from tests.test_agent.running import make_streams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
async def state(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[State]:
    await make_streams(nats_server)
    state = State(tmp_path / "agent.db")
    yield state
    state.close()


def add(state: State, count: int, first: int = 0) -> None:
    """Queue file events with rising inodes, and now and then something of another stream."""
    with state.transaction():
        for number in range(first, first + count):
            file = File(
                id="018bcfe5-6800-7000-b823-4bb08065deb5",
                inode=number,
                parent="/",
                name="n",
                size=0,
                mtime=0,
                v=1,
            )
            where = (NODE,)
            state.outbox.add(FileIndexed(files=[file]), *where, time=clock.now(), actor="t")
            if number % 50 == 7:
                state.outbox.add(NoticeResolved(), NODE, "c", time=clock.now(), actor="t")


@asynccontextmanager
async def draining(
    state: State, tmp_path: Path, server: NatsServer, refused: list[str]
) -> AsyncIterator[Drain]:
    """A drain with a database connection of its own, as in the agent."""
    own = State(state.path)
    link = Link(places.find(tmp_path / "state"), NODE, server.url)
    drain = Drain(own, link, lambda subject, _: refused.append(subject))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(link.run()), group.create_task(drain.run())]
        yield drain
        for task in tasks:
            task.cancel()
    own.close()


async def stored(server: NatsServer) -> list[int]:
    """The inodes in the order of the log."""
    async with connected(server.url) as connection:
        return [
            int(message.body.partition(b'"inode":')[2].partition(b",")[0])
            async for batch in consume.read(connection, "FILES")
            for message in batch
        ]


async def test_all_in_order_and_then_empty(
    state: State, tmp_path: Path, nats_server: NatsServer
) -> None:
    add(state, 300)
    async with draining(state, tmp_path, nats_server, []) as drain:
        await drain.emptied()
        assert state.outbox.depth() == 0
        # Nobody wakes it: another connection's commit is enough.
        add(state, 10, first=300)
        await eventually(lambda: state.outbox.depth() == 0, "the new ones are sent")
    assert await stored(nats_server) == list(range(310))


async def test_what_came_through_before_is_not_stored_twice(
    state: State, tmp_path: Path, nats_server: NatsServer
) -> None:
    add(state, 100)
    # As if the agent had died between the confirmation and the removal.
    async with connected(nats_server.url) as connection:
        for each in state.outbox.waiting(30, 1 << 20):
            await append(connection, each.message)
    async with draining(state, tmp_path, nats_server, []) as drain:
        await drain.emptied()
    assert await stored(nats_server) == list(range(100))


async def test_a_refused_message_is_kept_aside(
    state: State, tmp_path: Path, nats_server: NatsServer, our_log: LogRecords
) -> None:
    add(state, 5)
    with state.transaction():
        state.connection.execute("UPDATE outbox SET body = zeroblob(2000000) WHERE n = 3")
    refused: list[str] = []
    our_log.expect("the log refuses a message")
    async with draining(state, tmp_path, nats_server, refused) as drain:
        await drain.emptied()
    assert await stored(nats_server) == [0, 1, 3, 4]
    assert refused == [f"mosaic.files.{NODE}.indexed"]
    assert state.value("SELECT n FROM rejected") == 3


async def test_the_server_killed_again_and_again(
    state: State, tmp_path: Path, nats_server: NatsServer, our_log: LogRecords
) -> None:
    our_log.allow("lost the event log")
    our_log.allow("the outbox waits")
    add(state, 2000)
    kills = 0
    async with draining(state, tmp_path, nats_server, []) as drain:
        for part in range(1, 6):
            wanted = part * 300
            await eventually(lambda wanted=wanted: drain.sent >= wanted, "some are sent")  # type: ignore[misc]
            kills += bool(state.outbox.depth())
            nats_server.kill()
            nats_server.start()
        await drain.emptied()
    assert kills >= 3
    assert await stored(nats_server) == list(range(2000))
