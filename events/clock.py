"""The present moment. Apart from `events.moments`, because what is pure may not know it."""

from __future__ import annotations

import time

from events.moments import Moment, moment, unix_ms

__all__ = ["Moment", "moment", "now", "unix_ms"]


def now() -> Moment:
    """The present moment by this machine's clock."""
    return moment(time.time_ns() // 1_000_000)
