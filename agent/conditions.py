"""What indexing means for people: which conditions hold, as notices and as health.

Blocking; called from threads.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from events.errors import Temporary
from events.machine.database import DiskFull

if TYPE_CHECKING:
    from pathlib import Path

    from agent.crawl import Progress
    from agent.health import Health
    from agent.notices import Notices
    from agent.watch import Watch

_logger = logging.getLogger(__name__)

_FIRST: Final = "first_crawl_complete"
_INACCESSIBLE: Final = "watch_path_inaccessible:"
_DISK_FULL: Final = "disk_full_outbox"
_LIMIT: Final = "inotify_limit_approaching"


class Conditions:
    """Told by the indexer how it went."""

    def __init__(self, notices: Notices, health: Health, database: Path) -> None:
        self._notices = notices
        self._health = health
        self._database = database
        self._troubled = False
        self._disk_was_full = False

    def crawled(self, done: Progress, watch: Watch) -> None:
        """A crawl came to its end."""
        self.working()
        self._notices.tell_once(
            _FIRST,
            "The first crawl is complete",
            f"{done.seen} files in {done.folders} folders are indexed.",
        )
        self._inaccessible(done)
        self._watching(watch)

    def _inaccessible(self, done: Progress) -> None:
        for path in done.inaccessible:
            self._notices.hold(
                _INACCESSIBLE + path,
                "error",
                f"Cannot reach {path}",
                f"{path} is missing, not mounted, or closed to this user. Its files are kept as "
                "they were. If it is gone for good, take it out of watch_paths or add it to "
                "excluded_paths.",
                {"path": path},
            )
        self._notices.keep_only(_INACCESSIBLE, {_INACCESSIBLE + path for path in done.inaccessible})
        self._health.tell(
            "crawler",
            "degraded" if done.inaccessible else "ok",
            f"cannot reach {', '.join(done.inaccessible)}" if done.inaccessible else "",
        )

    def _watching(self, watch: Watch) -> None:
        if watch.near_limit:
            self._notices.hold(
                _LIMIT,
                "warning",
                "Live watching is at its limit",
                watch.trouble
                or f"{watch.folders} folders are watched; the kernel allows little more: "
                "raise fs.inotify.max_user_watches",
            )
        else:
            self._notices.end(_LIMIT)
        self._health.tell("watcher", "degraded" if watch.trouble else "ok", watch.trouble)

    def in_trouble(self, wrong: Temporary) -> None:
        """A job could not be done, and will be tried again."""
        _logger.error("indexing waits: %s", wrong, extra={"operation": "index"})
        self._troubled = True
        self._health.tell("outbox", "degraded", str(wrong))
        self._health.failed("index", str(wrong))
        if isinstance(wrong, DiskFull):
            self._disk_was_full = True
            try:
                self._raise_disk_full()
            except Temporary:
                # No room for the notice either: it is told when there is some.
                _logger.debug("no room for a notice")

    def working(self) -> None:
        """A job was done."""
        if self._disk_was_full:
            self._raise_disk_full()
            self._disk_was_full = False
        if self._troubled:
            self._health.tell("outbox", "ok")
            self._troubled = False
        self._notices.end(_DISK_FULL)

    def _raise_disk_full(self) -> None:
        self._notices.hold(
            _DISK_FULL,
            "error",
            "The disk of the agent's state is full",
            f"New findings wait until there is room for {self._database}.",
        )
