"""The contract of a view, for the loop that feeds it.

A view is written by one thread at a time. `apply` is atomic: the rows of a batch, the checkpoint of
each stream and the dead letters commit together or not at all, so a batch may be given again after
any failure. Messages at or below the checkpoint, and messages whose id was seen, change nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from events.errors import Permanent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from events.consume import Message


class Checkpoint(NamedTuple):
    """How far a view has read a stream, and which stream that was."""

    created: str
    sequence: int


class Applied(NamedTuple):
    """What a committed batch did: the view's last change number, and the documents it touched.

    `docs` is None when they are too many to name; a reader then asks the view for what changed.
    """

    n: int
    docs: list[str] | None
    dead: int


class StaleView(Permanent):
    """The view is of another build or another log, and has to be rebuilt."""


class View(Protocol):
    """A read model that the projector can keep."""

    def checkpoints(self) -> dict[str, Checkpoint]: ...

    def adopt(self, created: Mapping[str, str]) -> None:
        """Begin at the start of streams that this view has never read."""

    def apply(self, messages: Sequence[Message]) -> Applied: ...

    def close(self) -> None: ...
