"""Seeded test data: trees of small files on disk, and the same as events without a disk."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from events import ids
from events.clock import now
from events.codec import Wire, encode
from events.vocabulary.files import BATCH_RECORDS, File, FileIndexed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORDS: Final = (
    *("report", "invoice", "photo", "holiday", "budget", "draft", "final", "notes", "meeting"),
    *("backup", "archive", "song", "movie", "clip", "chapter", "index", "main", "test", "readme"),
    *("contract", "letter", "summer", "winter", "family", "garden", "kitchen", "project"),
)
_SUFFIXES: Final = ("pdf", "jpg", "txt", "docx", "mp3", "png", "csv", "mp4", "md", "xlsx")


def name(draw: random.Random, number: int) -> str:
    """A file name as people have them."""
    words = "_".join(draw.choices(WORDS, k=2))
    return f"{words}_{number:06d}.{draw.choice(_SUFFIXES)}"


def make_tree(root: Path, files: int, *, seed: int = 1, per_folder: int = 100) -> None:
    """`files` small files below `root`, `per_folder` in each folder, two levels deep."""
    draw = random.Random(seed)
    folders = -(-files // per_folder)
    made = 0
    for number in range(folders):
        folder = root / f"{WORDS[number % len(WORDS)]}_{number // 50:03d}" / f"{number:05d}"
        folder.mkdir(parents=True)
        for _ in range(min(per_folder, files - made)):
            (folder / name(draw, made)).write_bytes(b"x" * draw.randrange(64))
            made += 1


def file_events(files: int, node: str, *, seed: int = 1, per_folder: int = 25) -> Iterator[Wire]:
    """First-seen events for `files` files that stand on no disk, as an agent batches them."""
    draw = random.Random(seed)
    new_ids, inodes = ids.new_file_ids(1_700_000_000_000), ids.new_inodes()
    batch: list[File] = []
    for number in range(files):
        folder = number // per_folder
        batch.append(
            File(
                id=next(new_ids),
                inode=next(inodes),
                parent=f"/home/max/{WORDS[folder % len(WORDS)]}/{folder:06d}",
                name=name(draw, number),
                size=draw.randrange(10_000_000),
                mtime=1_600_000_000_000_000_000 + draw.randrange(10**17),
                v=1,
            )
        )
        if len(batch) == BATCH_RECORDS or number == files - 1:
            identity = f"{seed:012x}-{number + 1}"
            yield encode(FileIndexed(files=batch), node, time=now(), actor="bench", id=identity)
            batch = []
