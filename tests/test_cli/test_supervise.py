"""The parts of the supervisor, with small real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from cli.supervise import leftovers, lock, port, sample
from cli.supervise.child import Change, Child, Spec
from cli.supervise.screen import room
from tests.conftest import eventually, wait_until

if TYPE_CHECKING:
    from pathlib import Path

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(100)"]
_IGNORE = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "open(sys.argv[1], 'w').close(); time.sleep(100)"
)
STUBBORN = [sys.executable, "-S", "-c", _IGNORE]


class Watched:
    """A child and what it told."""

    def __init__(self, folder: Path, command: list[str], grace_s: float = 5.0) -> None:
        self.answers = True
        self.changes: list[Change] = []
        spec = Spec("test", command, dict, self._ask, grace_s)
        self.record = folder / "up.json"
        record = leftovers.Record(self.record)
        self.child = Child(spec, folder, record, self.changes.append)

    async def _ask(self) -> dict[str, Any] | None:
        return {} if self.answers else None

    def states(self) -> list[str]:
        return [change.state for change in self.changes]


@pytest.mark.anyio
async def test_a_child_that_ignores_a_polite_request_is_killed(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    watched = Watched(tmp_path, [*STUBBORN, str(flag)], grace_s=0.2)
    keeping = asyncio.create_task(watched.child.keep())
    await eventually(flag.exists, "it ignores SIGTERM")
    pid = watched.child.pid
    assert pid is not None
    await watched.child.stop()
    await keeping
    assert leftovers.started(pid) is None
    assert watched.states()[-2:] == ["stopping", "stopped"]
    assert "killed" in watched.changes[-1].detail


@pytest.mark.anyio
async def test_the_last_words_of_a_child_are_told(tmp_path: Path) -> None:
    words = "import sys; sys.exit('the disk is on fire')"
    watched = Watched(tmp_path, [sys.executable, "-S", "-c", words])
    watched.answers = False
    keeping = asyncio.create_task(watched.child.keep())
    await eventually(lambda: watched.child.restarts >= 1, "it was started again")
    assert "the disk is on fire; again in" in watched.changes[1].detail
    await watched.child.stop()
    await keeping


@pytest.mark.anyio
async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    watched = Watched(tmp_path, ["/no/such/program"])
    watched.answers = False
    keeping = asyncio.create_task(watched.child.keep())
    await eventually(lambda: "failed" in watched.states(), "it failed")
    await watched.child.stop()
    await keeping
    assert watched.states()[-1] == "stopped"


@pytest.mark.anyio
async def test_a_child_that_is_stopped_before_it_began(tmp_path: Path) -> None:
    watched = Watched(tmp_path, SLEEP)
    keeping = asyncio.create_task(watched.child.keep())
    await watched.child.stop()
    await keeping
    assert watched.child.pid is None


@pytest.mark.anyio
async def test_cancelling_leaves_no_process(tmp_path: Path) -> None:
    watched = Watched(tmp_path, SLEEP)
    keeping = asyncio.create_task(watched.child.keep())
    await watched.child.healthy.wait()
    pid = watched.child.pid
    assert pid is not None
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await eventually(lambda: leftovers.started(pid) is None, "it is gone")


def test_what_an_earlier_up_left_over_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_PATIENCE_S", 0.3)
    flag = tmp_path / "flag"
    command = [*STUBBORN, str(flag)]
    with subprocess.Popen(SLEEP) as left, subprocess.Popen(command) as stubborn:
        wait_until(flag.exists, "it ignores SIGTERM")
        path = tmp_path / "up.json"
        record = leftovers.Record(path)
        record.add("nats", left.pid)
        record.add("agent", stubborn.pid)
        assert leftovers.end_all(path) == ["agent", "nats"]
        assert (left.wait(), stubborn.wait()) == (-signal.SIGTERM, -signal.SIGKILL)
        assert leftovers.end_all(path) == []


def test_another_program_with_the_same_pid_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "up.json"
    path.write_text(f'{{"nats": [{os.getpid()}, "12"], "agent": [999999999, "12"]}}')
    assert leftovers.end_all(path) == []
    path.write_text("garbage")
    assert leftovers.end_all(path) == []


def test_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "up.lock"
    assert lock.holder(path) is None
    with lock.held(path):
        assert lock.holder(path) == os.getpid()
        with pytest.raises(lock.AlreadyRunning, match=str(os.getpid())), lock.held(path):
            pass
    assert path.exists()
    assert lock.holder(path) is None
    with lock.held(path):
        pass


def test_ports(tmp_path: Path) -> None:
    url = tmp_path / "url"
    first = port.choose(None, url)
    assert first >= port.USUAL
    url.write_text("nats://127.0.0.1:14222\n")
    assert port.of_url(url) == 14222
    assert port.choose(None, url) == 14222
    assert port.choose(14223, url) == 14223
    url.write_text("garbage")
    assert port.of_url(url) is None


def test_room_in_a_pipe() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    assert room(write) == "yes"
    # A pipe holds 64 KiB unless somebody changed that; what does not fit is not taken.
    while room(write) == "yes":
        os.write(write, b"x" * 65_536)
    assert room(write) == "full"
    os.close(read)
    assert room(write) == "gone"
    os.close(write)


def test_the_sample_is_made_once_and_is_valid(tmp_path: Path) -> None:
    count = sample.make(tmp_path)
    made = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(made) == count
    assert count >= 36
    starts = {".png": b"\x89PNG\r\n", ".pdf": b"%PDF-1.4", ".wav": b"RIFF"}
    for path in made:
        assert path.read_bytes().startswith(starts.get(path.suffix, b""))
        assert not zipfile.is_zipfile(path)
    made[0].write_text("mine now")
    sample.make(tmp_path)
    assert made[0].read_text() == "mine now"
