"""Work that has to be over before its starter goes on, even one that is cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

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
        await ended(running)
        raise


async def ended(task: asyncio.Future[Any]) -> None:
    """Wait for the end of a task whose outcome does not matter any more.

    To be cancelled once more changes nothing: the task still decides when it ends.
    """
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            continue
    if not task.cancelled():
        # Looked at, so that asyncio does not report an error that nobody waits for.
        task.exception()
