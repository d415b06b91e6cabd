"""A folder that never rests: seeded changes to real files, as people and programs make them."""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_NAMES: Final = (
    *(b"report.pdf", b"photo 1.jpg", b"notes.md", b"a", b"caf\xc3\xa9.txt", b"caf\xe9.txt"),
    *(b"new\nline", b"-rf", b"*", b'quo"te', b"\xff\xfe", b"x" * 255, "�".encode(), b"tab\there"),
)


class World:
    """Changes one tree, with every draw from one seed."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root = os.fsencode(root)
        self._draw = random.Random(seed)
        self.done: dict[str, int] = {}
        os.makedirs(self._root, exist_ok=True)
        for number in range(12):
            os.makedirs(self._join(f"d{number % 4}/e{number}".encode()), exist_ok=True)

    def _join(self, *parts: bytes) -> bytes:
        return os.path.join(self._root, *parts)

    def _folders(self) -> list[bytes]:
        return [folder for folder, _, _ in os.walk(self._root)]

    def _files(self) -> list[bytes]:
        return [
            os.path.join(folder, name) for folder, _, names in os.walk(self._root) for name in names
        ]

    def _fresh(self) -> bytes:
        name = self._draw.choice(_NAMES)
        if self._draw.random() < 0.7:
            name = b"%d-%s" % (self._draw.randrange(10_000), name[:200])
        return os.path.join(self._draw.choice(self._folders()), name)

    def change(self) -> None:
        """One change; which one is drawn."""
        kind = self._draw.choices(
            ("make", "many", "write", "rename", "replace", "delete", "move folder", "drop folder"),
            (30, 6, 22, 14, 8, 14, 4, 2),
        )[0]
        files = self._files()
        if not files or (kind in ("delete", "drop folder") and len(files) < 50):
            kind = "make"
        getattr(self, "_" + kind.replace(" ", "_"))(files)
        self.done[kind] = self.done.get(kind, 0) + 1

    def _write_to(self, path: bytes) -> None:
        with open(path, "wb") as file:
            file.write(self._draw.randbytes(self._draw.randrange(200)))

    def _make(self, files: list[bytes]) -> None:
        path = self._fresh()
        if not os.path.isdir(path):
            self._write_to(path)

    def _many(self, files: list[bytes]) -> None:
        folder = os.path.join(
            self._draw.choice(self._folders()), b"m%d" % self._draw.randrange(999)
        )
        os.makedirs(folder, exist_ok=True)
        for number in range(self._draw.randrange(5, 60)):
            self._write_to(os.path.join(folder, b"%d.dat" % number))

    def _write(self, files: list[bytes]) -> None:
        self._write_to(self._draw.choice(files))

    def _rename(self, files: list[bytes]) -> None:
        target = self._fresh()
        if not os.path.isdir(target):
            os.rename(self._draw.choice(files), target)

    def _replace(self, files: list[bytes]) -> None:
        """As editors save: write beside, rename over."""
        path = self._draw.choice(files)
        beside = os.path.join(os.path.dirname(path), b".saving")
        self._write_to(beside)
        os.replace(beside, path)

    def _delete(self, files: list[bytes]) -> None:
        os.unlink(self._draw.choice(files))

    def _move_folder(self, files: list[bytes]) -> None:
        folders = self._folders()[1:]
        if not folders:
            return
        moved = self._draw.choice(folders)
        target = self._join(b"moved%d" % self._draw.randrange(10_000))
        if not os.path.exists(target):
            os.rename(moved, target)

    def _drop_folder(self, files: list[bytes]) -> None:
        folders = self._folders()[5:]
        if folders:
            shutil.rmtree(self._draw.choice(folders))
