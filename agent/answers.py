"""What the agent tells of itself: to its control socket and in node.status."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from events.vocabulary.nodes import NodeStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from agent.config import AgentConfig
    from agent.crawl import Progress
    from agent.drain import Drain
    from agent.health import Health
    from agent.indexer import Indexer
    from agent.link import Link
    from agent.state import State
    from events.ids import NodeId
    from events.machine.control import Answer, Verb

_PROGRESS_S: Final = 0.2


class Answers:
    """Looks at the parts of the agent; changes none of them but by asking for a crawl."""

    def __init__(
        self,
        state: State,
        node: NodeId,
        config: AgentConfig,
        *,
        indexer: Indexer,
        drain: Drain,
        link: Link,
        health: Health,
    ) -> None:
        self._state = state
        self._node = node
        self._config = config
        self._indexer = indexer
        self._drain = drain
        self._link = link
        self._health = health
        self._counting = threading.Lock()
        self.leaving = False

    def verbs(self) -> Mapping[str, Verb]:
        """What the control socket understands.

        `status` takes the place of the one of `Control`: counting the outbox may have to wait for
        the disk, so it is work for a thread.
        """
        return {"status": self._status, "crawl": self._crawl}

    def _word(self) -> str:
        """The agent's state in one word."""
        if self.leaving:
            return "offline"
        if self._indexer.crawling:
            return "crawling"
        if not self._health.sound("storage", "log"):
            return "degraded"
        return "watching" if self._indexer.last is not None else "starting"

    async def _status(self, question: dict[str, Any]) -> Answer:
        outbox = await asyncio.to_thread(self._depth)
        indexer = self._indexer
        last = indexer.last
        progress = indexer.progress if indexer.crawling or last is None else last
        return {
            "pid": os.getpid(),
            "state": self._word(),
            "node_id": self._node,
            "files": indexer.files,
            "outbox": outbox,
            "sent": self._drain.sent,
            "connected": self._link.connected,
            "crawling": {"seen": indexer.progress.seen} if indexer.crawling else None,
            "last_crawl": last and {**_summary(last), "at": indexer.last_at},
            "watch_paths": list(self._config.watch_paths),
            "watched_folders": indexer.watched,
            "unreadable": progress.unreadable,
            "first_unreadable": progress.first_unreadable,
            "subsystems": {part.name: part.state for part in self._health.parts()},
            "trouble": self._drain.trouble,
            "rss": _rss(),
        }

    def _depth(self) -> int:
        # Heartbeat and status ask from threads of their own.
        with self._counting:
            return self._state.outbox.depth()

    def report(self, v: int) -> NodeStatus:
        """The status event; from a thread."""
        last = self._indexer.last
        self._health.tell("log", "ok" if self._link.connected else "degraded")
        return NodeStatus(
            v=v,
            subsystems=self._health.parts(),
            files=self._indexer.files,
            outbox=self._depth(),
            last_crawl_at=self._indexer.last_at,
            last_crawl_ms=last.ms if last is not None else None,
            unreadable=last.first_unreadable if last is not None else [],
            errors=list(self._health.errors),
        )

    async def _crawl(self, question: dict[str, Any]) -> AsyncIterator[Answer]:
        """The verb `crawl`: progress, then what was done."""
        return self._crawl_answers(self._indexer.request())

    async def _crawl_answers(self, done: asyncio.Future[Progress]) -> AsyncIterator[Answer]:
        while not done.done():
            await asyncio.wait([done], timeout=_PROGRESS_S)
            if not done.done():
                yield {"seen": self._indexer.progress.seen}
        yield {"done": _summary(done.result())}


def _summary(progress: Progress) -> dict[str, Any]:
    return {
        "files": progress.seen,
        "folders": progress.folders,
        "changed": progress.counts.total,
        "found": progress.counts._asdict(),
        "unreadable": progress.unreadable,
        "ms": progress.ms,
    }


def _rss() -> int:
    """Resident memory in bytes, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
