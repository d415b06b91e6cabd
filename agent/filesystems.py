"""The filesystems under the watch paths: where they are mounted, what they are, how full."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from agent.scope import within
from events import paths
from events.vocabulary.nodes import Filesystem

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
# Filesystems that number their inodes anew at every mount, or whenever the kernel forgets them.
_UNSTABLE: Final = frozenset({"vfat", "msdos", "exfat", "fuse.sshfs", "fuse.rclone"})
_OURS: Final = "fuse.mosaicfs"

WARN: Final = 0.90
ALARM: Final = 0.95
# A warning ends only when this much more is free, so that it does not come and go.
_SLACK: Final = 0.02


class Mount(NamedTuple):
    """One line of mountinfo. `point` is path text."""

    point: str
    dev: int
    kind: str
    source: str


def mounts(text: str | None = None) -> list[Mount]:
    """What is mounted; where several are mounted at one point, the one on top comes last."""
    if text is None:
        text = os.fsdecode(_MOUNTINFO.read_bytes())
    found = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, tail = left.split(" "), right.split(" ")
        if len(fields) < 6 or len(tail) < 2:
            continue
        major, _, minor = fields[2].partition(":")
        found.append(
            Mount(
                paths.to_text(_plain(fields[4])),
                os.makedev(int(major), int(minor)),
                tail[0],
                paths.to_text(_plain(tail[1])),
            )
        )
    return found


def _plain(field: str) -> str:
    # The kernel writes blank, tab, newline and backslash as octal.
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)


def own_mounts(mounted: Iterable[Mount]) -> list[str]:
    """Where MosaicFS itself is mounted: indexing that would index every file again."""
    return [each.point for each in mounted if each.kind == _OURS]


def unstable(mounted: Iterable[Mount]) -> frozenset[int]:
    """The devices whose inode numbers must not be trusted."""
    return frozenset(each.dev for each in mounted if each.kind in _UNSTABLE)


def below(mounted: Iterable[Mount], watch_paths: Iterable[str]) -> frozenset[Mount]:
    """What is mounted at or below the watch paths."""
    roots = list(watch_paths)
    return frozenset(each for each in mounted if any(within(each.point, root) for root in roots))


def measure(mounted: Iterable[Mount], watch_paths: Iterable[str]) -> list[Filesystem]:
    """The filesystems that the watch paths lie on, with their sizes, by mount point."""
    on: dict[str, tuple[Mount, list[str]]] = {}
    table = list(mounted)
    for path in watch_paths:
        best: Mount | None = None
        for each in table:
            if within(path, each.point) and (best is None or len(each.point) >= len(best.point)):
                best = each
        if best is not None:
            on.setdefault(best.point, (best, []))[1].append(path)
    found = []
    for point, (mount, roots) in sorted(on.items()):
        try:
            status = os.statvfs(paths.to_os(point))
        except OSError:
            # A network disk that is away; the watch path's own notice tells it.
            continue
        found.append(
            Filesystem(
                mount=point,
                device=mount.source,
                kind=mount.kind,
                capacity=status.f_blocks * status.f_frsize,
                available=status.f_bavail * status.f_frsize,
                watch_paths=roots,
            )
        )
    return found


def fullness(filesystem: Filesystem) -> float:
    """The used part, from 0 to 1, as a person without root's reserve has it."""
    return 1 - filesystem.available / filesystem.capacity if filesystem.capacity else 0.0


def level(used: float, before: int) -> int:
    """0: room, 1: 90 % used, 2: 95 % used. Falls only with some room to spare."""
    risen = (used >= WARN) + (used >= ALARM)
    kept = (used >= WARN - _SLACK) + (used >= ALARM - _SLACK)
    return max(risen, min(before, kept))
