"""When a crawl is due. Pure: both clocks are arguments."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Final

JUMP_S: Final = 120.0


def last_due(now: datetime, at: str) -> datetime:
    """The latest moment, not after `now`, at which the clock on the wall showed `at`."""
    due = datetime.combine(now.date(), time.fromisoformat(at), now.tzinfo)
    return due if due <= now else due - timedelta(days=1)


class Jumps:
    """Notices that the wall clock went another way than the steady one: it was set, or the machine
    slept. Either way events may have been missed or times may mislead."""

    def __init__(self, wall: float, steady: float) -> None:
        self._apart = wall - steady

    def jumped(self, wall: float, steady: float) -> bool:
        """Whether there was a jump since the last call."""
        before, self._apart = self._apart, wall - steady
        return abs(self._apart - before) > JUMP_S
