"""Crawl: from files on a disk to rows in the view, beside what only lists the same tree.

`rclone lsf` only prints; MosaicFS stats, compares, gives identities, publishes, fsyncs twice, folds
and indexes. The bounds say how much that may cost.
"""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from benchmarks.result import Result, spread
from benchmarks.stand import Stand, peer, quiet
from benchmarks.trees import make_tree
from events.machine import control

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RUNS: Final = 5


def run(folder: Path, files: int = 100_000) -> list[Result]:
    """First crawl, unchanged crawl, and the peers, in turn within each run."""
    tree = folder / "tree"
    make_tree(tree, files)
    peers = _peers(tree, folder)
    for listing in peers.values():
        listing()
    first: list[float] = []
    again: list[float] = []
    listed: dict[str, list[float]] = {name: [] for name in peers}
    for number in range(RUNS):
        for name, listing in peers.items():
            listed[name].append(listing())
        crawled, recrawled = _ours(folder / f"state-{number}", tree, files)
        first.append(crawled)
        again.append(recrawled)
    results = [
        Result(
            f"first crawl of {files:,} files, until visible",
            _median(first),
            "s",
            note="agent start included; " + spread(first, "s"),
        ),
        Result(f"unchanged crawl of {files:,} files", _median(again), "s", note=spread(again, "s")),
    ]
    results += [Result(f"  {name}", _median(times), "s") for name, times in listed.items()]
    if rclone := listed.get("rclone lsf -R --format pst"):
        ratios = [ours / theirs for ours, theirs in zip(first, rclone, strict=True)]
        results.append(
            Result("first crawl / rclone lsf", _median(ratios), "x", 6, note=spread(ratios, "x"))
        )
        ratios = [ours / theirs for ours, theirs in zip(again, rclone, strict=True)]
        results.append(
            Result(
                "unchanged crawl / rclone lsf", _median(ratios), "x", 2, note=spread(ratios, "x")
            )
        )
    return results


def _ours(state: Path, tree: Path, files: int) -> tuple[float, float]:
    with Stand(state) as stand:
        stand.start_server()
        stand.start_projector()
        started = time.perf_counter()
        stand.start_agent(tree)
        stand.wait_for_files(files)
        first = time.perf_counter() - started
        again = anyio.run(_crawl_again, stand)
    return first, again


async def _crawl_again(stand: Stand) -> float:
    """Ask the running agent for a crawl, and wait until it says that it is done."""
    started = time.perf_counter()
    async for line in control.follow(stand.places.socket("agent"), {"do": "crawl"}):
        if "done" in line:
            break
    return time.perf_counter() - started


def _peers(tree: Path, folder: Path) -> dict[str, Callable[[], float]]:
    commands: dict[str, list[str]] = {}
    if rclone := peer("rclone"):
        commands["rclone lsf -R --format pst"] = [rclone, "lsf", "-R", "--format", "pst", str(tree)]
    if find := peer("find"):
        commands["find -printf"] = [find, str(tree), "-printf", "%p %s %T@\n"]
    if updatedb := peer("updatedb.plocate"):
        database = str(folder / "plocate.db")
        commands["updatedb (plocate)"] = [updatedb, "-l", "0", "-U", str(tree), "-o", database]
    return {name: partial(quiet, command) for name, command in commands.items()}


def _median(values: list[float]) -> float:
    return statistics.median(values)
