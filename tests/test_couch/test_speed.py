"""The figures that are promised, over a view of 500,000 files."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.conftest import eventually
from tests.test_couch.world import Gateway, Log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = 500_000
_MARK = b'"changes":['


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("large")
    log = Log()
    log.register()
    gateway = Gateway(folder, log)
    for start in range(0, FILES, 500):
        names = [f"file {start + i}.txt" for i in range(500)]
        log.new_files(names, parent=f"/data/{start // 1000}")
        if len(log.messages) >= 48:
            gateway.apply(log.messages)
            log.messages.clear()
    gateway.apply(log.messages)
    gateway.start()
    yield gateway
    gateway.close()


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


@pytest.mark.slow
def test_changes_stream_with_bodies(large: Gateway) -> None:
    with large.client() as client:
        client.get("/mosaic/_changes", params={"include_docs": "true", "limit": 20_000})
        before, most, rows = resident(), 0, 0
        began = time.monotonic()
        asked = {"include_docs": "true"}
        with client.stream("GET", "/mosaic/_changes", params=asked) as answer:
            tail = b""
            for number, part in enumerate(answer.iter_raw()):
                # A row may be cut in two; its mark is counted with the part that ends it.
                tail = tail[-len(_MARK) + 1 :] + part
                rows += tail.count(_MARK)
                if number % 50 == 0:
                    most = max(most, resident() - before)
        rate = rows / (time.monotonic() - began)
    assert rows >= FILES
    print(f"{rate:.0f} documents a second, {most / 1e6:.0f} MB more")  # noqa: T201  # the figure
    assert rate >= 20_000
    assert most < 64 * 1024 * 1024


@pytest.mark.slow
@pytest.mark.parametrize(
    ("selector", "limit_ms"),
    [
        ({"source.export_parent": "/data/17"}, 100),
        ({"name": "file 4711.txt"}, 100),
        ({"inode": 4711}, 100),
    ],
)
def test_a_find_by_an_index_is_quick(
    large: Gateway, selector: dict[str, object], limit_ms: float
) -> None:
    with large.client() as client:
        taken = []
        for _ in range(5):
            began = time.monotonic()
            body = {"selector": {"type": "file", **selector}}
            found = client.post("/mosaic/_find", json=body).json()
            taken.append((time.monotonic() - began) * 1000)
            assert found["docs"]
            assert "warning" not in found
    assert min(taken) < limit_ms, taken


@pytest.mark.slow
def test_a_thousand_wait_and_all_are_told(large: Gateway) -> None:
    async def poll(client: httpx.AsyncClient, since: str) -> int:
        answer = await client.get("/mosaic/_changes", params={"feed": "longpoll", "since": since})
        return len(answer.json()["results"])

    async def run() -> list[int]:
        limits = httpx.Limits(max_connections=1000)
        headers = {"authorization": "Bearer token-bob"}
        async with httpx.AsyncClient(
            base_url=large.url, headers=headers, limits=limits, timeout=60
        ) as client:
            now = (await client.get("/mosaic/_changes?since=now")).json()["last_seq"]
            polls = [asyncio.create_task(poll(client, now)) for _ in range(1000)]
            context = large.context
            assert context is not None
            await eventually(lambda: len(context.feed._waiters) == 1000, "all wait")
            large._log.messages.clear()
            large._log.new_files(["one more.txt"])
            large.apply(large._log.messages)
            return await asyncio.gather(*polls)

    assert set(asyncio.run(run())) == {1}
