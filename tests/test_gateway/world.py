"""A log, a projector and gateways, as real processes in folders of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

from events import connection
from events.append import append
from events.clock import now
from events.codec import Wire, encode
from events.errors import Temporary
from events.ids import new_file_ids, new_inodes, new_uuid
from events.machine import control
from events.machine.places import Places, find
from events.vocabulary.files import File, FileDeleted, FileIndexed, GoneFile
from events.vocabulary.nodes import (
    Filesystem,
    NodeOnline,
    NodeRegistered,
    NodeStatus,
    Subsystem,
)
from events.vocabulary.notices import NoticeRaised
from tests.conftest import NatsServer, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from events.vocabulary.notices import Severity

ROOT: Final = Path(__file__).parents[2]
ALPHA: Final = "alpha-00000001"
BETA: Final = "beta-00000002"
PASSWORD: Final = "correct horse battery"


class Process:
    """One of our programs."""

    def __init__(self, name: str, places: Places, *arguments: str, **environment: str) -> None:
        self.name = name
        self.places = places
        self._arguments = arguments
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self.output = places.logs / f"{name}.out"

    def start(self) -> Self:
        environment = {
            **os.environ,
            "MOSAICFS_STATE": str(self.places.state),
            "PYTHONPATH": str(ROOT),
            **self._environment,
        }
        environment.pop("MOSAICFS_NATS_URL", None)
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cli", self.name, *self._arguments],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def status(self) -> dict[str, Any]:
        assert self.running, self.said
        try:
            return asyncio.run(control.ask(self.places.socket(self.name), {"do": "status"}))
        except Temporary:
            return {}

    def wait_live(self) -> None:
        wait_until(lambda: self.status().get("state") == "live", f"{self.name} is live")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(how)
        return self._process.wait(30)


class Gateway(Process):
    """A gateway, and clients to it."""

    def __init__(
        self, places: Places, *, settings: str = "", password: str | None = PASSWORD
    ) -> None:
        environment = {} if password is None else {"MOSAICFS_ADMIN_PASSWORD": password}
        super().__init__("gateway", places, "--http-loopback", "0", **environment)
        (places.config / "gateway.toml").write_text(f'host = "127.0.0.1"\nport = 0\n{settings}')
        self.http = 0
        self.https = 0
        self.base = ""

    def wait_live(self) -> None:
        super().wait_live()
        status = self.status()
        self.http, self.https = status["http"], status["https"]
        self.base = f"http://127.0.0.1:{self.http}"

    def client(self, token: str | None = None) -> httpx.Client:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.base, headers=headers, timeout=20)

    def login(self, password: str = PASSWORD) -> str:
        with self.client() as client:
            answer = client.post("/api/auth/login", json={"name": "admin", "password": password})
            assert answer.status_code == 200, answer.text
            return str(answer.json()["token"])


class World:
    """Use as a context manager; everything that was started is stopped at its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = NatsServer(folder / "nats-server")
        self.places = find(folder / "state")
        self.places.make()
        self.projector = Process("projector", self.places)
        self._gateways: list[Gateway] = []
        self._files = new_file_ids(1_700_000_000_000)
        self._inodes = new_inodes()

    def __enter__(self) -> Self:
        self.server.start()
        try:
            (self.places.nats / "url").write_text(self.server.url)
            self.projector.start().wait_live()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self._gateways, self.projector):
            if process.running:
                process.stop()
        if self.server.running:
            self.server.kill()

    def gateway(self, *, settings: str = "", password: str | None = PASSWORD) -> Gateway:
        """A gateway on this machine's view, with a state folder of its own, so that there may be
        several."""
        places = find(self.folder / f"gateway-{len(self._gateways)}")
        places.make()
        places.documents_db.parent.rmdir()
        places.documents_db.parent.symlink_to(self.places.documents_db.parent)
        places.socket("projector").symlink_to(self.places.socket("projector"))
        (places.nats / "url").write_text(self.server.url)
        return self.adopt(Gateway(places, settings=settings, password=password))

    def adopt(self, gateway: Gateway) -> Gateway:
        self._gateways.append(gateway)
        gateway.start()
        gateway.wait_live()
        return gateway

    def publish(self, *wires: Wire) -> None:
        """Append, and return when the view has it."""

        async def send() -> dict[str, int]:
            log = await connection.connect(self.server.url, name="test")
            last: dict[str, int] = {}
            try:
                for wire in wires:
                    ack = await append(log, wire)
                    last[ack.stream] = ack.sequence
            finally:
                await log.close()
            return last

        last = asyncio.run(send())

        def there() -> bool:
            streams = self.projector.status().get("streams", {})
            return all(streams[name]["applied"] >= at for name, at in last.items())

        wait_until(there, "the view has it")

    def files(self, node: str, paths: Iterable[str], *, size: int = 1) -> dict[str, str]:
        """Index files at absolute paths; their ids by path."""
        made: dict[str, str] = {}
        files = []
        for number, path in enumerate(paths):
            parent, _, name = path.rpartition("/")
            made[path] = next(self._files)
            files.append(
                File(
                    id=made[path],
                    inode=next(self._inodes),
                    parent=parent or "/",
                    name=name,
                    size=size + number,
                    mtime=1_600_000_000_000_000_000 + number,
                    v=1,
                )
            )
        batches = [files[at : at + 500] for at in range(0, len(files), 500)]
        self.publish(
            *(
                encode(FileIndexed(files=batch), node, time=now(), actor=node, id=new_uuid())
                for batch in batches
            )
        )
        return made

    def remove_file(self, node: str, id: str, path: str) -> None:
        parent, _, name = path.rpartition("/")
        gone = FileDeleted(files=[GoneFile(id=id, parent=parent, name=name, v=2)])
        self.publish(encode(gone, node, time=now(), actor=node, id=new_uuid()))

    def node(self, node: str) -> None:
        """Have a node register, and say how it is."""
        disk = Filesystem(mount="/", device="/dev/a", kind="ext4", capacity=9, available=4)
        events = (
            NodeRegistered(
                v=1,
                friendly_name=node.partition("-")[0],
                hostname="host",
                platform="linux",
                agent_version="1",
                watch_paths=["/home"],
                storage=[disk],
            ),
            NodeOnline(v=2),
            NodeStatus(v=1, subsystems=[Subsystem(name="watch", state="ok")], files=1, outbox=0),
        )
        self.publish(*(encode(e, node, time=now(), actor=node, id=new_uuid()) for e in events))

    def notice(self, source: str, condition: str, severity: Severity = "warning") -> str:
        event = NoticeRaised(severity=severity, title="A title", message="A message")
        self.publish(encode(event, source, condition, time=now(), actor=source, id=new_uuid()))
        return f"{source}::{condition}"
