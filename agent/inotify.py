"""The kernel's own news of changes, one watch for each folder.

`watchfiles` was tried first and given up: it follows symbolic links (one link to `/` watches the
whole machine), and the first change to a name that is not UTF-8 ends it with an error. Here names
are bytes, links are not followed, and a folder is watched before it is read, so that no change
falls between.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from enum import IntFlag
from pathlib import Path
from typing import Final, NamedTuple

from events import paths


class Mask(IntFlag):
    """The bits of <sys/inotify.h> that are used here."""

    MODIFY = 0x2
    ATTRIB = 0x4
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    UNMOUNT = 0x2000
    OVERFLOW = 0x4000
    IGNORED = 0x8000
    ONLYDIR = 0x1000000
    DONT_FOLLOW = 0x2000000
    EXCL_UNLINK = 0x4000000
    ISDIR = 0x40000000


# Plain integers: an IntFlag operation per event costs more than the rest of the reading.
_WATCHED: Final = int(
    Mask.MODIFY
    | Mask.ATTRIB
    | Mask.CLOSE_WRITE
    | Mask.MOVED_FROM
    | Mask.MOVED_TO
    | Mask.CREATE
    | Mask.DELETE
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
    | Mask.EXCL_UNLINK
)
_DONT_FOLLOW: Final = int(Mask.DONT_FOLLOW)
_MOVED_FOLDER: Final = int(Mask.MOVED_FROM | Mask.ISDIR)
_IGNORED: Final = int(Mask.IGNORED)
_AGAIN: Final = int(Mask.OVERFLOW | Mask.UNMOUNT)
_LEFT: Final = int(Mask.DELETE_SELF | Mask.MOVE_SELF)
_EVENT: Final = struct.Struct("iIII")
_READ: Final = 256 * 1024
_LIMIT: Final = Path("/proc/sys/fs/inotify/max_user_watches")
_EXHAUSTED: Final = frozenset({errno.ENOSPC, errno.ENOMEM})

_libc: Final = ctypes.CDLL(None, use_errno=True)


class News(NamedTuple):
    """What one reading brought. `lost`: the kernel dropped events, a disk was unmounted, or a watch
    path itself went away."""

    events: int
    changed: list[str]
    lost: bool


class Inotify:
    """Watches folders. `add` may be called from any thread, `read` from one.

    Raises OSError when the kernel has no instance left.
    """

    def __init__(self) -> None:
        fd = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self.fd = fd
        self._lock = threading.Lock()
        self._paths: dict[int, str] = {}
        self._roots: set[int] = set()
        # Folders that could not be watched for want of watches.
        self.unwatched = 0

    def close(self) -> None:
        with self._lock:
            os.close(self.fd)
            self.fd = -1

    def __len__(self) -> int:
        return len(self._paths)

    def add(self, folder: str, *, follow: bool = False) -> None:
        """Watch a folder (path text). A folder that is watched already is only named anew.

        `follow` is for watch paths, which may be symbolic links.
        """
        mask = _WATCHED if follow else _WATCHED | _DONT_FOLLOW
        # The lock is held over both steps, so that `read` knows every watch it hears of.
        with self._lock:
            if self.fd < 0:
                return
            watch = int(_libc.inotify_add_watch(self.fd, paths.to_bytes(folder), mask))
            if watch >= 0:
                self._paths[watch] = folder
                if follow:
                    self._roots.add(watch)
            elif ctypes.get_errno() in _EXHAUSTED:
                self.unwatched += 1
            # Any other error: the folder is gone or closed to us, which the crawl will see too.

    def read(self) -> News:
        """All that has happened since the last call; does not wait."""
        changed: list[str] = []
        events, lost = 0, False
        while True:
            try:
                data = os.read(self.fd, _READ)
            except BlockingIOError:
                break
            with self._lock:
                at = 0
                while at < len(data):
                    watch, mask, _, length = _EVENT.unpack_from(data, at)
                    at += _EVENT.size + length
                    events += 1
                    if mask & _AGAIN or (mask & _LEFT and watch in self._roots):
                        lost = True
                    path = self._path(watch, mask, data[at - length : at])
                    # Changes of one file come in runs.
                    if path is not None and (not changed or changed[-1] != path):
                        changed.append(path)
            if len(data) < _READ // 2:
                break
        return News(events, changed, lost)

    def _path(self, watch: int, mask: int, raw: bytes) -> str | None:
        if mask & _IGNORED:
            self._paths.pop(watch, None)
            self._roots.discard(watch)
            return None
        folder = self._paths.get(watch)
        if folder is None:
            return None
        name = raw.rstrip(b"\0")
        if not name:
            # About the folder itself; the watch on its parent tells it too.
            return None
        path = paths.join(folder, paths.to_text(os.fsdecode(name)))
        if mask & _MOVED_FOLDER == _MOVED_FOLDER:
            self._forget_below(path)
        return path

    def _forget_below(self, folder: str) -> None:
        """A folder moved away, perhaps to where nobody watches. If it is still in sight, the crawl
        of its new place watches it again before reading it."""
        below = folder + "/"
        for watch, path in list(self._paths.items()):
            if path == folder or path.startswith(below):
                del self._paths[watch]
                _libc.inotify_rm_watch(self.fd, watch)


def limit() -> int | None:
    """How many folders this user may watch, as far as the kernel tells."""
    try:
        return int(_LIMIT.read_text())
    except (OSError, ValueError):
        return None
