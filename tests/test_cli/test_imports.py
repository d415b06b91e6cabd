"""What a quick question imports: its speed on a slow machine."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.test_cli.harness import environment

if TYPE_CHECKING:
    from pathlib import Path

# Measured in import time of this project's slowest dependencies; none belongs in a quick answer.
HEAVY = {"nats", "asyncio", "rich", "nkeys", "zstandard", "anyio", "watchfiles", "agent"}


def imported(tmp_path: Path, *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-P", "-m", "cli", *arguments],
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        check=False,
    )
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "cli.main" in names
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["files", "--help"], ["stauts"]])
def test_help_imports_next_to_nothing(tmp_path: Path, arguments: list[str]) -> None:
    assert not imported(tmp_path, *arguments) & (HEAVY | {"apsw", "msgspec", "projectors"})


def test_a_search_imports_the_reader_only(tmp_path: Path) -> None:
    assert not imported(tmp_path, "files", "search", "x", "--state", str(tmp_path)) & HEAVY
