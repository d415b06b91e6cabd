"""Seeded kill -9 of agent, projector and server during continuous change.

What must hold in the end: the view equals the disk, the view equals a replay of the log, and of no
file is a change missing in the log or there twice.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from benchmarks.stand import Stand, wait_until
from events import connection, consume, paths
from events.codec import decode
from events.machine import control
from events.vocabulary.files import FileDeleted
from projectors.documents.reader import Reader
from tests.chaos.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VICTIMS = ("agent", "projector", "nats")
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "kills.json"


@pytest.mark.slow
@pytest.mark.nats
@pytest.mark.anyio
async def test_200_kills(tmp_path: Path) -> None:
    fired = await _run(tmp_path, kills=200, seed=20)
    assert sum(fired["kills"].values()) == 200
    assert all(fired["kills"][victim] > 30 for victim in VICTIMS)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(fired)) + b"\n")


@pytest.mark.nats
@pytest.mark.anyio
async def test_6_kills(tmp_path: Path) -> None:
    fired = await _run(tmp_path, kills=6, seed=3)
    assert sum(fired["kills"].values()) == 6


async def _run(tmp_path: Path, *, kills: int, seed: int) -> dict[str, Any]:
    draw = random.Random(seed)
    tree = tmp_path / "tree"
    world = World(tree, seed)
    fired: Counter[str] = Counter()
    with Stand(tmp_path / "state") as stand:
        start: dict[str, Callable[[], None]] = {
            "nats": stand.start_server,
            "projector": lambda: stand.start("projector", "projector"),
            "agent": lambda: stand.start_agent(tree),
        }
        for process in ("nats", "projector", "agent"):
            start[process]()
        with _restless(world):
            for _ in range(kills):
                victim = draw.choice(VICTIMS)
                # From the middle of a start to the middle of quiet work.
                _pause(draw.choice((draw.uniform(0, 0.3), draw.uniform(0.3, 2.0))))
                assert stand.alive(victim), f"{victim} had ended by itself"
                stand.stop(victim, signal.SIGKILL)
                fired[victim] += 1
                _pause(draw.uniform(0, 0.5))
                start[victim]()
        wait_until(lambda: _settled(stand, tree), 120, "the view to equal the disk")
        log = await _audit(stand)
        verdict = [
            line
            async for line in control.follow(stand.places.socket("projector"), {"do": "verify"})
        ][-1]
    assert verdict["equal"], msgspec.json.encode(verdict).decode()
    return {"seed": seed, "kills": dict(fired), "changes": world.done, "log": log, **verdict}


def _pause(seconds: float) -> None:
    """The seeded moment of the next fault: the one thing here that time itself decides."""
    threading.Event().wait(seconds)


class _restless:  # reads as a statement
    """Changes the world in a thread, about 60 times a second, until the block ends."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._failure: BaseException | None = None

    def _work(self) -> None:
        try:
            while not self._over.wait(0.015):
                self._world.change()
        except BaseException as wrong:  # noqa: BLE001  # handed to the test's own thread
            self._failure = wrong

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure


def _on_disk(tree: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for folder, _, names in os.walk(os.fsencode(tree)):
        for name in names:
            path = os.path.join(folder, name)
            stat = os.lstat(path)
            found[paths.to_text(os.fsdecode(path))] = (stat.st_size, stat.st_mtime_ns)
    return found


def _in_view(stand: Stand) -> Iterator[tuple[str, tuple[int, int]]]:
    with Reader(stand.places.documents_db) as reader:
        for row in reader.files(limit=10_000_000):
            yield row.path, (row.size, row.mtime)


def _settled(stand: Stand, tree: Path) -> bool:
    """Whether the view holds each file of the disk once, with its size and time, and no other."""
    rows = list(_in_view(stand))
    view = dict(rows)
    return len(view) == len(rows) and view == _on_disk(tree)


async def _audit(stand: Stand) -> dict[str, int]:
    """Every version of every file stands in the log exactly once, from 1 without a gap."""
    log = await connection.connect(f"nats://127.0.0.1:{stand.port}", name="audit")
    versions: dict[str, list[int]] = {}
    messages = deleted = 0
    async for batch in consume.read(log, "FILES"):
        for message in batch:
            event = decode(message.subject, message.headers, message.body).event
            messages += 1
            deleted += isinstance(event, FileDeleted)
            for record in event.files:  # type: ignore[attr-defined]  # all events here have files
                versions.setdefault(record.id, []).append(record.v)
    await log.close()
    for file, seen in versions.items():
        assert seen == list(range(1, len(seen) + 1)), f"{file}: {seen}"
    return {
        "messages": messages,
        "files": len(versions),
        "changes": sum(map(len, versions.values())),
        "deletions": deleted,
    }
