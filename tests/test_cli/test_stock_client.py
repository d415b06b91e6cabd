"""What somebody sees who looks at the log with any NATS client, and knows nothing of our code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nats
import pytest

if TYPE_CHECKING:
    from tests.test_cli.harness import Instance


@pytest.mark.nats
@pytest.mark.anyio
async def test_a_stock_client_reads_streams_subjects_and_json(instance: Instance) -> None:
    instance.up(watch=False)
    url = instance.kinds("ready")[0]["url"]
    client = await nats.connect(url, nkeys_seed=str(instance.state / "keys" / "control.nk"))
    try:
        jetstream = client.jetstream()
        infos = {info.config.name: info for info in await jetstream.streams_info()}
        assert {"FILES", "CATALOG", "NODES", "AUDIT"} <= set(infos)
        for info in infos.values():
            assert info.config.description
        files = await jetstream.pull_subscribe("mosaic.files.>", stream="FILES")
        (message,) = await files.fetch(1, timeout=20)
        body = json.loads(message.data)
        headers = message.headers or {}
        assert message.subject.split(".")[3] == "indexed"
        assert body["type"] == headers["Mosaic-Type"] == "file.indexed"
        assert headers["Mosaic-Version"] == "1"
        assert {"id", "parent", "name", "size", "mtime", "v"} <= set(body["files"][0])
    finally:
        await client.close()
