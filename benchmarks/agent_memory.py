"""The agent on half a million real files: its memory while it crawls and while it watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.result import Result
from benchmarks.stand import Stand, wait_until
from benchmarks.trees import make_tree

if TYPE_CHECKING:
    from pathlib import Path


def run(folder: Path, files: int = 500_000) -> list[Result]:
    """Crawl, watch, crawl again; peak and rest."""
    tree = folder / "tree"
    make_tree(tree, files)
    with Stand(folder / "state") as stand:
        stand.start_server()
        stand.start_projector()
        stand.start_agent(tree)
        stand.wait_for_files(files, 600)
        wait_until(lambda: stand.status("agent").get("state") == "watching", 120, "the watcher")
        return [
            Result(
                "agent, memory at its peak",
                stand.peak_mib("agent"),
                "MiB",
                150,
                note=f"{files:,} files crawled",
            ),
            Result("agent, memory at rest", stand.rss_mib("agent"), "MiB", 150),
            Result(
                "projector beside it, memory at its peak", stand.peak_mib("projector"), "MiB", 250
            ),
        ]
