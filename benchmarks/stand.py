"""A whole MosaicFS in a folder of its own: the real processes, started one by one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import anyio

from events.errors import Temporary
from events.machine import control, places
from projectors.documents.reader import NoView, Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT: Final = Path(__file__).parent.parent
NATS_SERVER: Final = Path(sysconfig.get_path("scripts")) / "nats-server"


class Stand:
    """Use as a context manager; everything that was started is stopped at its end."""

    def __init__(self, folder: Path) -> None:
        self.places = places.find(folder)
        self.places.make()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.port = _free_port()
        (self.places.nats / "url").write_text(f"nats://127.0.0.1:{self.port}")
        (self.places.nats / "users.conf").write_text("")
        (self.places.nats / "nats.conf").write_bytes((ROOT / "nats.conf").read_bytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(list(self._processes)):
            self.stop(process)

    def start_server(self) -> None:
        """Start nats-server and return when it takes connections."""
        environment = {
            **os.environ,
            "MOSAICFS_NATS_NAME": "stand",
            "MOSAICFS_NATS_HOST": "127.0.0.1",
            "MOSAICFS_NATS_PORT": str(self.port),
            "MOSAICFS_NATS_STORE": str(self.places.nats / "store"),
            "MOSAICFS_NATS_MONITOR": "127.0.0.1:0",
        }
        self._start(
            "nats", [str(NATS_SERVER), "-c", str(self.places.nats / "nats.conf")], environment
        )
        wait_until(lambda: _listens(self.port), 20, "nats-server")

    def start(self, name: str, *verb: str) -> None:
        """Start a process that runs a verb, and return at once."""
        self._start(name, [sys.executable, "-P", "-m", "cli", *verb])

    def alive(self, name: str) -> bool:
        """Whether a process has been started and has not ended."""
        return name in self._processes and self._processes[name].poll() is None

    def start_projector(self) -> None:
        """Start the projector and return when its view is live."""
        self.start("projector", "projector")
        wait_until(lambda: self.status("projector").get("state") == "live", 120, "the projector")

    def start_agent(self, *watch: Path) -> None:
        """Start the agent on the folders; it is crawling when this returns."""
        lines = ", ".join(json.dumps(str(path)) for path in watch)
        self.places.agent_toml.write_text(f"watch_paths = [{lines}]\n")
        self.start("agent", "agent")

    def _start(
        self, name: str, command: Sequence[str], environment: dict[str, str] | None = None
    ) -> None:
        environment = {
            **(environment or os.environ),
            "MOSAICFS_STATE": str(self.places.state),
            "PYTHONPATH": str(ROOT),
        }
        log = (self.places.logs / f"{name}.bench.log").open("ab")
        with log:
            self._processes[name] = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        """Send a signal and wait for the end."""
        process = self._processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def status(self, name: str) -> dict[str, Any]:
        """What a process says of itself; empty while it does not answer."""
        try:
            return anyio.run(control.ask, self.places.socket(name), {"do": "status"})
        except Temporary:
            return {}

    def rss_mib(self, name: str) -> float:
        """The memory that a process occupies now."""
        return _field(self.pid(name), "VmRSS") / 1024

    def peak_mib(self, name: str) -> float:
        """The most memory that a process has occupied."""
        return _field(self.pid(name), "VmHWM") / 1024

    def files_in_view(self) -> int:
        """How many live files the view holds."""
        try:
            with Reader(self.places.documents_db) as reader:
                return reader.counts()["files"]
        except NoView:
            return 0

    def wait_for_files(self, count: int, limit: float = 300) -> None:
        """Return when the view holds exactly so many live files."""
        wait_until(lambda: self.files_in_view() == count, limit, f"{count} files in the view")


def wait_until(condition: Callable[[], bool], limit: float, what: str) -> None:
    """Look at a condition a hundred times a second until it holds."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {limit:.0f} s for {what}")
        time.sleep(0.01)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _field(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ValueError(f"no {name} in the status of process {pid}")


def quiet(command: Sequence[str]) -> float:
    """Seconds that a command takes, its output thrown away."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def peer(program: str) -> str | None:
    """The path of a peer's program, in the environment or on the machine."""
    for folder in (sysconfig.get_path("scripts"), *os.environ.get("PATH", "").split(os.pathsep)):
        path = Path(folder) / program
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    return None
