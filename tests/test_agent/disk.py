"""A disk and an index of it, and the invariants that hold between them."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from agent.apply import apply
from agent.crawl import Job, Progress, crawl
from agent.scope import Scope
from agent.state import State
from events import paths
from events.codec import decode
from events.ids import NodeId, file_id_text
from events.vocabulary.files import FileDeleted, GoneFile, MovedFile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from events.codec import Envelope, Wire

NODE = NodeId("test-00000001")


class Known(NamedTuple):
    """A file as those know it who read events."""

    inode: int
    place: str
    size: int
    mtime: int
    v: int
    deleted: bool


def fold(envelopes: Iterable[Envelope], *, strict: bool = True) -> dict[str, Known]:
    """What the events say; with `strict`, every one must be news and follow the one before it."""
    files: dict[str, Known] = {}
    for envelope in envelopes:
        if envelope.address.area != "files":
            continue
        for file in envelope.event.files:  # type: ignore[attr-defined]  # all of this area have it
            before = files.get(file.id)
            if strict:
                assert file.v == (before.v if before else 0) + 1, (file, before)
            elif before and before.v >= file.v:
                continue
            place = paths.join(file.parent, file.name)
            if isinstance(file, GoneFile):
                assert isinstance(envelope.event, FileDeleted)
                assert before is not None
                files[file.id] = before._replace(v=file.v, deleted=True)
                assert before.place == place
                continue
            if isinstance(file, MovedFile) and before and strict:
                assert before.place == paths.join(file.was_parent, file.was_name)
            assert before is None or before.inode == file.inode
            files[file.id] = Known(file.inode, place, file.size, file.mtime, file.v, False)
    return files


def on_disk(root: Path) -> dict[str, tuple[int, int]]:
    """The regular files below a folder by path text, with size and mtime."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                found[paths.to_text(path)] = (status.st_size, status.st_mtime_ns)
    return found


class Disk:
    """A folder that is indexed into a state beside it."""

    def __init__(self, folder: Path, excluded: Iterable[str] = ()) -> None:
        self.root = folder / "tree"
        self.root.mkdir()
        self.database = folder / "agent.db"
        self.state = State(self.database)
        self.scope = Scope([str(self.root)], excluded)
        self.unstable: frozenset[int] = frozenset()

    def job(self) -> Job:
        return Job(self.state, NODE, self.scope, self.unstable)

    def crawl(self) -> Progress:
        return crawl(self.job())

    def apply(self, *changed: Path | bytes) -> Progress:
        return apply(self.job(), [paths.to_text(os.fsdecode(each)) for each in changed])

    def write(self, name: str, text: str = "x") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def messages(self) -> list[Wire]:
        return [each.message for each in self.state.outbox.waiting(1_000_000, 1 << 40)]

    def envelopes(self) -> list[Envelope]:
        return [decode(each.subject, each.headers, each.body) for each in self.messages()]

    def types(self) -> list[str]:
        """The types of all events so far, as in `indexed`."""
        return [each.subject.rpartition(".")[2] for each in self.messages()]

    def files(self) -> dict[str, Known]:
        """Everything that was ever told, by file id."""
        return fold(self.envelopes())

    def living(self) -> dict[str, str]:
        """The ids of the living files, by place."""
        return {known.place: id for id, known in self.files().items() if not known.deleted}

    def id(self, path: Path) -> str:
        return self.living()[paths.to_text(str(path))]

    def check(self) -> None:
        """State, events and disk agree."""
        told = self.files()
        living = {each.place: (each.size, each.mtime) for each in told.values() if not each.deleted}
        assert len(living) == sum(not each.deleted for each in told.values())
        assert living == on_disk(self.root)
        rows = self.state.connection.execute(
            "SELECT uuid, inode, path, name, size, mtime, v, deleted FROM files f "
            "JOIN folders d ON d.id = f.folder"
        )
        assert told == {
            file_id_text(uuid): Known(inode, paths.join(path, name), size, mtime, v, bool(deleted))
            for uuid, inode, path, name, size, mtime, v, deleted in rows
        }
        inodes = [each.inode for each in told.values()]
        assert len(set(inodes)) == len(inodes)
        assert min(inodes, default=1000) >= 1000
