"""The gateway over half a million files: pages, search, one file, and its memory."""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx

from benchmarks.result import Result, percentile
from benchmarks.scale import NODE, publish
from benchmarks.stand import Stand, wait_until
from benchmarks.trees import WORDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ROUNDS: Final = 400
_PASSWORD: Final = "only for this benchmark"


def run(folder: Path, files: int = 500_000) -> list[Result]:
    """Serve the files, and ask for them as a browser does: over one connection, logged in."""
    with Stand(folder / "state") as stand:
        stand.start_server()
        anyio.run(publish, stand, files)
        stand.start_projector()
        stand.wait_for_files(files)
        (folder / "password").write_text(_PASSWORD)
        (stand.places.config / "gateway.toml").write_text('host = "127.0.0.1"\nport = 0\n')
        password = str(folder / "password")
        stand.start("gateway", "gateway", "--http-loopback", "0", "--admin-password-file", password)
        wait_until(lambda: stand.status("gateway").get("state") == "live", 60, "the gateway")
        base = f"http://127.0.0.1:{stand.status('gateway')['http']}"
        with httpx.Client(base_url=base) as client:
            login = {"name": "admin", "password": _PASSWORD}
            token = client.post("/api/auth/login", json=login).json()["token"]
            client.headers["authorization"] = f"Bearer {token}"
            results = [*_pages(client), *_search(client), *_one(client)]
        results.append(Result("gateway, memory at its peak", stand.peak_mib("gateway"), "MiB", 200))
        return results


def _timed(client: httpx.Client, path: str, ask: Callable[[], dict[str, Any]]) -> list[float]:
    """Milliseconds of each of many requests."""
    times = []
    for _ in range(_ROUNDS):
        query = ask()
        began = time.perf_counter()
        answer = client.get(path, params=query)
        times.append((time.perf_counter() - began) * 1000)
        answer.raise_for_status()
    return times


def _note(times: list[float]) -> str:
    return f"median {statistics.median(times):.2g}, worst {max(times):.2g}"


def _pages(client: httpx.Client) -> list[Result]:
    draw = random.Random(1)
    cursor: list[str] = []

    def walk() -> dict[str, Any]:
        return {"limit": 100, "cursor": cursor[0]} if cursor else {"limit": 100}

    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        page = client.get("/api/files", params=walk()).json()
        times.append((time.perf_counter() - began) * 1000)
        cursor[:] = [page["next"]]
    below = _timed(
        client,
        "/api/files",
        lambda: {"below": f"/home/max/{draw.choice(WORDS)}", "node": NODE, "limit": 100},
    )
    return [
        Result("a page of 100 files, p95", percentile(times, 95), "ms", 10, note=_note(times)),
        Result("the same below a folder, p95", percentile(below, 95), "ms", 10, note=_note(below)),
    ]


def _search(client: httpx.Client) -> list[Result]:
    draw = random.Random(7)
    kinds: list[Callable[[], str]] = [
        lambda: "_".join(draw.choices(WORDS, k=2)),
        lambda: draw.choice(WORDS)[1:5],
        lambda: f"{draw.randrange(10**6):06d}",
        lambda: f"zz{draw.randrange(10**6)}qq",
        lambda: f"*{draw.choice(WORDS)}*.pdf",
    ]
    found = _timed(client, "/api/search", lambda: {"q": draw.choice(kinds)()})
    rule = {"name": "b", "node": "*", "path_prefix": "/home/max/report/", "labels": ["bench"]}
    client.post("/api/labels/rules", json=rule).raise_for_status()
    labelled = _timed(
        client, "/api/search", lambda: {"q": draw.choice(WORDS), "label": "bench", "limit": 50}
    )
    ordered = _timed(
        client, "/api/search", lambda: {"q": "_".join(draw.choices(WORDS, k=2)), "sort": "size"}
    )
    wide = _timed(client, "/api/search", lambda: {"q": draw.choice(WORDS), "sort": "name"})
    return [
        Result("search, p95", percentile(found, 95), "ms", 15, note=_note(found)),
        Result("search with a label, p95", percentile(labelled, 95), "ms", note=_note(labelled)),
        Result("search in order of size, p95", percentile(ordered, 95), "ms", note=_note(ordered)),
        Result("the same over 37,000 matches, p95", percentile(wide, 95), "ms", note=_note(wide)),
    ]


def _one(client: httpx.Client) -> list[Result]:
    files = client.get("/api/files", params={"limit": 1000}).json()["files"]
    draw = random.Random(3)
    times = []
    for _ in range(_ROUNDS):
        address = f"/api/files/{draw.choice(files)['id']}"
        began = time.perf_counter()
        client.get(address).raise_for_status()
        times.append((time.perf_counter() - began) * 1000)
    return [Result("one file by id, p95", percentile(times, 95), "ms", note=_note(times))]
