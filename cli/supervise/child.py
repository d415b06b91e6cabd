"""One supervised process: started, watched, started again with back-off, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from cli.supervise.leftovers import memory
from events.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from cli.supervise.leftovers import Record

State = Literal["waiting", "starting", "running", "not answering", "failed", "stopping", "stopped"]

SHIM: Final = Path(__file__).with_name("shim.py")
# How often a process is asked how it is: often while somebody waits for it, then rarely.
_STARTING_S: Final = 0.1
_RUNNING_S: Final = 1.0
# After so long without an answer a person is told, and after so long the process is replaced. The
# second is generous: a process that checks a big file is slow, one that hangs does so for ever.
_SILENT_S: Final = 10.0
_HUNG_S: Final = 120.0
# Healthy for so long, a process has earned quick restarts again.
_EARNED_S: Final = 30.0
_ERR_LIMIT: Final = 1024 * 1024


class Spec(NamedTuple):
    """What a process is: how it is started, how it is asked, how long it may take to stop.

    `environment` is called before each start. `ask` returns what the process says of itself, or
    None when it does not answer.
    """

    name: str
    command: list[str]
    environment: Callable[[], Mapping[str, str]]
    ask: Callable[[], Awaitable[dict[str, Any] | None]]
    grace_s: float


class Change(NamedTuple):
    """A process went into another state; `detail` says why, for a person."""

    process: str
    state: State
    pid: int | None
    detail: str = ""


class Child:
    """Keeps one process running from `keep` until `stop`."""

    def __init__(
        self, spec: Spec, logs: Path, record: Record, tell: Callable[[Change], None]
    ) -> None:
        self.spec = spec
        self.state: State = "waiting"
        self.detail = ""
        self.restarts = 0
        # Set while the process answers; whoever comes after it in the order waits for this.
        self.healthy = asyncio.Event()
        # The last one; a process that is away has done what it has done.
        self.answer: dict[str, Any] = {}
        self._err = logs / f"{spec.name}.err"
        self._record = record
        self._tell = tell
        self._process: asyncio.subprocess.Process | None = None
        self._since = 0.0
        self._said_before = 0
        self._reason = ""
        self._stopping = asyncio.Event()
        self._gone = asyncio.Event()
        self._gone.set()
        self._backoff = Backoff(first=0.5, cap=30.0)

    @property
    def pid(self) -> int | None:
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    @property
    def uptime(self) -> float | None:
        return time.monotonic() - self._since if self.pid is not None else None

    @property
    def memory(self) -> int | None:
        return memory(self.pid) if self.pid is not None else None

    async def keep(self) -> None:
        """Run the process, and run it again whenever it ends, until `stop` is called."""
        self._gone.clear()
        try:
            while not self._stopping.is_set():
                await self._once()
                if not self._stopping.is_set():
                    await self._pause()
        finally:
            self.signal(signal.SIGKILL)
            self._gone.set()

    async def stop(self) -> None:
        """End the process: politely, then by force. Returns when it is gone."""
        self._stopping.set()
        await self._gone.wait()
        self._become("stopped", self.detail if self.state == "stopping" else "")

    async def _once(self) -> None:
        """One life of the process."""
        try:
            await self._start()
        except OSError as wrong:
            # No memory, no disk, the program is gone: all of it may pass.
            self._process = None
            self._reason = f"cannot be started: {wrong}"
            return
        await self._watch()
        # What it may have started has lost its leader.
        self.signal(signal.SIGKILL)
        self._record.remove(self.spec.name)
        self._reason = self._last_words() or self._ending()

    async def _pause(self) -> None:
        delay = self._backoff.next()
        self._become("failed", f"{self._reason}; again in {delay:.1f} s")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._stopping.wait()
        self.restarts += 1

    async def _end(self, ended: asyncio.Future[int]) -> None:
        self._become("stopping")
        self.signal(signal.SIGTERM)
        await asyncio.wait([ended], timeout=self.spec.grace_s)
        if not ended.done():
            self._become("stopping", f"killed: did not stop within {self.spec.grace_s:.0f} s")
            self.signal(signal.SIGKILL)
            await ended

    def signal(self, sign: signal.Signals) -> None:
        """Send a signal to the process and all that it started."""
        if self._process is not None:
            # Nobody is left in the group: that is what was wanted.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, sign)

    async def _start(self) -> None:
        self._become("starting")
        with self._err.open("ab") as err:
            # Not rotated while somebody writes; a loop of crashes must not fill the disk either.
            if err.tell() > _ERR_LIMIT:
                err.truncate(0)
            self._said_before = err.tell()
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(SHIM), str(os.getpid())),
                *self.spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=err,
                env={**os.environ, **self.spec.environment()},
                # Its own session: a Ctrl-C is for `up`, which stops the others in order.
                start_new_session=True,
            )
        self._since = time.monotonic()
        self._record.add(self.spec.name, self._process.pid)

    async def _watch(self) -> None:
        """Ask how the process is until it ends or is to stop."""
        assert self._process is not None
        ended = asyncio.ensure_future(self._process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        answered = self._since
        try:
            while not ended.done():
                if stopping.done():
                    await self._end(ended)
                    return
                answer = await self.spec.ask()
                now = time.monotonic()
                if answer is not None:
                    answered = now
                    self._answers(answer)
                elif now - answered > _HUNG_S:
                    self.signal(signal.SIGKILL)
                elif now - answered > _SILENT_S and self.state != "not answering":
                    self.healthy.clear()
                    self._become("not answering")
                pause = _RUNNING_S if self.state == "running" else _STARTING_S
                await asyncio.wait(
                    [ended, stopping], timeout=pause, return_when=asyncio.FIRST_COMPLETED
                )
        finally:
            ended.cancel()
            stopping.cancel()
            self.healthy.clear()

    def _answers(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        if self.state in ("starting", "not answering"):
            self._become("running")
            self.healthy.set()
        if (self.uptime or 0) > _EARNED_S:
            self._backoff.reset()

    def _become(self, state: State, detail: str = "") -> None:
        if state != self.state or detail != self.detail:
            self.state, self.detail = state, detail
            self._tell(Change(self.spec.name, state, self.pid, detail))

    def _ending(self) -> str:
        code = self._process.returncode if self._process else None
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"ended with code {code}"

    def _last_words(self) -> str:
        """The last line that this run wrote to stderr, which says why it ended."""
        with contextlib.suppress(OSError), self._err.open("rb") as err:
            err.seek(self._said_before)
            lines = err.read(_ERR_LIMIT).decode(errors="replace").strip().splitlines()
            return lines[-1].strip().removeprefix("mosaicfs: ") if lines else ""
        return ""
