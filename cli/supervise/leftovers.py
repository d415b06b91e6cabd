"""Processes that outlived a killed `up`.

Where the kernel ends children with their parent there are none. Elsewhere, and when it could not,
the next `up` reads who was started and ends them: a second nats-server on the same store would
damage it. A pid alone may long be another program's, so its start time must agree too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE_S: Final = 5.0


def started(pid: int) -> str | None:
    """When a process was started, in the kernel's own count; None when it does not run."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything, so fields are counted behind the last one.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    # A zombie has ended; only its parent has not asked yet.
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


def memory(pid: int) -> int | None:
    """Resident bytes of a process, where the kernel tells."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None


class Record:
    """The file that says which processes `up` has started."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, tuple[int, str]] = {}

    def add(self, name: str, pid: int) -> None:
        """Remember a process that was just started."""
        self._known[name] = (pid, started(pid) or "")
        self._write()

    def remove(self, name: str) -> None:
        """Forget a process that has ended."""
        if self._known.pop(name, None) is not None:
            self._write()

    def _write(self) -> None:
        part = self._path.with_suffix(".part")
        # A full disk must not stop a supervisor, which has the kernel's own mechanism as well.
        with contextlib.suppress(OSError):
            part.write_bytes(msgspec.json.encode(self._known))
            part.rename(self._path)


def running(path: Path) -> dict[str, int]:
    """The processes of a record that still run, with their pids."""
    return {name: pid for name, (pid, start) in _read(path).items() if started(pid) == start}


def _read(path: Path) -> dict[str, tuple[int, str]]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, tuple[int, str]])
    except (OSError, msgspec.DecodeError):
        return {}


def end_all(path: Path) -> list[str]:
    """End the processes of an earlier record that still run; returns their names."""
    left = running(path)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for pid in running(path).values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
        deadline = time.monotonic() + _PATIENCE_S
        while running(path) and time.monotonic() < deadline:
            time.sleep(0.05)
    path.unlink(missing_ok=True)
    return sorted(left)
