"""From a change on disk to the view, beyond the watcher's debounce."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

import anyio

from benchmarks.result import Result, percentile
from benchmarks.stand import Stand, wait_until
from benchmarks.trees import make_tree, name
from projectors.documents.reader import Reader
from projectors.feed import FeedReader

if TYPE_CHECKING:
    from pathlib import Path

    from events.ids import FileId

CHANGES: Final = 100
DEBOUNCE_S: Final = 0.5


def run(folder: Path, files: int = 20_000) -> list[Result]:
    """One change after the other, each awaited; random pauses so that no timer is in step."""
    tree = folder / "tree"
    make_tree(tree, files)
    with Stand(folder / "state") as stand:
        stand.start_server()
        stand.start_projector()
        stand.start_agent(tree)
        stand.wait_for_files(files)
        wait_until(lambda: stand.status("agent").get("state") == "watching", 60, "the watcher")
        folders = sorted(path for path in tree.glob("*/*") if path.is_dir())
        times = anyio.run(_changes, stand, folders)
    note = f"{CHANGES} files made, changed, renamed and deleted, debounce {DEBOUNCE_S} s taken off"
    return [
        Result("change on disk to view, p50", percentile(times, 50), "s", note=note),
        Result("change on disk to view, p99", percentile(times, 99), "s", 0.5, note=note),
    ]


async def _changes(stand: Stand, folders: list[Path]) -> list[float]:
    draw = random.Random(3)
    times: list[float] = []
    with Reader(stand.places.documents_db) as reader:
        async with FeedReader(stand.places.socket("projector")) as feed:
            for number in range(CHANGES):
                path = draw.choice(folders) / name(draw, 900_000 + number)
                known: FileId | None = None
                for step in ("make", "change", "rename", "delete"):
                    await anyio.sleep(draw.uniform(0, 0.3))
                    started = time.perf_counter()
                    path = _do(step, path)
                    while not _visible(reader, step, path, known):
                        with anyio.fail_after(20):
                            await feed.line()
                    times.append(time.perf_counter() - started - DEBOUNCE_S)
                    row = reader.file_at(None, str(path))
                    known = row.id if row else known
    return times


def _do(step: str, path: Path) -> Path:
    if step == "make":
        path.write_bytes(b"new")
    elif step == "change":
        path.write_bytes(b"changed and longer")
    elif step == "rename":
        return path.rename(path.with_suffix(".moved"))
    else:
        path.unlink()
    return path


def _visible(reader: Reader, step: str, path: Path, known: FileId | None) -> bool:
    row = reader.file_at(None, str(path))
    if row is None:
        return False
    if step == "delete":
        return row.deleted_at is not None
    if step == "rename":
        return row.id == known and row.deleted_at is None
    return row.deleted_at is None and row.size == path.stat().st_size
