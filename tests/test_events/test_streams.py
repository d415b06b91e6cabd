"""The streams: declared once, never silently rewritten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from events import streams, subjects
from events.connection import ApiError
from events.errors import LogUnavailable
from events.streams import BY_NAME, STREAMS
from events.vocabulary import TYPES
from tests.conftest import connected

if TYPE_CHECKING:
    from events.connection import Connection
    from tests.conftest import LogRecords, NatsServer

pytestmark = pytest.mark.anyio


async def config(connection: Connection, stream: str) -> dict[str, Any]:
    found: dict[str, Any] = (await connection.api(f"STREAM.INFO.{stream}"))["config"]
    return found


async def change(connection: Connection, stream: str, **fields: object) -> None:
    """As somebody does who uses another tool."""
    found = await config(connection, stream)
    await connection.api(f"STREAM.UPDATE.{stream}", {**found, **fields})


def test_every_area_of_the_grammar_has_one_stream() -> None:
    assert sorted(stream.area for stream in STREAMS) == sorted(subjects.GRAMMAR)
    assert {kind.area for kind in TYPES.values()} == set(subjects.GRAMMAR)
    assert len(BY_NAME) == len(STREAMS)


async def test_streams_are_made_as_declared_and_then_left_alone(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        assert await streams.ensure(connection) == []
        made = {stream.name: await config(connection, stream.name) for stream in STREAMS}
        assert await streams.ensure(connection) == []
        assert {stream.name: await config(connection, stream.name) for stream in STREAMS} == made


async def test_a_person_can_read_what_a_stream_is_for(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        await streams.ensure(connection)
        for stream in STREAMS:
            found = await config(connection, stream.name)
            assert found["description"] == stream.description
            assert len(stream.description) > 10
            assert found["subjects"] == [f"mosaic.{stream.area}.>"]
            assert found["metadata"]["mosaic.area"] == stream.area
            assert found["metadata"]["mosaic.kept"]


@pytest.mark.parametrize("verb", ["PURGE", "MSG.DELETE"])
async def test_nothing_can_be_taken_out_of_the_log(nats_server: NatsServer, verb: str) -> None:
    async with connected(nats_server.url) as connection:
        await streams.ensure(connection)
        for stream in STREAMS:
            if not stream.may_lose:
                with pytest.raises(ApiError, match="not permitted"):
                    await connection.api(f"STREAM.{verb}.{stream.name}", {"seq": 1})


@pytest.mark.parametrize("setting", ["deny_delete", "deny_purge"])
async def test_the_protection_cannot_be_taken_back(nats_server: NatsServer, setting: str) -> None:
    async with connected(nats_server.url) as connection:
        await streams.ensure(connection)
        for stream in STREAMS:
            if not stream.may_lose:
                with pytest.raises(ApiError, match="can not cancel"):
                    await change(connection, stream.name, **{setting: False})


async def test_what_somebody_changed_is_reported_and_left(
    nats_server: NatsServer, our_log: LogRecords
) -> None:
    our_log.expect("FILES.max_age is 3600")
    our_log.allow("stream drift")
    async with connected(nats_server.url) as connection:
        await streams.ensure(connection)
        await change(connection, "FILES", max_age=3600_000_000_000, description="mine")
        await change(connection, "NODES", max_msgs_per_subject=10)
        await change(connection, "AUDIT", max_bytes=1_000_000, max_msgs=5)
        changed = {name: await config(connection, name) for name in ("FILES", "NODES", "AUDIT")}
        for _ in range(2):
            drift = await streams.ensure(connection)
            assert {(each.stream, each.setting) for each in drift} == {
                ("FILES", "max_age"),
                ("FILES", "description"),
                ("NODES", "max_msgs_per_subject"),
                ("AUDIT", "max_bytes"),
                ("AUDIT", "max_msgs"),
            }
        for name, was in changed.items():
            assert await config(connection, name) == was


async def test_a_changed_mark_of_ours_is_drift_too(
    nats_server: NatsServer, our_log: LogRecords
) -> None:
    our_log.expect("FILES.metadata.mosaic.kept is 'a week'")
    async with connected(nats_server.url) as connection:
        await streams.ensure(connection)
        metadata = {**(await config(connection, "FILES"))["metadata"], "mosaic.kept": "a week"}
        await change(connection, "FILES", metadata=metadata)
        assert [each.setting for each in await streams.ensure(connection)] == [
            "metadata.mosaic.kept"
        ]


@pytest.mark.parametrize("mark", ["0", "nonsense", None])
async def test_an_older_declaration_is_brought_up_to_date(
    nats_server: NatsServer, mark: str | None
) -> None:
    """Fields that this program does not know and the metadata of others survive."""
    async with connected(nats_server.url) as connection:
        old = BY_NAME["FILES"].config(1)
        metadata = {"team.contact": "ada"} | ({"mosaic.declaration": mark} if mark else {})
        await connection.api(
            "STREAM.CREATE.FILES",
            {**old, "description": "old", "max_consumers": 77, "metadata": metadata},
        )
        assert await streams.ensure(connection) == []
        found = await config(connection, "FILES")
        assert found["description"] == BY_NAME["FILES"].description
        assert found["max_consumers"] == 77
        assert found["metadata"]["team.contact"] == "ada"
        assert found["metadata"]["mosaic.declaration"] == str(streams.DECLARATION)
        assert await streams.ensure(connection) == []


async def test_a_newer_declaration_is_none_of_our_business(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        newer = {
            **BY_NAME["FILES"].config(1),
            "max_age": 86_400_000_000_000,
            "metadata": {"mosaic.declaration": str(streams.DECLARATION + 1)},
        }
        await connection.api("STREAM.CREATE.FILES", newer)
        before = await config(connection, "FILES")
        assert await streams.ensure(connection) == []
        assert await config(connection, "FILES") == before


async def test_a_stream_of_somebody_else_on_our_subjects_is_an_error(
    nats_server: NatsServer,
) -> None:
    async with connected(nats_server.url) as connection:
        await connection.api("STREAM.CREATE.THEIRS", {"name": "THEIRS", "subjects": ["mosaic.>"]})
        with pytest.raises(ApiError, match="overlap"):
            await streams.ensure(connection)


async def test_heads_tell_of_the_streams_that_exist(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        assert await streams.heads(connection) == {}
        await connection.api("STREAM.CREATE.FILES", BY_NAME["FILES"].config(1))
        found = await streams.heads(connection)
        assert list(found) == ["FILES"]
        assert found["FILES"]["last_seq"] == found["FILES"]["messages"] == 0
        assert found["FILES"]["created"]


async def test_a_server_without_jetstream_is_unavailable(nats_server: NatsServer) -> None:
    nats_server.stop()
    nats_server.jetstream = False
    nats_server.start()
    async with connected(nats_server.url) as connection:
        with pytest.raises(LogUnavailable):
            await streams.ensure(connection)
