"""The projector's loop: read, apply, commit, ack, tell.

One task per stream reads; one applies, because a view has one pen. Messages of all streams that
have arrived by then commit together. The ack goes out after the commit, the change feed after the
ack.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from events.connection import ApiError
from events.consume import Follower, Message
from events.errors import Temporary
from events.retry import Backoff
from events.streams import BY_NAME
from projectors.thread import to_the_end
from projectors.view import Applied, Checkpoint, StaleView, View

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from events.connection import Connection

_logger = logging.getLogger(__name__)

# How many messages commit together at the most: about 100 ms of work when they are file batches.
_COMMIT_MESSAGES: Final = 48
_NOT_FOUND: Final = 404


def check(checkpoints: Mapping[str, Checkpoint], heads: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise StaleView when a view has read streams that are not these."""
    for name, checkpoint in checkpoints.items():
        head = heads.get(name)
        if head is None:
            raise StaleView(f"the stream {name} is gone")
        if head["created"] != checkpoint.created:
            raise StaleView(f"the stream {name} was created again at {head['created']}")
        if head["last_seq"] < checkpoint.sequence:
            raise StaleView(
                f"the stream {name} ends at {head['last_seq']}, "
                f"the view has read up to {checkpoint.sequence}"
            )


async def last_message(connection: Connection, stream: str, head: Mapping[str, Any]) -> int:
    """The sequence of the last message that a stream holds, 0 if there is none.

    It is below the stream's last sequence when the last messages were removed, as is done with what
    a node said that is no more.
    """
    if not head["messages"]:
        return 0
    if not head.get("num_deleted"):
        return int(head["last_seq"])
    try:
        answer = await connection.api(
            f"STREAM.MSG.GET.{stream}", {"last_by_subj": BY_NAME[stream].subjects}
        )
    except ApiError as wrong:
        if wrong.code != _NOT_FOUND:
            raise
        return 0
    return int(answer["message"]["seq"])


class Projector:
    """Keeps one view up with the log until it is cancelled."""

    def __init__(
        self,
        connection: Connection,
        view: View,
        consumer: str,
        on_applied: Callable[[Applied, Mapping[str, Checkpoint]], None],
    ) -> None:
        self._connection = connection
        self._view = view
        self._consumer = consumer
        self._on_applied = on_applied
        self._arrived: asyncio.Queue[tuple[Follower, list[Message]]] = asyncio.Queue(maxsize=2)
        self._targets: dict[str, int] = {}
        self._pending: dict[str, int] = {}
        self.trouble: str | None = None
        self.caught_up = asyncio.Event()

    async def run(self, heads: Mapping[str, Mapping[str, Any]]) -> None:
        """Project for ever. `heads` tells the streams as they are (see `events.streams.heads`)."""
        check(self._view.checkpoints(), heads)
        self._view.adopt({name: str(head["created"]) for name, head in heads.items()})
        self._targets = {
            name: await last_message(self._connection, name, head) for name, head in heads.items()
        }
        self._mark_progress()
        async with asyncio.TaskGroup() as tasks:
            for name in heads:
                tasks.create_task(self._read(name), name=f"read {name}")
            tasks.create_task(self._apply(), name="apply")

    async def _read(self, stream: str) -> None:
        follower = Follower(
            self._connection,
            stream,
            self._consumer,
            description="Projects this stream into the document view of one machine",
            limit=_COMMIT_MESSAGES,
        )
        async for batch in follower.batches(self._view.checkpoints()[stream].sequence):
            self._pending[stream] = batch[-1].pending
            await self._arrived.put((follower, batch))

    async def _apply(self) -> None:
        while True:
            taken = [await self._arrived.get()]
            count = len(taken[0][1])
            while count < _COMMIT_MESSAGES and not self._arrived.empty():
                taken.append(self._arrived.get_nowait())
                count += len(taken[-1][1])
            messages = [message for _, batch in taken for message in batch]
            applied = await self._commit(messages)
            for follower, batch in taken:
                await follower.confirm(batch[-1])
            self._on_applied(applied, self._view.checkpoints())
            self._mark_progress()

    async def _commit(self, messages: list[Message]) -> Applied:
        """Apply a batch for as long as it takes; the disk may be full or the file locked."""
        backoff = Backoff()
        while True:
            try:
                applied = await to_the_end(self._view.apply, messages)
            except Temporary as wrong:
                self.trouble = str(wrong)
                delay = backoff.next()
                _logger.error("cannot write the view, next try in %.0f s: %s", delay, wrong)
                await asyncio.sleep(delay)
            else:
                if self.trouble is None:
                    return applied
                _logger.info("the view can be written again")
                self.trouble = None
                # A part of the batch may have been committed by an attempt that then failed, and
                # its documents are not among those that the last one touched.
                return applied._replace(docs=None)

    def _mark_progress(self) -> None:
        checkpoints = self._view.checkpoints()
        if all(checkpoints[name].sequence >= target for name, target in self._targets.items()):
            self.caught_up.set()

    def progress(self) -> dict[str, dict[str, int]]:
        """For each stream: what is applied, and what is known to wait behind it."""
        return {
            name: {
                "applied": checkpoint.sequence,
                "pending": max(
                    self._pending.get(name, 0), self._targets.get(name, 0) - checkpoint.sequence
                ),
            }
            for name, checkpoint in self._view.checkpoints().items()
        }
