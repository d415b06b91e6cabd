"""Reading one folder of the disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from events import paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.state import Sighting

# A folder is read this many entries at a time, so that a folder with a million of them never is in
# memory as a whole.
CHUNK: Final = 8192


class Chunk(NamedTuple):
    """Some entries of a folder. `folders` are names as `os` has them, `unreadable` path text."""

    files: list[Sighting]
    folders: list[str]
    unreadable: list[str]
    more: bool


class OpenFolder:
    """A folder held open, so that it stays the same one even when it is moved while it is read.

    Opening it does not follow a symbolic link, unless it is a watch path. Raises OSError.
    """

    def __init__(self, path: str, *, follow: bool) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self._fd = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
        try:
            status = os.fstat(self._fd)
            self.dev = status.st_dev
            self.ino = status.st_ino
            self._entries: Iterator[os.DirEntry[str]] = os.scandir(self._fd)
        except OSError:
            os.close(self._fd)
            raise

    def close(self) -> None:
        self._entries.close()  # type: ignore[attr-defined]  # scandir's iterator has it
        os.close(self._fd)

    def read(self, skip: Callable[[str], bool] | None, *, inodes: bool) -> Chunk:
        """The next entries; `inodes` is false where the filesystem makes inode numbers up."""
        files: list[Sighting] = []
        folders: list[str] = []
        unreadable: list[str] = []
        # This loop runs once for every file on the disk, hence the plain tuples and local names.
        for entry in self._entries:
            name = entry.name
            if skip is not None and skip(name if name.isascii() else paths.to_text(name)):
                continue
            try:
                if entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    files.append(
                        (
                            name if name.isascii() else paths.to_text(name),
                            status.st_size,
                            status.st_mtime_ns,
                            status.st_ino if inodes else 0,
                        )
                    )
                    if len(files) >= CHUNK:
                        return Chunk(files, folders, unreadable, True)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(name)
            except FileNotFoundError:
                # Gone between listing and stat: not there.
                continue
            except OSError:
                unreadable.append(paths.to_text(name))
        return Chunk(files, folders, unreadable, False)
