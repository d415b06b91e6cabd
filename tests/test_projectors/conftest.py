"""What the projector's tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from events.machine import places

if TYPE_CHECKING:
    from pathlib import Path

    from events.machine.places import Places


@pytest.fixture
def machine(tmp_path: Path) -> Places:
    """The folders of one machine."""
    found = places.find(tmp_path / "machine")
    found.make()
    return found
