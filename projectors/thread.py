"""Blocking work beside the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


async def to_the_end(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run in a thread, and return only when it has ended, even if cancelled meanwhile.

    A thread cannot be stopped. Whoever is cancelled goes on to close and remove what the thread
    uses, so it has to be over by then.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            try:
                await asyncio.wait((running,))
            except asyncio.CancelledError:
                # Asked a second time to stop; the thread still decides when.
                continue
        if not running.cancelled():
            # Looked at, so that asyncio does not report an error that nobody waits for any more.
            running.exception()
        raise
