"""When to act on changes. Pure: the time is an argument, in seconds of a steady clock."""

from __future__ import annotations

from typing import Final

# A file that never comes to rest is told this often.
MAX_WAIT_S: Final = 5.0
# What comes to rest this soon after the first is taken along, so that both halves of a move are in
# one batch.
SLACK_S: Final = 0.05

STORM_EVENTS: Final = 1000
STORM_SECONDS: Final = 5


class Debounce:
    """Holds changed paths until each has been at rest for a while."""

    def __init__(self, rest_s: float) -> None:
        self._rest = rest_s
        # path -> (first change, last change), in the order of the last change.
        self._waiting: dict[str, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, path: str, now: float) -> None:
        first, _ = self._waiting.pop(path, (now, now))
        self._waiting[path] = (first, now)

    def due(self, now: float) -> list[str]:
        """The paths to act on now; empty before `next_due`."""
        if not self._waiting or now < self.next_due():
            return []
        taken = [
            path
            for path, (first, last) in self._waiting.items()
            if last <= now - self._rest + SLACK_S or first <= now - MAX_WAIT_S + SLACK_S
        ]
        for path in taken:
            del self._waiting[path]
        return taken

    def next_due(self) -> float:
        """When `due` has something; only while something waits."""
        # The order is that of the last change, so the first entry is the one longest at rest; the
        # oldest first change can be anywhere.
        _, longest_at_rest = next(iter(self._waiting.values()))
        oldest = min(first for first, _ in self._waiting.values())
        return min(longest_at_rest + self._rest, oldest + MAX_WAIT_S)

    def clear(self) -> None:
        self._waiting.clear()


class Storm:
    """Tells a storm: more than 1,000 events in each of 5 seconds on end. A calm second ends it."""

    def __init__(self, events: int = STORM_EVENTS, seconds: int = STORM_SECONDS) -> None:
        self._limit = events
        self._seconds = seconds
        self._second = 0
        self._count = 0
        self._busy = 0
        self.raging = False

    def note(self, events: int, now: float) -> None:
        """Count events; call with 0 as time goes by."""
        second = int(now)
        if second != self._second:
            # A second without any note was a calm one.
            busy = self._count > self._limit and second == self._second + 1
            self._busy = self._busy + 1 if busy else 0
            self.raging = self._busy >= self._seconds or (self.raging and busy)
            self._second, self._count = second, 0
        self._count += events
