"""What a process knows of itself, and how it is asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Coroutine


_STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def resident_bytes() -> int:
    """The memory that this process occupies now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Run until it ends or SIGTERM, SIGINT or SIGHUP asks to stop; then cancel it and wait.

    Only the first signal counts: Ctrl-C reaches every process of a terminal, and the supervisor
    then sends its own, which must not cut short the work's last words.
    """
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    asked = False

    def stop() -> None:
        nonlocal asked
        if not asked:
            asked = True
            task.cancel()

    for number in _STOPPING:
        loop.add_signal_handler(number, stop)
    try:
        await asyncio.wait((task,))
    finally:
        # Still running only when this function is cancelled itself.
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
        for number in _STOPPING:
            loop.remove_signal_handler(number)
    with contextlib.suppress(asyncio.CancelledError):
        task.result()
