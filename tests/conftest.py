"""What all tests share: Hypothesis profiles, a real nats-server, conditions, and an honest log."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, settings

from events.connection import Connection, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

# MOSAICFS_HYPOTHESIS chooses; in CI the draws are the same in every run, at night there are many.
# No deadline: a test machine that is busy is no bug in what is tested.
_SLOW_MACHINE: Final = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)
settings.register_profile("dev", deadline=None, suppress_health_check=_SLOW_MACHINE)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True)
settings.register_profile("nightly", settings.get_profile("dev"), max_examples=2000)
settings.load_profile(
    os.environ.get("MOSAICFS_HYPOTHESIS", "ci" if os.environ.get("CI") == "true" else "dev")
)

OUR_LOGGERS: Final = ("events", "projectors", "agent", "vfs", "gateway", "plugins", "cli")
NATS_SERVER: Final = Path(sys.executable).parent / "nats-server"
WAIT_S: Final = 20.0
_TICK_S: Final = 0.005
# Below the range from which the kernel takes the ports of clients: a client that looks for a dead
# server on a port of that range may be given that very port, and then talks to itself.
_PORTS: Final = range(10_000, 30_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "nats_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.nats)


def wait_until(condition: Callable[[], object], what: str, limit: float = WAIT_S) -> None:
    """Return as soon as the condition holds; fail the test when it never does."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {limit:.0f} s in vain until {what}")
        time.sleep(_TICK_S)


async def eventually(
    condition: Callable[[], object | Awaitable[object]], what: str, limit: float = WAIT_S
) -> None:
    """`wait_until` for a test with an event loop; the condition may be a coroutine function."""
    deadline = time.monotonic() + limit
    while True:
        held = condition()
        if asyncio.iscoroutine(held):
            held = await held
        if held:
            return
        if time.monotonic() > deadline:
            pytest.fail(f"waited {limit:.0f} s in vain until {what}")
        await asyncio.sleep(_TICK_S)


def _held(pid: int) -> bool:
    """Whether every thread of a process is stopped by a signal."""
    states = Path("/proc", str(pid), "task").glob("*/stat")
    return all(each.read_text().rpartition(")")[2].split()[0] == "T" for each in states)


class NatsServer:
    """A nats-server in a folder of its own, which may be killed and comes back as it was."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        # More configuration, such as an `authorization` block; read at the next start or reload.
        self.extra = ""
        self.jetstream = True

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """Everything that the server has said so far."""
        return (self.folder / "server.log").read_text(errors="replace")

    def start(self) -> None:
        """Start and wait until clients are served; the port stays the same for ever."""
        assert not self.running
        if self.port:
            self._run()
            return
        for _ in range(50):
            self.port = random.choice(_PORTS)
            try:
                return self._run()
            except _PortTaken:
                continue
        pytest.fail("no free port for nats-server")

    def reload(self) -> None:
        """Have the server read its configuration again."""
        assert self._process is not None
        self._write_configuration()
        said = len(self.log)
        self._process.send_signal(signal.SIGHUP)
        wait_until(lambda: "Reloaded server configuration" in self.log[said:], "it is reloaded")

    def kill(self) -> None:
        """As the loss of power would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As a person would."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Have the server hold still while its connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # The call returns before each thread has stopped, and one of them could still answer.
        wait_until(partial(_held, self._process.pid), "the server to hold still")

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _write_configuration(self) -> None:
        store = f'jetstream {{ store_dir: "{self.folder}/store", sync_interval: always }}'
        (self.folder / "nats.conf").write_text(
            f"host: 127.0.0.1\nport: {self.port}\nmax_payload: 1MB\n"
            f"{store if self.jetstream else ''}\n{self.extra}"
        )

    def _run(self) -> None:
        self._write_configuration()
        with (self.folder / "server.log").open("ab") as log:
            began = log.tell()
            self._process = subprocess.Popen(
                [NATS_SERVER, "-c", self.folder / "nats.conf"], stdout=log, stderr=log
            )
        wait_until(lambda: self._greets() or not self.running, "nats-server answers")
        # Another server may own the port: what greets has to be the process that was started.
        if not self.running:
            said = self.log[began:]
            self._process = None
            if "address already in use" in said:
                raise _PortTaken
            pytest.fail(f"nats-server ended at once:\n{said}")

    def _greets(self) -> bool:
        if "Server is ready" not in self.log:
            return False
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as client:
                return client.recv(4) == b"INFO"
        except OSError:
            return False

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(WAIT_S)
        self._process = None


class _PortTaken(Exception):
    pass


@pytest.fixture
def anyio_backend() -> str:
    """nats-py is asyncio only, so everything above it is."""
    return "asyncio"


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A running server of this test's own, fsync before every confirmation."""
    server = NatsServer(tmp_path / "nats-server")
    server.start()
    yield server
    if server.running:
        server.kill()


@asynccontextmanager
async def connected(url: str, *, seed: Path | None = None) -> AsyncIterator[Connection]:
    """A connection for the length of a block."""
    connection = await connect(url, name="test", seed=seed)
    try:
        yield connection
    finally:
        await connection.close()


class LogRecords(logging.Handler):
    """What our loggers said at WARNING and above, and what the test said about it beforehand."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []
        self._expected: list[str] = []
        self._allowed: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def expect(self, pattern: str) -> None:
        """A warning that matches is right, and its absence is wrong."""
        self._expected.append(pattern)

    def allow(self, pattern: str) -> None:
        """A warning that matches may come or not, as where a server is killed."""
        self._allowed.append(pattern)

    @property
    def messages(self) -> list[str]:
        return [f"{each.name}: {each.getMessage()}" for each in self.records]

    def check(self) -> None:
        missing = [
            pattern
            for pattern in self._expected
            if not any(re.search(pattern, message) for message in self.messages)
        ]
        assert not missing, f"not in the log: {missing}; it has {self.messages}"
        fine = self._expected + self._allowed
        odd = [
            message
            for message in self.messages
            if not any(re.search(pattern, message) for pattern in fine)
        ]
        assert not odd, f"unexpected in the log: {odd}"


@pytest.fixture(autouse=True)
def our_log() -> Iterator[LogRecords]:
    """Fails the test on a warning of ours that it did not `expect` or `allow`."""
    records = LogRecords()
    loggers = [logging.getLogger(name) for name in OUR_LOGGERS]
    for logger in loggers:
        logger.addHandler(records)
    yield records
    for logger in loggers:
        logger.removeHandler(records)
    records.check()
