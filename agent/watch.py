"""Live changes: from the kernel's news to batches of paths that are worth a look."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from agent import inotify
from agent.debounce import Debounce, Storm
from agent.inotify import Inotify
from agent.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

_logger = logging.getLogger(__name__)

# With so many paths waiting, a crawl is quicker than looking at each.
_MANY: Final = 20_000
# The part of the kernel's watches from which on a person is warned.
_NEAR: Final = 0.8


class Watch:
    """Collects changes. All but `folder` belongs to the event loop.

    `changed` is called when there is something to do: `due` has paths, or `crawl_wanted` is set.
    """

    def __init__(self, debounce_ms: int, changed: Callable[[], None]) -> None:
        self._debounce = Debounce(debounce_ms / 1000)
        self._storm = Storm()
        self._changed = changed
        self._inotify: Inotify | None = None
        self._scope = Scope(())
        self._stormy = False
        # Why a crawl must find out what the news does not tell; empty when it tells all.
        self.crawl_wanted = ""
        self.trouble = ""

    def open(self, scope: Scope) -> None:
        """Be ready for a crawl to name the folders, and for another try if the kernel refused."""
        self._scope = scope
        if self._inotify is None:
            try:
                self._inotify = Inotify()
            except OSError as wrong:
                self.trouble = f"the kernel has no inotify instance left ({wrong.strerror})"
                return
            asyncio.get_running_loop().add_reader(self._inotify.fd, self._read)
        self._inotify.unwatched = 0

    def close(self) -> None:
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fd)
            self._inotify.close()
            self._inotify = None

    def folder(self, path: str) -> None:
        """Watch a folder; from the crawl's thread, before it reads the folder."""
        if self._inotify is not None:
            self._inotify.add(path, follow=path in self._scope.roots)

    def crawled(self) -> None:
        """A crawl has named all folders: judge whether live news are complete."""
        if self._inotify is not None:
            missing = self._inotify.unwatched
            self.trouble = (
                f"{missing} folders are not watched: raise fs.inotify.max_user_watches "
                "(sysctl -w fs.inotify.max_user_watches=1048576)"
                if missing
                else ""
            )

    @property
    def near_limit(self) -> bool:
        """Whether most of the kernel's watches are taken, or all."""
        if self.trouble:
            return True
        limit = inotify.limit()
        return limit is not None and self.folders > _NEAR * limit

    @property
    def folders(self) -> int:
        """How many folders are watched."""
        return len(self._inotify) if self._inotify is not None else 0

    def _read(self) -> None:
        assert self._inotify is not None
        news = self._inotify.read()
        now = time.monotonic()
        self._storm.note(news.events, now)
        if news.lost:
            self.crawl_wanted = "the kernel dropped events"
        if self._storm.raging:
            self._in_storm()
            return
        for path in news.changed:
            if self._scope.covers(path):
                self._debounce.note(path, now)
        if len(self._debounce) > _MANY:
            self._debounce.clear()
            self.crawl_wanted = "many changes at once"
        if news.changed or news.lost:
            self._changed()

    def _in_storm(self) -> None:
        if not self._stormy:
            _logger.info("a storm of events: waiting for calm, then crawling")
        self._stormy = True
        self._debounce.clear()

    def tick(self) -> None:
        """Call about every second."""
        self._storm.note(0, time.monotonic())
        if self._stormy and not self._storm.raging:
            self._stormy = False
            self.crawl_wanted = "the storm is over"
            self._changed()

    @property
    def stormy(self) -> bool:
        return self._stormy

    def due(self) -> list[str]:
        """The paths to look at now."""
        return self._debounce.due(time.monotonic())

    def wait_s(self) -> float | None:
        """Seconds until `due` has something; None while nothing waits."""
        if not len(self._debounce):
            return None
        return max(0.0, self._debounce.next_due() - time.monotonic())
