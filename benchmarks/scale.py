"""Half a million files: how fast the view is folded, how large it is, how fast it answers."""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING, Final

import anyio

from benchmarks.result import Result, percentile
from benchmarks.stand import Stand, wait_until
from benchmarks.trees import WORDS, file_events
from events import append, connection, streams
from events.machine import control
from projectors.documents.reader import Reader

if TYPE_CHECKING:
    from pathlib import Path

NODE: Final = "bench-00000000"
_QUERIES: Final = 600


def run(folder: Path, files: int = 500_000) -> list[Result]:
    """Fold from the log, start from a snapshot, search."""
    with Stand(folder / "state") as stand:
        stand.start_server()
        last = anyio.run(publish, stand, files)
        results = [_fold(stand, files, last), *_memory(stand), _size(stand, files)]
        results += _search(stand)
        results += [_snapshot(stand, files)]
    return results


async def publish(stand: Stand, files: int) -> int:
    log = await connection.connect(f"nats://127.0.0.1:{stand.port}", name="bench")
    await streams.ensure(log)
    waiting = []
    last = 0
    for message in file_events(files, NODE):
        waiting.append(message)
        if len(waiting) == 32:
            last = (await append.append_atomic(log, waiting)).sequence
            waiting = []
    if waiting:
        last = (await append.append_atomic(log, waiting)).sequence
    await log.close()
    return last


def _fold(stand: Stand, files: int, last: int) -> Result:
    started = time.perf_counter()
    stand.start_projector()
    stand.wait_for_files(files)
    taken = time.perf_counter() - started
    return Result(
        "projector, file records a second from the log",
        files / taken,
        "/s",
        40_000,
        "at least",
        f"{files:,} records in {last:,} messages, process start included",
    )


def _memory(stand: Stand) -> list[Result]:
    return [
        Result("projector, memory at its peak", stand.peak_mib("projector"), "MiB", 250),
        Result("projector, memory at rest", stand.rss_mib("projector"), "MiB", 250),
    ]


def _size(stand: Stand, files: int) -> Result:
    with Reader(stand.places.documents_db) as reader:
        assert reader.counts()["files"] == files
    stand.stop("projector")
    size = stand.places.documents_db.stat().st_size
    return Result("view, bytes a file", size / files, "B", 300)


def _search(stand: Stand) -> list[Result]:
    draw = random.Random(7)
    kinds = {
        "two words": lambda: "_".join(draw.choices(WORDS, k=2)),
        "part of a word": lambda: draw.choice(WORDS)[1:5],
        "a number": lambda: f"{draw.randrange(10**6):06d}",
        "nothing": lambda: f"zz{draw.randrange(10**6)}qq",
        "glob": lambda: f"*{draw.choice(WORDS)}*.pdf",
    }
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    with Reader(stand.places.documents_db) as reader:
        for number in range(_QUERIES):
            kind = list(kinds)[number % len(kinds)]
            text = kinds[kind]()
            started = time.perf_counter()
            reader.search(text)
            times[kind].append((time.perf_counter() - started) * 1000)
        started = time.perf_counter()
        reader.search("q~")
        scan = (time.perf_counter() - started) * 1000
    every = [each for values in times.values() for each in values]
    note = ", ".join(f"{kind} {statistics.median(values):.2g}" for kind, values in times.items())
    return [
        Result("name search, p95", percentile(every, 95), "ms", 5, note=f"medians: {note}"),
        Result("name search, worst case (a scan)", scan, "ms", note="two letters that no name has"),
    ]


def _snapshot(stand: Stand, files: int) -> Result:
    stand.start_projector()
    anyio.run(control.ask, stand.places.socket("projector"), {"do": "snapshot"}, 120)
    stand.stop("projector")
    for path in stand.places.documents_db.parent.iterdir():
        path.unlink()
    started = time.perf_counter()
    stand.start_projector()
    wait_until(lambda: stand.files_in_view() == files, 60, "the snapshot")
    return Result(
        f"start of {files:,} files from a snapshot", time.perf_counter() - started, "s", 5
    )
