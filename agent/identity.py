"""Who this machine is, and that it is so only once."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent.heartbeat import hostname
from events import ids
from events.errors import Misconfigured
from events.ids import NodeId

if TYPE_CHECKING:
    from collections.abc import Iterator

    from events.machine.places import Places

_logger = logging.getLogger(__name__)


def node_id(places: Places) -> tuple[NodeId, bool]:
    """This machine's id, made at the first run; and whether it was there before."""
    file = places.node_id
    try:
        text = file.read_text().strip()
    except FileNotFoundError:
        node = ids.new_node_id(hostname())
        part = file.with_name("node_id.part")
        with part.open("w") as handle:
            handle.write(f"{node}\n")
            handle.flush()
            os.fsync(handle.fileno())
        part.rename(file)
        return node, False
    if not ids.is_node_id(text):
        raise Misconfigured(f"{file} does not hold a node id; restore it from a backup")
    return NodeId(text), True


@contextlib.contextmanager
def only_one(lock: Path) -> Iterator[None]:
    # Two agents on one state would both count `v`.
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misconfigured(f"another agent runs on {lock.parent}") from None
        yield
    finally:
        os.close(handle)


def set_aside(database: Path, wrong: BaseException) -> None:
    aside = _quarantine(database, f"damaged-{time.time_ns() // 1_000_000}")
    _logger.error(
        "%s is damaged and now lies at %s; what it knew is read back from the log",
        database,
        aside,
        extra={"error": str(wrong)},
    )


def _quarantine(path: Path, suffix: str) -> Path:
    """Move a database that cannot be used out of the way; returns where it is now."""
    aside = path.with_name(f"{path.name}.{suffix}")
    for tail in ("", "-wal", "-shm"):
        part = Path(f"{path}{tail}")
        if part.exists():
            part.rename(f"{aside}{tail}")
    return aside
