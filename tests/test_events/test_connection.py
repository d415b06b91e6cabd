"""One connection, kept up for ever, whatever the server says or is sent."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING

import nkeys
import pytest

from events import connection as link
from events import streams
from events.append import append
from events.connection import connect, make_seed, seed_of, server_url
from events.errors import LogUnavailable, Misconfigured
from events.machine.places import find
from tests.conftest import connected, eventually
from tests.test_events.messages import indexed, let_in

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import LogRecords, NatsServer

pytestmark = pytest.mark.anyio


# The connection


async def test_the_first_connect_waits_for_the_server(nats_server: NatsServer) -> None:
    nats_server.kill()
    connecting = asyncio.create_task(connect(nats_server.url, name="test"))
    # It has been refused at least once.
    done, _ = await asyncio.wait((connecting,), timeout=2 * link.RECONNECT_WAIT_S)
    assert not done
    nats_server.start()
    connection = await asyncio.wait_for(connecting, 10)
    assert connection.connected
    await connection.close()


async def test_waiting_for_the_server_can_be_cancelled(nats_server: NatsServer) -> None:
    nats_server.kill()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connect(nats_server.url, name="test"), link.RECONNECT_WAIT_S)


async def test_a_lost_server_is_found_again(nats_server: NatsServer, our_log: LogRecords) -> None:
    our_log.expect("lost the event log")
    came_back = asyncio.Event()
    connection = await connect(nats_server.url, name="test", on_reconnect=came_back.set)
    await streams.ensure(connection)
    await connection.available()
    for _ in range(2):
        nats_server.kill()
        await eventually(lambda: not connection.connected, "the loss is noticed")
        waiting = asyncio.create_task(connection.available())
        nats_server.start()
        await asyncio.wait_for(waiting, 10)
        await asyncio.wait_for(came_back.wait(), 10)
        came_back.clear()
        assert (await connection.api("STREAM.INFO.FILES"))["config"]["name"] == "FILES"
    await connection.close()
    assert len(our_log.records) == 2


async def test_a_call_to_a_server_that_is_away_is_temporary(
    nats_server: NatsServer, our_log: LogRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    our_log.expect("lost the event log")
    monkeypatch.setattr(link, "API_TIMEOUT_S", 0.1)
    async with connected(nats_server.url) as connection:
        nats_server.kill()
        with pytest.raises(LogUnavailable):
            await connection.api("STREAM.INFO.FILES")
        await eventually(lambda: not connection.connected, "the loss is noticed")


async def test_a_key_that_is_refused_is_told_once(
    nats_server: NatsServer, our_log: LogRecords, tmp_path: Path
) -> None:
    our_log.expect("the event log refuses this key")
    right, wrong = make_seed(tmp_path / "right.nk"), make_seed(tmp_path / "wrong.nk")
    assert right != wrong
    let_in(nats_server, f"{{ nkey: {right} }}")
    nats_server.reload()
    said = len(nats_server.log)
    connecting = asyncio.create_task(
        connect(nats_server.url, name="test", seed=tmp_path / "wrong.nk")
    )
    await eventually(
        lambda: nats_server.log[said:].count("authentication error") >= 3, "it was refused thrice"
    )
    assert len(our_log.records) == 1
    # Refused is not for ever: the key may be let in at any time.
    let_in(nats_server, f"{{ nkey: {wrong} }}")
    nats_server.reload()
    await (await asyncio.wait_for(connecting, 10)).close()


async def test_a_key_that_is_withdrawn_and_given_back_works_again(
    nats_server: NatsServer, our_log: LogRecords, tmp_path: Path
) -> None:
    """nats-py would close for ever at the server's parting words."""
    our_log.expect("the event log refuses this key")
    our_log.expect("lost the event log")
    mine, other = make_seed(tmp_path / "mine.nk"), make_seed(tmp_path / "other.nk")
    let_in(nats_server, f"{{ nkey: {mine} }}")
    nats_server.reload()
    async with connected(nats_server.url, seed=tmp_path / "mine.nk") as connection:
        await streams.ensure(connection)
        let_in(nats_server, f"{{ nkey: {other} }}")
        nats_server.reload()
        await eventually(lambda: "authentication error" in nats_server.log, "the key is refused")
        with pytest.raises(LogUnavailable):
            await append(connection, indexed(1))
        let_in(nats_server, f"{{ nkey: {mine} }}")
        nats_server.reload()
        await asyncio.wait_for(connection.available(), 10)
        assert (await append(connection, indexed(1))).sequence == 1


async def test_closing_in_a_reconnect_does_not_hang(
    nats_server: NatsServer, our_log: LogRecords
) -> None:
    our_log.allow("lost the event log")
    connection = await connect(nats_server.url, name="test")
    nats_server.kill()
    await eventually(lambda: not connection.connected, "the loss is noticed")
    await asyncio.wait_for(connection.close(), 5)
    assert connection.client.is_closed


# Keys


def test_a_seed_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "node.nk"
    public = make_seed(path)
    assert public.startswith("U")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert make_seed(path) == public
    assert nkeys.from_seed(bytearray(path.read_bytes())).public_key.decode() == public
    assert [each.name for each in path.parent.iterdir()] == ["node.nk"]


def test_a_seed_is_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        make_seed(tmp_path / "node.nk")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "node.nk").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"garbage", b"SUA\xff", b"S" * 58])
async def test_a_damaged_seed_names_its_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "node.nk"
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match=r"node\.nk holds no key"):
        make_seed(path)
    with pytest.raises(Misconfigured, match=r"node\.nk holds no key"):
        await connect("nats://127.0.0.1:1", name="test", seed=path)


async def test_a_missing_seed_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"node\.nk"):
        await connect("nats://127.0.0.1:1", name="test", seed=tmp_path / "node.nk")


# Where the server is


def test_the_address_comes_from_the_environment_or_the_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOSAICFS_NATS_URL", raising=False)
    places = find(tmp_path)
    with pytest.raises(Misconfigured, match=r"start `mosaicfs up`.*MOSAICFS_NATS_URL"):
        server_url(places)
    places.make()
    (places.nats / "url").write_text("nats://127.0.0.1:4321\n")
    assert server_url(places) == "nats://127.0.0.1:4321"
    monkeypatch.setenv("MOSAICFS_NATS_URL", "nats://log.example:4222")
    assert server_url(places) == "nats://log.example:4222"


def test_a_machine_may_have_no_key_of_a_kind(tmp_path: Path) -> None:
    places = find(tmp_path)
    assert seed_of(places, "control") is None
    make_seed(places.keys / "control.nk")
    assert seed_of(places, "control") == places.keys / "control.nk"
