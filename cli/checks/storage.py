"""What lies on this machine's disk: folders, keys, configuration, watches, the view."""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Final

from cli.checks.finding import Finding, fail, ok, warn
from cli.text import number, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from events.machine.places import Places

_FREE_FAIL: Final = 100 * 1000**2
_FREE_WARN: Final = 1000**3
# Counting folders is for a figure only; beyond this long it says "more than".
_COUNT_S: Final = 2.0


def disk(places: Places) -> Iterator[Finding]:
    folder = places.state
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{size(free)} free for {places.state}"
    mend = f"free some space: du -xh {quote(str(folder))} | sort -h | tail"
    if free < _FREE_FAIL:
        yield fail("disk", text, mend)
    elif free < _FREE_WARN:
        yield warn("disk", text, mend)
    else:
        yield ok("disk", text)
    if not os.access(folder, os.W_OK | os.X_OK):
        yield fail(
            "state folder",
            f"{folder} cannot be written by this user",
            f"sudo chown -R $(id -un) {quote(str(folder))}, or choose another with --state",
        )


def permissions(places: Places) -> Iterator[Finding]:
    """Keys and the file of rights are for their owner's eyes only."""
    wrong = 0
    secret = [*sorted(places.keys.glob("*.nk")), places.nats / "users.conf", places.agent_toml]
    there = [path for path in secret if path.exists()]
    for path in there:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            wrong += 1
            yield fail(
                "permissions",
                f"{path} can be read by others (mode {mode:04o})",
                f"chmod 600 {quote(str(path))}",
            )
    if there and not wrong:
        yield ok("permissions", f"{len(there)} private files are private")


def configuration(places: Places) -> Iterator[Finding]:
    from agent import config
    from events import paths
    from events.errors import Misconfigured

    if not places.agent_toml.exists():
        yield ok("agent.toml", "none yet; `mosaicfs up` writes it")
        return
    try:
        settings = config.load(places.agent_toml)
    except Misconfigured as wrong:
        yield fail("agent.toml", str(wrong), f"edit {places.agent_toml}")
        return
    missing = [each for each in settings.watch_paths if not os.path.isdir(paths.to_os(each))]
    for each in missing:
        yield warn(
            "agent.toml",
            f"the watched folder {each} is not there",
            f"mount or make it, or take it out of {places.agent_toml}",
        )
    if not missing:
        yield ok("agent.toml", f"watches {', '.join(settings.watch_paths) or 'nothing'}")
    yield from _watches([paths.to_os(each) for each in settings.watch_paths])


def _watches(folders: list[str]) -> Iterator[Finding]:
    limit = _number("/proc/sys/fs/inotify/max_user_watches")
    if limit is None:
        return
    count, whole = count_folders(folders, _COUNT_S)
    shown = f"{'' if whole else 'more than '}{number(count)} folders, {number(limit)} watches"
    if count < limit * 0.9:
        yield ok("inotify", shown)
        return
    wanted = max(524_288, 2 * count)
    yield warn(
        "inotify",
        f"{shown}: what cannot be watched is seen by the regular crawl only",
        f"echo fs.inotify.max_user_watches={wanted} | sudo tee /etc/sysctl.d/90-mosaicfs.conf"
        " && sudo sysctl --system",
    )


def count_folders(roots: list[str], limit_s: float) -> tuple[int, bool]:
    """How many folders there are below the roots, and whether all were counted in time."""
    deadline = time.monotonic() + limit_s
    waiting = list(roots)
    count = 0
    while waiting:
        if time.monotonic() > deadline:
            return count, False
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            # Gone or unreadable: it needs no watch.
            continue
        count += 1
    return count, True


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def view(places: Places) -> Iterator[Finding]:
    """SQLite's own check of the document view, and what could not be folded into it."""
    from events.errors import MosaicError
    from events.machine.database import errors, open_reader
    from projectors.documents.reader import Reader

    path = places.documents_db
    if not path.exists():
        yield ok("view", "none yet; `mosaicfs up` makes it")
        return
    mend = "mosaicfs views rebuild"
    try:
        with errors(path):
            connection = open_reader(path)
            try:
                said = str(connection.execute("PRAGMA quick_check(1)").get)
            finally:
                connection.close()
        if said != "ok":
            yield fail("view", f"{path} is damaged: {said}", mend)
            return
        with Reader(path) as reader:
            counts = reader.counts()
    except MosaicError as wrong:
        yield fail("view", str(wrong), mend)
        return
    yield ok("view", f"{number(counts['files'])} files, the database is whole")
    if counts["dead_letters"]:
        yield warn(
            "dead letters",
            f"{number(counts['dead_letters'])} events could not be understood",
            "mosaicfs views status lists them; often an upgrade and `mosaicfs views rebuild` help",
        )
