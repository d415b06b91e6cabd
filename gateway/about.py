"""Which program this is, and since when it runs."""

from __future__ import annotations

import importlib.metadata
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from events.clock import now

if TYPE_CHECKING:
    from events.moments import Moment


class About:
    """The identity of one running gateway."""

    def __init__(self) -> None:
        self.version = _version()
        self.started_at: Moment = now()
        self._began = time.monotonic()

    @property
    def uptime_s(self) -> float:
        return time.monotonic() - self._began


def _version() -> str:
    """The version of the tree that runs; an installed one has no pyproject.toml beside it."""
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    try:
        return str(tomllib.loads(project.read_text())["project"]["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return importlib.metadata.version("mosaicfs")
