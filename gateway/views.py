"""Readers of the document view for the threads of the gateway.

A reader belongs to one thread. When the change feed names another epoch, the view is another file:
each thread opens it anew before its next query.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

import apsw

from events.machine.database import DatabaseFailed
from gateway.catalogue import Catalogue

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.feed import FeedRelay
    from projectors.feed import Line

T = TypeVar("T")

# SQLite reads do not wait for each other; more threads than this only share the same cores.
_THREADS: Final = 4


class Views:
    """The document view, readable from coroutines."""

    def __init__(self, path: Path, feed: FeedRelay, *, threads: int = _THREADS) -> None:
        self._path = path
        self.feed = feed
        self._epoch: str | None = None
        # Counts the epochs seen; a thread whose reader is of an older one opens the view anew.
        self._turn = 0
        self._mine = threading.local()
        self._open: set[Catalogue] = set()
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="view")
        feed.listen(self._heard)

    def _heard(self, line: Line) -> None:
        if line.epoch != self._epoch:
            self._epoch = line.epoch
            self._turn += 1

    async def read(self, query: Callable[[Catalogue], T]) -> T:
        """Run a query in a thread that has a reader; raises what the query raises.

        Everything that the query reads is of one moment.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, query)

    def _run(self, query: Callable[[Catalogue], T]) -> T:
        reader = self._reader()
        try:
            with reader.transaction():
                return query(reader)
        except apsw.Error as wrong:
            # Opened anew at the next query: the file may have been replaced under the reader.
            self._drop(reader)
            raise DatabaseFailed(f"{self._path}: {wrong}") from wrong

    def _reader(self) -> Catalogue:
        turn = self._turn
        reader: Catalogue | None = getattr(self._mine, "reader", None)
        if reader is not None and self._mine.turn == turn:
            return reader
        if reader is not None:
            self._drop(reader)
        reader = Catalogue(self._path)
        self._mine.reader, self._mine.turn = reader, turn
        with self._lock:
            self._open.add(reader)
        return reader

    def _drop(self, reader: Catalogue) -> None:
        self._mine.reader = None
        with self._lock:
            self._open.discard(reader)
        with contextlib.suppress(apsw.Error):
            reader.close()

    def close(self) -> None:
        """Wait for running queries, then close every reader."""
        self._threads.shutdown(wait=True)
        with self._lock:
            for reader in self._open:
                reader.close()
            self._open.clear()
