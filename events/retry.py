"""Waiting between attempts, in one place: 1 s first, doubled, at most 60 s, a quarter of jitter."""

from __future__ import annotations

import random
from typing import Final

FIRST: Final = 1.0
FACTOR: Final = 2.0
CAP: Final = 60.0
JITTER: Final = 0.25


class Backoff:
    """The delays of one retried activity. `reset` after a success.

    Contexts differ only in `first` and `cap`; factor and jitter are the same everywhere, so that a
    crowd of agents that lost one server does not come back in step.
    """

    def __init__(
        self, first: float = FIRST, cap: float = CAP, draw: random.Random | None = None
    ) -> None:
        self._first = first
        self._cap = cap
        self._draw = draw or random.Random()
        self.failures = 0

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        plain = min(self._cap, self._first * FACTOR ** min(self.failures, 32))
        self.failures += 1
        return plain * self._draw.uniform(1 - JITTER, 1 + JITTER)

    def reset(self) -> None:
        self.failures = 0
