"""The whole agent as a process, with a real server."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from events.vocabulary.nodes import NodeOffline, NodeRegistered, NodeStatus, UtilizationMeasured
from events.vocabulary.notices import NoticeRaised, NoticeResolved
from tests.conftest import eventually, wait_until
from tests.test_agent.running import Agent, make_streams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from events.vocabulary import Event
    from tests.conftest import NatsServer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def agent(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[Agent]:
    """An agent that is not started yet, with three files to find."""
    await make_streams(nats_server)
    agent = Agent(tmp_path / "agent", nats_server)
    for name in ("a", "b", "d/c"):
        write(agent, name)
    yield agent
    if agent.running:
        agent.kill()


def write(agent: Agent, name: str, text: str = "x") -> Path:
    path = agent.tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


async def test_from_disk_to_log_live(agent: Agent) -> None:
    agent.start()
    status = await agent.settled()
    assert (status["files"], status["last_crawl"]["found"]["indexed"]) == (3, 3)
    ids = {each.place: id for id, each in (await agent.files()).items()}

    write(agent, "new/deep/er/file")
    os.rename(agent.tree / "a", agent.tree / "renamed")
    (agent.tree / "b").unlink()
    os.rename(agent.tree / "d", agent.tree / "e")
    hostile = os.fsencode(agent.tree) + b"/\xff\xfe\n"
    with open(hostile, "wb") as file:
        file.write(b"x")
    await eventually(agent.agrees, "the log knows")

    files = await agent.files()
    assert files[ids[str(agent.tree / "a")]].place == str(agent.tree / "renamed")
    assert files[ids[str(agent.tree / "d/c")]].place == str(agent.tree / "e/c")
    assert files[ids[str(agent.tree / "b")]].deleted
    # What happens in a folder that has just come into being is seen too.
    write(agent, "new/deep/er/second")
    write(agent, "e/third")
    write(agent, "e/c", "more")
    await eventually(agent.agrees, "the log knows the new folders")
    agent.stop()


async def test_it_says_what_it_is_and_when_it_leaves(agent: Agent) -> None:
    async def said(kind: type[Event]) -> list[Event]:
        return [each.event for each in await agent.told("NODES") if isinstance(each.event, kind)]

    async def complete() -> bool:
        statuses = await said(NodeStatus)
        return any(isinstance(each, NodeStatus) and each.files == 3 for each in statuses)

    agent.start()
    await eventually(complete, "the status tells of all files")
    [registered] = await said(NodeRegistered)
    assert isinstance(registered, NodeRegistered)
    assert registered.watch_paths == [str(agent.tree)]
    assert registered.storage[0].watch_paths == [str(agent.tree)]
    assert isinstance((await agent.told("UTILIZATION"))[0].event, UtilizationMeasured)
    notices = await agent.told("NOTICES")
    assert [each.address.token("condition") for each in notices] == ["first_crawl_complete"]

    agent.stop()
    [left] = await said(NodeOffline)
    assert isinstance(left, NodeOffline)
    assert left.v > registered.v
    agent.start()

    async def back() -> bool:
        again = await said(NodeRegistered)
        return any(isinstance(each, NodeRegistered) and each.v > left.v for each in again)

    await eventually(back, "it registers again")
    await agent.settled()
    assert len(await agent.told("NOTICES")) == 1
    assert len(await agent.files()) == 3


async def test_the_crawl_verb_answers_when_it_is_done(agent: Agent) -> None:
    agent.start()
    await agent.settled()
    done = await agent.crawl()
    assert (done["files"], done["changed"]) == (3, 0)


async def test_without_a_server_it_indexes_and_keeps(agent: Agent, nats_server: NatsServer) -> None:
    nats_server.stop()
    agent.start()

    async def indexed() -> bool:
        status = await agent.status()
        return bool(status.get("last_crawl")) and status["files"] == 3

    await eventually(indexed, "the files are indexed")
    write(agent, "later")
    await eventually(lambda: waiting(agent) >= 2, "the change waits in the outbox")
    status = await agent.status()
    assert not status["connected"]
    # Heartbeats of an hour would be worth nothing.
    assert not [each for each in subjects(agent) if ".nodes." in each]
    agent.stop()
    assert not [each for each in subjects(agent) if ".nodes." in each]
    nats_server.start()
    agent.start()
    await agent.settled()
    assert await agent.agrees()


def subjects(agent: Agent) -> list[str]:
    with sqlite3.connect(agent.places.agent_db) as database:
        found = [row[0] for row in database.execute("SELECT subject FROM outbox ORDER BY n")]
    database.close()
    return found


def waiting(agent: Agent) -> int:
    return len([each for each in subjects(agent) if ".files." in each])


@pytest.mark.parametrize("how", ["deleted", "damaged"])
async def test_a_lost_state_comes_back_from_the_log(agent: Agent, how: str) -> None:
    agent.start()
    await agent.settled()
    os.rename(agent.tree / "a", agent.tree / "moved")
    (agent.tree / "b").unlink()
    await eventually(agent.agrees, "the log knows")
    before = await agent.files()
    agent.stop()

    database = agent.places.agent_db
    for tail in ("-wal", "-shm"):
        database.with_name(database.name + tail).unlink(missing_ok=True)
    if how == "deleted":
        database.unlink()
    else:
        database.write_bytes(b"SQLite format 3\0" + os.urandom(20_000))
    write(agent, "moved", "changed meanwhile")
    write(agent, "b", "back")
    agent.start()
    await agent.settled()

    assert await agent.agrees()
    after = await agent.files()
    assert after.keys() == before.keys()
    assert {id: each.inode for id, each in after.items()} == {
        id: each.inode for id, each in before.items()
    }
    # c is as it was, so nothing was said of it again.
    c = next(id for id, each in before.items() if each.place.endswith("/c"))
    assert after[c].v == before[c].v
    aside = list(database.parent.glob("agent.db.damaged-*"))
    assert len(aside) == (how == "damaged")
    # Known again in every way: a rename is still a rename.
    os.rename(agent.tree / "d/c", agent.tree / "d/cc")
    await eventually(agent.agrees, "the log knows")
    assert (await agent.files())[c].place.endswith("/cc")
    agent.stop()


async def test_a_lost_state_waits_for_the_log(agent: Agent, nats_server: NatsServer) -> None:
    agent.start()
    await agent.settled()
    before = await agent.files()
    agent.stop()
    agent.places.agent_db.unlink()
    nats_server.stop()
    agent.start()

    async def degraded() -> bool:
        return bool((await agent.status())["state"] == "degraded")

    await eventually(degraded, "it waits")
    assert (await agent.status())["files"] == 0
    nats_server.start()
    await agent.settled()
    assert await agent.files() == before


async def test_a_second_agent_is_refused(agent: Agent) -> None:
    agent.start()
    await agent.settled()
    second = Agent.__new__(Agent)
    vars(second).update(vars(agent))
    second.start()
    await eventually(lambda: not second.running, "the second one gives up")
    assert "another agent runs" in agent.log
    assert (await agent.status())["state"] == "watching"


async def test_a_missing_watch_path_is_noticed_and_forgotten(agent: Agent) -> None:
    agent.start()
    await agent.settled()
    away = agent.tree.with_name("away")
    agent.tree.rename(away)

    async def notices() -> list[type]:
        return [
            type(each.event)
            for each in await agent.told("NOTICES")
            if each.address.token("condition") == f"watch_path_inaccessible:{agent.tree}"
        ]

    async def raised() -> bool:
        return await notices() == [NoticeRaised]

    async def resolved() -> bool:
        return await notices() == [NoticeRaised, NoticeResolved]

    await eventually(raised, "the notice is raised")
    assert (await agent.status())["state"] == "degraded"
    away.rename(agent.tree)
    await eventually(resolved, "the notice is resolved")
    write(agent, "after")
    await eventually(agent.agrees, "changes are seen again")
    assert not any(each.deleted for each in (await agent.files()).values())


async def test_it_follows_the_server_to_another_address(
    agent: Agent, nats_server: NatsServer
) -> None:
    text = agent.places.agent_toml.read_text()
    agent.places.agent_toml.write_text(
        "".join(line for line in text.splitlines(True) if not line.startswith("nats_url"))
    )
    agent.start()
    (agent.places.nats / "url").write_text("nats://127.0.0.1:9")
    wait_until(lambda: agent.places.socket("agent").exists(), "it is there")
    (agent.places.nats / "url").write_text(nats_server.url)
    await agent.settled()
    assert await agent.agrees()
    agent.stop()


async def test_another_process_may_add_to_the_outbox(agent: Agent) -> None:
    agent.start()
    status = await agent.settled()
    program = """
import sys
from pathlib import Path
from agent.state import State
from events import clock
from events.vocabulary.notices import NoticeResolved
state = State(Path(sys.argv[1]))
with state.transaction():
    state.outbox.add(NoticeResolved(), sys.argv[2], "x", time=clock.now(), actor="mount")
"""
    arguments = [str(agent.places.agent_db), status["node_id"]]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True)
    await eventually(lambda: not subjects(agent), "it is sent")
    assert any(each.actor == "mount" for each in await agent.told("NOTICES"))


async def test_a_change_is_told_soon_after_the_debounce(agent: Agent) -> None:
    agent.start()
    await agent.settled()
    delays = []
    for number in range(20):
        write(agent, f"timed{number}")
        began = time.monotonic()
        while True:
            known = (await agent.files()).values()
            if any(each.place.endswith(f"/timed{number}") for each in known):
                break
            await asyncio.sleep(0)
        delays.append(time.monotonic() - began)
    assert max(delays) < 0.05 + 0.5
