"""How a process is asked to stop."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from events.machine.process import resident_bytes, until_stopped

pytestmark = pytest.mark.anyio


class Work:
    """Something that runs until it is told to stop, and then has last words."""

    def __init__(self, last_words: asyncio.Event | None = None) -> None:
        self.started = asyncio.Event()
        self.stopping = asyncio.Event()
        self.said: list[str] = []
        self._last_words = last_words

    async def run(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopping.set()
            if self._last_words is not None:
                await self._last_words.wait()
            self.said.append("good-bye")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_stops_the_work_and_its_last_words_are_heard(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    work = Work()
    running = asyncio.create_task(until_stopped(work.run()))
    await work.started.wait()
    os.kill(os.getpid(), number)
    await asyncio.wait_for(running, 5)
    assert work.said == ["good-bye"]
    assert signal.getsignal(number) == before


async def test_a_second_signal_does_not_cut_short_the_last_words() -> None:
    """Ctrl-C reaches every process of the terminal; then the supervisor stops them too."""
    allowed = asyncio.Event()
    work = Work(allowed)
    running = asyncio.create_task(until_stopped(work.run()))
    await work.started.wait()
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.wait_for(work.stopping.wait(), 5)
    os.kill(os.getpid(), signal.SIGTERM)
    # The signal is taken by the loop before anything that is asked of it later.
    for _ in range(3):
        await asyncio.sleep(0)
    assert not running.done()
    allowed.set()
    await asyncio.wait_for(running, 5)
    assert work.said == ["good-bye"]


async def test_work_that_ends_by_itself() -> None:
    async def work() -> None:
        pass

    await asyncio.wait_for(until_stopped(work()), 5)


async def test_work_that_fails_is_told() -> None:
    async def work() -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await until_stopped(work())


async def test_last_words_that_fail_are_told() -> None:
    started = asyncio.Event()

    async def work() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("broken")

    running = asyncio.create_task(until_stopped(work()))
    await started.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(RuntimeError, match="broken"):
        await asyncio.wait_for(running, 5)


async def test_whoever_cancels_it_learns_that_it_was_cancelled() -> None:
    work = Work()
    running = asyncio.create_task(until_stopped(work.run()))
    await work.started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert work.said == ["good-bye"]


def test_resident_memory_is_plausible() -> None:
    assert 5_000_000 < resident_bytes() < 5_000_000_000
