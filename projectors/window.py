"""Which messages of a writer were seen already on a stream, in constant space.

An outbox numbers its messages and never has more than a few hundred of them unconfirmed. The
highest number and a bitmap of the thousand below it therefore recognise every retry, however late
it comes, where the server's own memory of message ids ends after minutes. A window is of one
stream: an outbox numbers across streams, and each stream is read at its own pace. Pure.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

WIDTH: Final = 1024

_ID: Final = re.compile(r"([0-9a-f]{12})-([1-9][0-9]{0,17})")


class Window(NamedTuple):
    """`seen` is an integer whose bit i says that `high - i` was seen."""

    high: int
    seen: int

    def has(self, number: int) -> bool:
        """Whether the number was seen; what is below the window counts as seen."""
        if number > self.high:
            return False
        behind = self.high - number
        return behind >= WIDTH or bool(self.seen >> behind & 1)

    def with_(self, number: int) -> Window:
        """The window after the number was seen."""
        if number > self.high:
            seen = (self.seen << min(number - self.high, WIDTH) | 1) & (1 << WIDTH) - 1
            return Window(number, seen)
        return Window(self.high, self.seen | 1 << (self.high - number))


EMPTY: Final = Window(0, 0)


def parse(message_id: str) -> tuple[str, int] | None:
    """Writer and number of an outbox's message id; None for ids of another kind."""
    match = _ID.fullmatch(message_id)
    return (match[1], int(match[2])) if match else None
