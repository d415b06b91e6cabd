"""Which paths the agent looks at: the watch paths, less what is excluded.

All paths here are path text. Symbolic links are never followed below a watch path.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from typing import TYPE_CHECKING, Final

from events import paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_GLOB: Final = re.compile(r"[*?\[]")


def within(path: str, folder: str) -> bool:
    """Whether the path is the folder or lies below it."""
    return folder == "/" or path == folder or path.startswith(folder + "/")


def ancestors(path: str) -> Iterable[str]:
    """The path itself, then every folder above it, up to the root."""
    while True:
        yield path
        if path == "/":
            return
        path = paths.split(path)[0]


class Scope:
    """Pure but for `real`, which asks the disk for symbolic links."""

    def __init__(self, watch_paths: Iterable[str], excluded: Iterable[str] = ()) -> None:
        excluded = list(excluded)
        self.watch_paths = tuple(dict.fromkeys(watch_paths))
        self._paths = frozenset(each for each in excluded if each.startswith("/"))
        self._hidden: dict[str, set[str]] = {}
        for each in self._paths:
            parent, name = paths.split(each)
            self._hidden.setdefault(parent, set()).add(name)
        names = [each for each in excluded if not each.startswith("/")]
        self._names = frozenset(each for each in names if not _GLOB.search(each))
        globs = [fnmatch.translate(each) for each in names if _GLOB.search(each)]
        self._glob = re.compile("|".join(globs)).match if globs else None
        # A watch path inside of another would be walked twice.
        self.roots = tuple(
            root
            for root in self.watch_paths
            if not any(other != root and self._reaches(other, root) for other in self.watch_paths)
        )

    def skip(self, folder: str) -> Callable[[str], bool] | None:
        """What to leave out among the names in a folder; None when nothing is."""
        hidden = self._hidden.get(folder)
        names: frozenset[str] | set[str] = self._names | hidden if hidden else self._names
        glob = self._glob
        if glob is not None:
            return lambda name: name in names or glob(name) is not None
        return names.__contains__ if names else None

    def root_of(self, path: str) -> str | None:
        """The watch path that the path is reached from, unless it is excluded."""
        return next((root for root in self.roots if self._reaches(root, path)), None)

    def covers(self, path: str) -> bool:
        return self.root_of(path) is not None

    def _reaches(self, root: str, path: str) -> bool:
        # An exclusion counts below the root only: a root that lies inside of an excluded folder was
        # asked for by name.
        if not within(path, root):
            return False
        while path != root:
            parent, name = paths.split(path)
            skip = self.skip(parent)
            if skip is not None and skip(name):
                return False
            path = parent
        return True

    def real(self, folder: str) -> bool:
        """Whether every part of the folder's path below its root is a true folder, now.

        Without this check `d` moved away and replaced by a link to its new place would look as if
        all of its files were still there.
        """
        root = self.root_of(folder)
        if root is None:
            return False
        for part in ancestors(folder):
            if part == root:
                return True
            try:
                status = os.lstat(paths.to_os(part))
            except (FileNotFoundError, NotADirectoryError):
                return False
            except OSError:
                # Nobody knows, so nothing is claimed to be gone.
                continue
            if not stat.S_ISDIR(status.st_mode):
                return False
        return True
