"""One `up` for each state folder, by a kernel lock that dies with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

import click

from cli import exits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class AlreadyRunning(click.ClickException):
    """Another `up` holds the state folder."""

    exit_code = exits.ALREADY_RUNNING


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock; raises AlreadyRunning with the holder's pid.

    The file is never removed: a second process could lock the removed one while a third makes and
    locks another of the same name.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _pid(path)
            named = f" (pid {pid})" if pid else ""
            raise AlreadyRunning(
                f"MosaicFS is already running on {path.parent}{named}; "
                "`mosaicfs status` shows how it is, Ctrl-C in its terminal or "
                f"`kill {pid or 'PID'}` stops it"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def holder(path: Path) -> int | None:
    """The pid of the `up` that holds the lock, or None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # A shared lock, so that two who look at the same time do not see each other.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(path)
    finally:
        os.close(descriptor)
    return None


def _pid(path: Path) -> int | None:
    try:
        return int(path.read_text().strip())
    except (OSError, ValueError):
        return None
