"""Where the builds of a view lie, and which of them readers open.

`documents.db` is a link to `documents-<build>.db`. A rebuilt view is made beside the present one
and takes its place by one rename of the link: readers that have the old file open go on reading it,
and no reader can meet a new database with an old write-ahead log.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
from typing import TYPE_CHECKING

from events.errors import Permanent
from projectors.documents.view import discard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_logger = logging.getLogger(__name__)


class ViewTaken(Permanent):
    """Another process writes this view."""


class Shelf:
    """The files of one view."""

    def __init__(self, link: Path) -> None:
        self.link = link

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The right to write here, which one process at a time has; the kernel takes it back."""
        handle = os.open(
            self.link.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ViewTaken(f"another projector keeps the view {self.link}") from None
            self._clear()
            yield
        finally:
            os.close(handle)

    def _clear(self) -> None:
        """Remove what a killed process left, before anything of ours is there."""
        self.tidy()
        for path in self.link.parent.glob(f"{self.link.stem}*.tmp*"):
            path.unlink(missing_ok=True)

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
        """Remove every build but the current one."""
        current = self.current()
        for path in self.link.parent.glob(f"{self.link.stem}-*.db*"):
            if current is None or not path.name.startswith(current.name):
                path.unlink(missing_ok=True)

    def set_aside(self, build: Path) -> Path:
        """Keep a damaged build for whoever wants to look at it; only the last one is kept."""
        aside = self.link.with_name(f"{self.link.stem}.damaged")
        discard(aside)
        build.rename(aside)
        # Without its file a log is nothing, and under its old name it would wait for another.
        discard(build)
        _logger.error("the damaged view is kept as %s", aside)
        return aside
