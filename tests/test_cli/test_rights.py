"""users.conf on a real server: what a node's key may do, and what it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cli.supervise import users
from events import consume, streams
from events.append import append
from events.clock import now
from events.codec import Wire, encode
from events.connection import Connection, connect, make_seed
from events.errors import LogRejected, LogUnavailable
from events.vocabulary.nodes import NodeOnline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conftest import NatsServer

pytestmark = [pytest.mark.nats, pytest.mark.anyio]


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server refuses by silence, which is told from slowness by waiting."""
    monkeypatch.setattr("events.append.ACK_TIMEOUT_S", 0.3)
    monkeypatch.setattr("events.connection.API_TIMEOUT_S", 0.3)


@pytest.fixture
async def keys(nats_server: NatsServer, tmp_path: Path) -> Path:
    """The keys of a server that knows the control plane and two nodes."""
    nodes = {name: make_seed(tmp_path / f"{name}.nk") for name in ("ann", "bob")}
    control = make_seed(tmp_path / "control.nk")
    nats_server.extra = users.render(control, nodes, ["documents-ann"])
    nats_server.reload()
    connection = await connect(nats_server.url, name="test", seed=tmp_path / "control.nk")
    await streams.ensure(connection)
    await connection.close()
    return tmp_path


@pytest.fixture
async def ann(nats_server: NatsServer, keys: Path) -> AsyncIterator[Connection]:
    connection = await connect(
        nats_server.url, name="ann", seed=keys / "ann.nk", inbox="_INBOX_ann"
    )
    yield connection
    await connection.close()


def online(node: str, number: int = 1) -> Wire:
    return encode(NodeOnline(v=number), node, time=now(), actor="test", id=f"{node}-{number}")


async def test_a_node_speaks_for_itself_only(ann: Connection) -> None:
    assert (await append(ann, online("ann"))).stream == "NODES"
    with pytest.raises(LogRejected, match="may not publish"):
        await append(ann, online("bob"))


async def test_a_node_reads_its_own_part_only(
    nats_server: NatsServer, keys: Path, ann: Connection
) -> None:
    control = await connect(nats_server.url, name="test", seed=keys / "control.nk")
    for node in ("ann", "bob"):
        await append(control, online(node))
    await control.close()
    own = [
        message.subject
        async for batch in consume.read(ann, "NODES", subject="mosaic.nodes.ann.>", reader="ann-x")
        for message in batch
    ]
    assert own == ["mosaic.nodes.ann.online"]
    for other in ("mosaic.nodes.bob.>", "mosaic.nodes.>"):
        with pytest.raises(LogUnavailable):
            await _all(ann, other)


@pytest.mark.parametrize(
    "verb",
    [
        "STREAM.DELETE.FILES",
        "STREAM.PURGE.FILES",
        "STREAM.NAMES",
        "CONSUMER.NAMES.FILES",
        "CONSUMER.CREATE.FILES",
        "CONSUMER.DELETE.FILES.documents-ann",
        "CONSUMER.MSG.NEXT.FILES.documents-ann",
        "CONSUMER.CREATE.FILES.documents-ann.mosaic.files.ann.>",
        "STREAM.MSG.GET.FILES",
        "DIRECT.GET.FILES",
    ],
)
async def test_a_node_does_not_administer(ann: Connection, verb: str) -> None:
    with ann.watch(f"$JS.API.{verb}") as trouble:
        with pytest.raises(LogUnavailable):
            await ann.api(verb, {})
        assert isinstance(trouble.result(), LogRejected)


async def test_a_node_hears_its_own_inbox_only(
    nats_server: NatsServer, keys: Path, ann: Connection
) -> None:
    control = await connect(nats_server.url, name="test", seed=keys / "control.nk")
    heard = await ann.client.subscribe("mosaic.>")
    allowed = await control.client.subscribe("mosaic.>")
    await ann.client.flush()
    await append(control, online("bob"))
    await allowed.next_msg(5)
    # What the server had for it would have come before this answer.
    await ann.client.flush()
    assert heard.pending_msgs == 0
    await control.close()


async def _all(connection: Connection, subject: str) -> None:
    async for _ in consume.read(connection, "NODES", subject=subject, reader="ann-x"):
        pass
