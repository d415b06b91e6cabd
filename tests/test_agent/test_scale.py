"""Half a million files, a million in one folder: time and memory stay within bounds."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

# Crawls a folder twice, then tells what the second crawl found and the most memory it ever had.
PROGRAM: Final = """
import resource, sys
from pathlib import Path
from agent.crawl import Job, crawl
from agent.scope import Scope
from agent.state import State
from events.ids import NodeId
state = State(Path(sys.argv[1]))
for _ in range(2):
    done = crawl(Job(state, NodeId("n-1"), Scope([sys.argv[2]])))
print(done.seen, done.counts.total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.parametrize(("folders", "each"), [(5000, 100), (1, 1_000_000)])
def test_memory(tmp_path: Path, folders: int, each: int) -> None:
    tree = tmp_path / "tree"
    for number in range(folders):
        folder = tree / f"{number // 100}" / f"{number}"
        folder.mkdir(parents=True)
        handle = os.open(folder, os.O_RDONLY)
        for name in range(each):
            os.close(os.open(f"report_{name:07d}.pdf", os.O_CREAT | os.O_WRONLY, dir_fd=handle))
        os.close(handle)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "agent.db", tree],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    seen, changed, mebibytes = map(int, done.stdout.split())
    assert (seen, changed) == (folders * each, 0)
    assert mebibytes < 150
