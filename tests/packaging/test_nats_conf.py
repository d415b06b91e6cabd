"""nats.conf and deploy/nats-cluster.conf, as real servers run them."""

import asyncio
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import IO

import nats
import nats.errors
import pytest
from nats.aio.client import Client
from nats.js.errors import BadRequestError, NoStreamResponseError, ServiceUnavailableError

from events.append import BATCH_LIMIT

ROOT = Path(__file__).resolve().parents[2]
NATS_SERVER = Path(sys.prefix) / "bin" / "nats-server"
WAIT_S = 30.0
# What a client sees while a stream has no leader.
NO_LEADER = (nats.errors.TimeoutError, NoStreamResponseError, ServiceUnavailableError)

pytestmark = pytest.mark.nats


class Server:
    """A nats-server in a folder of its own; its log says what happens in it."""

    def __init__(
        self, folder: Path, name: str, conf: str, log: queue.Queue[str], **env: str
    ) -> None:
        folder.mkdir()
        for source in ("nats.conf", "deploy/nats-cluster.conf"):
            shutil.copy(ROOT / source, folder)
        (folder / "users.conf").touch()
        variables = {
            "MOSAICFS_NATS_NAME": name,
            "MOSAICFS_NATS_HOST": "127.0.0.1",
            "MOSAICFS_NATS_PORT": "-1",
            "MOSAICFS_NATS_STORE": f'"{folder}/the log"',
            "MOSAICFS_NATS_MONITOR": "127.0.0.1:0",
        }
        self.name = name
        self.log = log
        self.process = subprocess.Popen(
            [NATS_SERVER, "-c", folder / conf],
            env={**os.environ, **variables, **env},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr,))
        self._reader.start()

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            self.log.put(f"{self.name} {line.rstrip()}")

    def stop(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        assert self.process.stderr
        self.process.stderr.close()


def wait_for(log: queue.Queue[str], pattern: str) -> re.Match[str]:
    """Reads the log until a line matches."""
    seen = []
    deadline = monotonic() + WAIT_S
    with suppress(queue.Empty):
        while True:
            line = log.get(timeout=max(0.0, deadline - monotonic()))
            seen.append(line)
            if found := re.search(pattern, line):
                return found
    raise AssertionError(f"no line with {pattern!r} in:\n" + "\n".join(seen))


@contextmanager
def running(
    folder: Path, name: str, conf: str, log: queue.Queue[str], **env: str
) -> Iterator[Server]:
    server = Server(folder, name, conf, log, **env)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop(signal.SIGTERM)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def test_batch_limit_is_the_code_s() -> None:
    assert f"max_msgs: {BATCH_LIMIT}\n" in (ROOT / "nats.conf").read_text()


def test_single_server(tmp_path: Path) -> None:
    log: queue.Queue[str] = queue.Queue()
    with running(tmp_path / "one", "one", "nats.conf", log) as server:
        port = wait_for(log, r"Listening for client connections on 127\.0\.0\.1:(\d+)")[1]
        wait_for(log, "Server is ready")
        asyncio.run(_publish_once(f"nats://127.0.0.1:{port}"))
        # Users come and go by SIGHUP: nobody without a name gets in after this reload.
        users = "authorization { users = [ { user: ann, password: secret } ] }"
        (tmp_path / "one" / "users.conf").write_text(users)
        server.process.send_signal(signal.SIGHUP)
        wait_for(log, "Reloaded server configuration")
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            asyncio.run(_publish_once(f"nats://127.0.0.1:{port}"))
        asyncio.run(_publish_once(f"nats://ann:secret@127.0.0.1:{port}"))
    assert (tmp_path / "one" / "the log" / "jetstream").is_dir()


def test_service_start_fills_in_what_is_not_set(tmp_path: Path) -> None:
    env = {
        "MOSAICFS_STATE": str(tmp_path / "a state"),
        "MOSAICFS_NATS_PORT": "-1",
        "MOSAICFS_NATS_MONITOR": "127.0.0.1:0",
        "PATH": f"{NATS_SERVER.parent}:{os.defpath}",
    }
    with subprocess.Popen(
        [ROOT / "deploy" / "nats-start"], env=env, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr
        lines = []
        for line in server.stderr:
            lines.append(line)
            if "Server is ready" in line:
                break
        server.terminate()
    assert any("client connections on 127.0.0.1:" in line for line in lines), lines
    assert (tmp_path / "a state" / "nats" / "store" / "jetstream").is_dir()


async def _publish_once(url: str) -> None:
    client = Client()
    try:
        await client.connect(url, allow_reconnect=False)
        stream = client.jetstream()
        await stream.add_stream(name="LOG", subjects=["log"])
        await stream.publish("log", b"x")
    finally:
        await client.close()


def test_cluster_survives_the_loss_of_a_server(tmp_path: Path) -> None:
    log: queue.Queue[str] = queue.Queue()
    ports = free_ports(3)
    routes = "[" + ", ".join(f"nats://127.0.0.1:{port}" for port in ports) + "]"
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(
                running(
                    tmp_path / name,
                    name,
                    "nats-cluster.conf",
                    log,
                    MOSAICFS_NATS_CLUSTER_LISTEN=f"127.0.0.1:{port}",
                    MOSAICFS_NATS_ROUTES=routes,
                )
            )
            for name, port in zip("abc", ports, strict=True)
        }
        addresses: dict[str, str] = {}
        leader = None
        while len(addresses) < 3 or leader is None:
            found = wait_for(
                log, r"^(.) .*(?:client connections on (.*)|Self is new .*metadata leader)"
            )
            if found[2]:
                addresses[found[1]] = f"nats://{found[2]}"
            else:
                leader = found[1]
        asyncio.run(_publish_kill_publish(servers, addresses))


async def _publish_kill_publish(servers: dict[str, Server], addresses: dict[str, str]) -> None:
    async with asyncio.timeout(WAIT_S):
        client = await nats.connect(addresses["a"], allow_reconnect=False)
        stream = client.jetstream()
        while True:
            # The new metadata leader first has to hear from the other two.
            with suppress(BadRequestError):
                await stream.add_stream(name="LOG", subjects=["log"], num_replicas=3)
                break
        assert (await _publish(client, "first")).seq == 1
        info = await stream.stream_info("LOG")
        await client.close()
    assert info.cluster
    assert info.cluster.leader
    assert len(info.cluster.replicas or []) == 2
    # The stream's leader: the loss that hurts most.
    servers[info.cluster.leader].stop(signal.SIGKILL)
    del addresses[info.cluster.leader]
    async with asyncio.timeout(WAIT_S):
        client = await nats.connect(next(iter(addresses.values())), allow_reconnect=False)
        assert (await _publish(client, "second")).seq == 2
        assert (await client.jetstream().get_msg("LOG", 1)).headers == {"Nats-Msg-Id": "first"}
        await client.close()


async def _publish(client: Client, name: str) -> nats.js.api.PubAck:
    """Tries until stored. The message id makes trying again harmless."""
    while True:
        with suppress(*NO_LEADER):
            return await client.jetstream().publish("log", timeout=2, headers={"Nats-Msg-Id": name})
