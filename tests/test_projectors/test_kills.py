"""The projector is killed at seeded moments; nothing is lost and nothing comes twice."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from events.moments import moment
from events.vocabulary import nodes, results
from events.vocabulary.files import FileChanged
from projectors.documents.reader import NoView, Reader
from tests.conftest import WAIT_S, eventually
from tests.test_projectors.meaning import index_is_whole
from tests.test_projectors.running import Log, Process, Running, a_log, point_to
from tests.test_projectors.tape import a_file

if TYPE_CHECKING:
    from events.machine.places import Places
    from tests.conftest import NatsServer

pytestmark = pytest.mark.anyio


async def live_on(log: Log, stop: asyncio.Event) -> tuple[int, int]:
    """Files come and change, accesses are counted; returns how many of each there were."""
    files = accesses = 0
    while not stop.is_set():
        await log.index(files, 200, per=20)
        files += 200
        changed = [a_file(n, f"changed {n}", v=2) for n in range(files - 200, files, 9)]
        await log.say(FileChanged(files=changed), "n1")
        access = results.Access(file_id="x", at=moment(accesses), count=1)
        await log.say(results.AccessRecorded(accesses=[access]), "n1")
        accesses += 1
        await log.say(nodes.NodeOnline(v=accesses), "n1")
    return files, accesses


async def turns(count: int) -> None:
    """Let the event loop turn so many times: a moment that no line of the victim's code chose."""
    for _ in range(count):
        await asyncio.sleep(0)


def applied(places: Places) -> int:
    """How far the view on the disk is, whatever state it is in."""
    try:
        with Reader(places.documents_db) as reader:
            return sum(reader.checkpoints().values())
    except NoView:
        return 0


async def kill_again_and_again(
    nats_server: NatsServer, places: Places, seed: int, kills: int
) -> None:
    draw = random.Random(seed)
    point_to(places, nats_server)
    fired = 0
    async with a_log(nats_server) as log:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            living = tasks.create_task(live_on(log, stop))
            for _ in range(kills):
                process = Process(places)
                # Some die before they have a view, some at their first batch, some later.
                target = applied(places) + draw.choice([0, 0, 1, 20, 60])
                await eventually(lambda: process.ended or applied(places) >= target, "it is there")
                await turns(draw.choice([0, 0, 10, 100]))
                fired += process.kill()
            stop.set()
        files, accesses = living.result()
        process = Process(places)
        running = Running(places)
        await running.live()
        found = await running.equal()
        assert found["compared"]["files"] == files
        with Reader(places.documents_db) as reader:
            assert reader.counts()["files"] == files
            document = reader.document("access::x")
            assert document is not None
            assert document["count"] == accesses
        assert process.stop() == 0
    index_is_whole(places.documents_db)
    assert fired == kills
    assert not list(places.documents_db.parent.glob("*.tmp*"))
    assert len(list(places.documents_db.parent.glob("documents-*"))) == 1


async def test_killed_at_any_moment(nats_server: NatsServer, machine: Places) -> None:
    await kill_again_and_again(nats_server, machine, seed=2, kills=8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
async def test_killed_at_many_moments(nats_server: NatsServer, machine: Places, seed: int) -> None:
    await kill_again_and_again(nats_server, machine, seed=100 + seed, kills=25)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_killed_while_it_rebuilds(
    nats_server: NatsServer, machine: Places, seed: int
) -> None:
    """Readers have the old view after each of the kills."""
    draw = random.Random(seed)
    point_to(machine, nats_server)
    fired = 0
    async with a_log(nats_server) as log:
        await log.index(0, 30_000, per=100)
        process = Process(machine)
        await Running(machine).live()
        for _ in range(6):
            running = Running(machine)
            asking = asyncio.create_task(running.do("rebuild"))
            views = machine.documents_db.parent
            await eventually(
                lambda: asking.done() or len(list(views.glob("documents-*.db"))) > 1, "it rebuilds"
            )
            await turns(draw.choice([0, 100, 1000, 4000]))
            fired += process.kill()
            await asyncio.wait((asking,), timeout=WAIT_S)
            with Reader(machine.documents_db) as reader:
                assert reader.counts()["files"] == 30_000
            process = Process(machine)
            await Running(machine).live()
        await Running(machine).equal()
        assert process.stop() == 0
        assert len(list(views.glob("documents-*.db"))) == 1
    assert fired == 6
