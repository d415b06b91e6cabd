"""Drawing on a terminal that may be gone or stopped, without ever waiting for it.

A supervisor that hangs in a write to a terminal (Ctrl-S) supervises nothing, so whoever writes asks
first whether there is room.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from typing import TYPE_CHECKING, Final, Literal, Self

from rich.console import Console

if TYPE_CHECKING:
    from rich.console import RenderableType

_HIDE: Final = "\x1b[?25l"
_SHOW: Final = "\x1b[?25h"
_ERASE_LINE: Final = "\x1b[2K"
_UP: Final = "\x1b[1A"


def room(descriptor: int) -> Literal["yes", "full", "gone"]:
    """Whether a write would go through now."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    for _, found in poll.poll(0):
        if found & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
            return "gone"
        return "yes"
    return "full"


class Gone(Exception):
    """Nobody reads what is written any more."""


class Screen:
    """Redraws one block of lines in place. Use as a context manager: it gives the terminal back."""

    def __init__(self, *, colour: bool) -> None:
        self._descriptor = sys.stdout.fileno()
        self._colour = colour
        self._height = 0

    def __enter__(self) -> Self:
        self._write(_HIDE)
        return self

    def __exit__(self, *_: object) -> None:
        # The terminal may be the very thing that went away.
        with contextlib.suppress(Gone):
            self._write(_SHOW)

    def draw(self, block: RenderableType) -> None:
        """Put the block in place of the last one; skipped when there is no room to write."""
        width, height = self._size()
        console = Console(
            file=io.StringIO(),
            width=width,
            force_terminal=True,
            no_color=not self._colour,
            legacy_windows=False,
            highlight=False,
        )
        with console.capture() as captured:
            console.print(block)
        # A block taller than the screen would scroll, and could then not be drawn over.
        lines = captured.get().rstrip("\n").split("\n")[: max(height - 1, 1)]
        if self._write(self._back() + "\n".join(lines) + "\n"):
            self._height = len(lines)

    def _size(self) -> tuple[int, int]:
        try:
            width, height = os.get_terminal_size(self._descriptor)
        except OSError:
            width, height = 0, 0
        # A terminal that was never told its size says 0.
        return max(width or 80, 20), height or 25

    def clear(self) -> None:
        """Take the block away."""
        if self._write(self._back()):
            self._height = 0

    def _back(self) -> str:
        """To the block's first line, erasing; the present line may hold an echoed ^C."""
        return "\r" + _ERASE_LINE + (_UP + _ERASE_LINE) * self._height

    def _write(self, text: str) -> bool:
        state = room(self._descriptor)
        if state == "gone":
            raise Gone
        if state == "full":
            return False
        data = text.encode(errors="replace")
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as wrong:
            raise Gone from wrong
        return True
