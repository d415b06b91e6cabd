"""Keeps an eye on how full the filesystems under the watch paths are."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from agent import filesystems
from events.errors import Temporary

if TYPE_CHECKING:
    from agent.health import Health
    from agent.notices import Notices
    from events.vocabulary.nodes import Filesystem

_logger = logging.getLogger(__name__)

_EVERY_S: Final = 60.0
_NEAR: Final = "storage_near_capacity:"


class Storage:
    """The latest measurement, and the notices that follow from it."""

    def __init__(self, watch_paths: tuple[str, ...], notices: Notices, health: Health) -> None:
        self._watch_paths = watch_paths
        self._notices = notices
        self._health = health
        self._levels: dict[str, int] = {}
        self.latest: list[Filesystem] = []

    def measure(self) -> None:
        """Take a measurement now."""
        self.latest = filesystems.measure(filesystems.mounts(), self._watch_paths)

    def current(self) -> list[Filesystem]:
        """The latest measurement; takes the first one. From a thread."""
        if not self.latest:
            self.measure()
        return self.latest

    async def run(self) -> None:
        """Measure every minute; ends by cancellation."""
        while True:
            try:
                await asyncio.to_thread(self.measure)
                await asyncio.to_thread(self._tell)
            except Temporary as wrong:
                # The outbox cannot take the notice now; the next minute tries again.
                _logger.warning("storage is not told: %s", wrong)
            await asyncio.sleep(_EVERY_S)

    def _tell(self) -> None:
        full: set[str] = set()
        for each in self.latest:
            used = filesystems.fullness(each)
            level = filesystems.level(used, self._levels.get(each.mount, 0))
            self._levels[each.mount] = level
            if not level:
                continue
            full.add(_NEAR + each.mount)
            self._notices.hold(
                _NEAR + each.mount,
                "error" if level > 1 else "warning",
                f"{each.mount} is nearly full",
                f"{each.mount} ({each.device}) is {used:.0%} full.",
                {"mount": each.mount},
            )
        self._notices.keep_only(_NEAR, full)
        detail = ", ".join(key.removeprefix(_NEAR) for key in sorted(full))
        self._health.tell(
            "storage", "degraded" if full else "ok", f"nearly full: {detail}" if full else ""
        )
