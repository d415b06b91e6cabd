"""What the agent's tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.test_agent.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """An empty indexed folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    disk = Disk(folder)
    yield disk
    disk.state.close()
