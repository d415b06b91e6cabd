"""The document view in plain Python: what it should say after the same messages."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from events.codec import MESSAGE_ID, decode
from events.errors import Poison
from events.fold import fold
from events.ids import FileId, file_doc
from events.mime import of_name
from events.moments import unix_ms
from events.vocabulary.files import (
    File,
    FileChanged,
    FileDeleted,
    FileIndexed,
    FileRenamed,
    FileRestored,
)
from projectors.documents import letters
from projectors.documents.tokens import Position
from projectors.window import parse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from events.codec import Envelope
    from events.consume import Message
    from events.ids import DocId
    from projectors.documents.tokens import Vector

# A relative folder, an empty name, a name with a slash in it, a NUL anywhere.
_IMPOSSIBLE = re.compile(r"\A[^/]|\A\n|\n//\Z|\n/.*/.*/\Z|\0", re.DOTALL)
_FOUND = (FileIndexed, FileChanged, FileRenamed, FileRestored)


class Held(NamedTuple):
    node: str
    file: File
    v: int
    deleted: int | None


class Model:
    """One message after the other, one document after the other, sets instead of windows."""

    def __init__(self) -> None:
        self.files: dict[str, Held] = {}
        self.documents: dict[DocId, tuple[str, int, dict[str, Any] | None]] = {}
        self.dead: set[tuple[str, int]] = set()
        self.reached: dict[str, int] = {}
        # For each document the position of the last change that each stream made to it.
        self.changed: dict[str, dict[str, Position]] = {}
        self._seen: set[tuple[str, str, int]] = set()

    def apply(self, messages: Iterable[Message]) -> None:
        for message in messages:
            if message.sequence <= self.reached.get(message.stream, 0):
                continue
            self.reached[message.stream] = message.sequence
            named = parse((message.headers or {}).get(MESSAGE_ID, ""))
            if named is not None:
                if (message.stream, *named) in self._seen:
                    continue
                self._seen.add((message.stream, *named))
            self._at = (message.stream, message.sequence)
            try:
                self._message(decode(message.subject, message.headers, message.body))
            except (Poison, ValueError):
                self.dead.add((message.stream, message.sequence))

    def _message(self, envelope: Envelope) -> None:
        event = envelope.event
        if isinstance(event, FileDeleted):
            for place, gone in enumerate(event.files, 1):
                held = self.files.get(gone.id)
                if held and gone.v > held.v and held.node == envelope.address.token("node"):
                    at = unix_ms(envelope.time)
                    self.files[gone.id] = held._replace(v=gone.v, deleted=at)
                    self._mark(file_doc(FileId(gone.id)), place)
        elif isinstance(event, _FOUND):
            if any(_IMPOSSIBLE.search(f"{file.parent}\n/{file.name}/") for file in event.files):
                raise Poison("no such place")
            for place, file in enumerate(event.files, 1):
                held = self.files.get(file.id)
                node = envelope.address.token("node")
                if held is None or (file.v > held.v and held.node == node):
                    self.files[file.id] = Held(node, file, file.v, None)
                    self._mark(file_doc(FileId(file.id)), place)
        else:
            for place, change in enumerate(fold(envelope, self._load), 1):
                _, generation, _ = self.documents.get(change.doc, ("", 0, None))
                if generation + change.by >= 2**63:
                    raise Poison("no such number")
                self.documents[change.doc] = (change.type, generation + change.by, change.body)
                self._mark(change.doc, place)

    def _load(self, doc: DocId) -> dict[str, Any] | None:
        return self.documents.get(doc, ("", 0, None))[2]

    def _mark(self, doc: str, place: int) -> None:
        stream, sequence = self._at
        self.changed.setdefault(doc, {})[stream] = Position(sequence - 1, place)

    def changed_behind(self, vector: Vector) -> set[str]:
        """The documents that some stream changed behind its place in the vector."""
        return {
            doc
            for doc, places in self.changed.items()
            if any(at > vector.get(stream, Position(0)) for stream, at in places.items())
        }

    def rows(self) -> set[tuple[Any, ...]]:
        """The files as `Reader.files` gives them, without private numbers."""
        return {
            (
                *(file.id, node, file.inode, file.parent, file.name, file.size, file.mtime),
                *(of_name(file.name), v, deleted),
            )
            for node, file, v, deleted in self.files.values()
        }

    def matching(self, text: str, *, deleted: bool, node: str | None = None) -> set[str]:
        """The ids of the files that a search should find."""
        folded = letters.fold(text)
        if "*" in text or "?" in text:
            fits = re.compile(_regex(folded), re.DOTALL).fullmatch
        else:
            fits = re.compile(f".*{re.escape(folded)}.*", re.DOTALL).fullmatch
        return {
            held.file.id
            for held in self.files.values()
            if fits(letters.fold(held.file.name))
            and (deleted or held.deleted is None)
            and node in (None, held.node)
        }


def _regex(glob: str) -> str:
    """`fnmatch` knows brackets, which stand for themselves here."""
    return fnmatch.translate(glob.replace("[", "[[]"))
