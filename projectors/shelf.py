"""Where the builds of a view lie, and which of them readers open.

`documents.db` is a link to `documents-<build>.db`. A rebuilt view is made beside the present one
and takes its place by one rename of the link: readers that have the old file open go on reading it,
and no reader can meet a new database with an old write-ahead log.
"""

from __future__ import annotations

import logging
import os
import secrets
from typing import TYPE_CHECKING

from projectors.documents.view import discard

if TYPE_CHECKING:
    from pathlib import Path

_logger = logging.getLogger(__name__)


class Shelf:
    """The files of one view."""

    def __init__(self, link: Path) -> None:
        self.link = link

    def current(self) -> Path | None:
        """The build that the link names, if it is there."""
        try:
            path = self.link.parent / os.readlink(self.link)
        except OSError:
            return None
        return path if path.exists() else None

    def fresh(self) -> Path:
        """A path for a new build."""
        return self.link.with_name(f"{self.link.stem}-{secrets.token_hex(4)}.db")

    def put_forward(self, build: Path) -> None:
        """Make a build the current one and remove what lies about besides."""
        making = self.link.with_name(f"{self.link.name}.link")
        making.unlink(missing_ok=True)
        making.symlink_to(build.name)
        making.rename(self.link)
        self.tidy()

    def tidy(self) -> None:
        """Remove what is neither current nor set aside; for the only process that writes here."""
        current = self.current()
        for path in self.link.parent.glob(f"{self.link.stem}-*.db"):
            if path != current:
                discard(path)
        for path in self.link.parent.glob("*.tmp*"):
            path.unlink(missing_ok=True)

    def set_aside(self, build: Path) -> Path:
        """Keep a damaged build for whoever wants to look at it; only the last one is kept."""
        aside = self.link.with_name(f"{self.link.stem}.damaged")
        discard(aside)
        discard_log = [build.with_name(build.name + suffix) for suffix in ("-wal", "-shm")]
        build.rename(aside)
        for path in discard_log:
            path.unlink(missing_ok=True)
        _logger.error("the damaged view is kept as %s", aside)
        return aside
