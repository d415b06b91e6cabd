"""A log in memory: messages as the streams would hand them over, in the order they were stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from events import codec
from events.consume import Message
from events.moments import Moment, moment
from events.streams import BY_AREA, STREAMS
from events.vocabulary.files import File, FileIndexed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from events.vocabulary import Event

CREATED: Final = {stream.name: f"2026-01-01T00:00:00.{i}Z" for i, stream in enumerate(STREAMS)}
_START_MS: Final = 1_790_000_000_000


def file_id(number: int) -> str:
    return f"0198c0de-0000-7000-8000-{number:012x}"


def a_file(
    number: int, name: str = "", *, parent: str = "/home", v: int = 1, size: int = 1
) -> File:
    """A file whose id, inode and default name follow from its number."""
    return File(
        id=file_id(number),
        inode=1000 + number,
        parent=parent,
        name=name or f"file {number}.txt",
        size=size,
        mtime=1_700_000_000_000_000_000 + v,
        v=v,
    )


class Tape:
    """Numbers messages by stream, as the server does, and by writer, as an outbox does."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.last = {stream.name: 0 for stream in STREAMS}
        self._written: dict[str, int] = {}

    def time(self) -> Moment:
        """The moment of the next message: a second behind the last."""
        return moment(_START_MS + 1000 * len(self.messages))

    def next_id(self, writer: str = "a") -> str:
        """The id that the outbox of a writer would give to its next message."""
        self._written[writer] = self._written.get(writer, 0) + 1
        return f"{writer * 12}-{self._written[writer]}"[-31:]

    def say(self, event: Event, *where: str, writer: str = "a", id: str | None = None) -> Message:
        """Store an event."""
        wire = codec.encode(
            event, *where, time=self.time(), actor="test", id=id or self.next_id(writer)
        )
        return self.store(wire.subject, wire.headers, wire.body, BY_AREA[event.area].name)

    def index(self, *files: File, node: str = "n1") -> Message:
        return self.say(FileIndexed(files=list(files)), node)

    def store(
        self, subject: str, headers: dict[str, str] | None, body: bytes, stream: str
    ) -> Message:
        """Store a message, whatever it says."""
        self.last[stream] += 1
        stored_ns = (_START_MS + 1000 * len(self.messages)) * 1_000_000
        message = Message(stream, self.last[stream], subject, headers, body, stored_ns, 0, "")
        self.messages.append(message)
        return message


def cut(messages: Sequence[Message], sizes: Sequence[int]) -> list[list[Message]]:
    """The messages in batches of these sizes, taken round and round."""
    batches = []
    at = turn = 0
    while at < len(messages):
        size = sizes[turn % len(sizes)]
        batches.append(list(messages[at : at + size]))
        at, turn = at + size, turn + 1
    return batches
