"""The agent under faults: killed, without its server, without room, without watches.

Every draw is from one seed, and a fault that did not fire fails the test.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from tests.chaos.world import World
from tests.conftest import eventually
from tests.test_agent.running import Agent, make_streams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.conftest import NatsServer

pytestmark = pytest.mark.anyio

SEED: Final = int(os.environ.get("MOSAICFS_SEED", "1"))
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


@pytest.fixture
async def agent(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[Agent]:
    await make_streams(nats_server)
    agent = Agent(tmp_path / "agent", nats_server)
    yield agent
    if agent.running:
        agent.kill()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 12 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("kills", [12, pytest.param(100, marks=pytest.mark.slow)])
async def test_killed_at_any_moment(agent: Agent, nats_server: NatsServer, kills: int) -> None:
    """Agent and server are killed at drawn moments of a restless disk; nothing is lost or double.

    The moments are those at which a drawn number of messages is in the log, so they lie in the
    middle of crawl, write and send alike.
    """
    draw = random.Random(SEED)
    world = World(agent.tree, SEED)
    for number in range(6_000):
        (agent.tree / f"d{number % 4}" / f"bulk{number}").write_bytes(b"x")
    fired: Counter[str] = Counter()
    agent.start()
    for _ in range(kills):
        for _ in range(draw.randrange(1, 30)):
            world.change()
        victim = draw.choice(["agent", "agent", "server"])
        await moment(agent, draw)
        if victim == "agent":
            agent.kill()
            fired[await stage(agent)] += 1
            agent.start()
        else:
            nats_server.kill()
            fired["server"] += 1
            world.change()
            nats_server.start()
    await agent.settled()
    await agent.crawl()
    await agent.settled()
    assert await agent.agrees()
    agent.stop()
    assert sum(fired.values()) == kills
    assert fired["server"]
    assert (
        fired["agent, nothing waiting"] + fired["agent, messages waiting"]
        == kills - fired["server"]
    )
    if kills >= 100:
        assert fired["agent, messages waiting"]
        assert fired["agent, nothing waiting"]


async def moment(agent: Agent, draw: random.Random) -> None:
    """A drawn number of looks at a drawn condition: starting, indexing, sending or at rest."""
    wanted = draw.choice(["at once", "there", "waiting", "at rest"])
    if wanted == "at once":
        return

    async def come() -> bool:
        status = await agent.status()
        if wanted == "there":
            return bool(status["state"] != "away")
        if wanted == "waiting":
            return bool(status.get("outbox") or status["state"] == "watching")
        return bool(status["state"] == "watching" and not status["outbox"])

    await eventually(come, f"the agent is {wanted}")


async def stage(agent: Agent) -> str:
    """Where a killed agent was, by what it left behind."""
    program = (
        "import sys, apsw; c = apsw.Connection(sys.argv[1]);"
        "print(c.execute(\"SELECT count(*) FROM sqlite_master WHERE name = 'outbox'\").get and "
        "c.execute('SELECT count(*) FROM outbox').get)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, agent.places.agent_db],
        capture_output=True,
        text=True,
        check=True,
    )
    return "agent, messages waiting" if done.stdout.strip() != "0" else "agent, nothing waiting"


@needs_root
async def test_a_full_disk_is_waited_for(agent: Agent, small_disk: Path) -> None:
    agent.move_state(small_disk / "state")
    for number in range(3_000):
        (agent.tree / f"first{number}").write_bytes(b"x")
    agent.start()
    await agent.settled()

    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        file.write(b"\0" * (shutil.disk_usage(small_disk).free - 4096))
    for number in range(12_000):
        (agent.tree / f"second{number}-{'n' * 60}").write_bytes(b"x")

    async def degraded() -> bool:
        return bool((await agent.status())["state"] == "degraded")

    await eventually(degraded, "the full disk is noticed")
    assert "free some space" in agent.log
    ballast.unlink()
    await agent.settled()
    await eventually(agent.agrees, "all is told")
    told = [
        type(each.event).__name__
        for each in await agent.told("NOTICES")
        if each.address.token("condition") == "disk_full_outbox"
    ]
    assert told == ["NoticeRaised", "NoticeResolved"]
    agent.stop()


async def test_without_enough_watches_it_crawls(agent: Agent) -> None:
    """In a user namespace of its own the kernel lets it watch five folders only."""
    confine = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    limit = 'echo 5 > /proc/sys/user/max_inotify_watches && exec "$@"'
    if subprocess.run([*confine, limit, "sh", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this kernel gives no user namespaces")
    for number in range(20):
        (agent.tree / f"d{number}").mkdir()
        (agent.tree / f"d{number}" / "file").write_text("x")
    agent.start(*confine, limit, "sh")

    async def degraded() -> bool:
        status = await agent.status()
        return bool(status.get("subsystems", {}).get("watcher") == "degraded")

    await eventually(degraded, "the limit is noticed")
    assert (await agent.status())["watched_folders"] == 5
    (agent.tree / "d0" / "second").write_text("x")
    (agent.tree / "d19" / "second").write_text("x")
    await agent.crawl()
    await eventually(agent.agrees, "a crawl finds what is not watched")
    told = await agent.told("NOTICES")
    assert "inotify_limit_approaching" in {each.address.token("condition") for each in told}
    agent.stop()


async def test_more_events_than_the_kernel_keeps(agent: Agent) -> None:
    """The agent is held still while more happens than its queue of events holds."""
    agent.start()
    await agent.settled()

    agent.send(signal.SIGSTOP)
    for number in range(20_000):
        (agent.tree / f"f{number}").touch()
    for number in range(0, 20_000, 7):
        (agent.tree / f"f{number}").unlink()
    agent.send(signal.SIGCONT)
    await eventually(agent.agrees, "all is found")
    assert "the kernel dropped events" in agent.log or "many changes" in agent.log
    agent.stop()
