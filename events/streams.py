"""The streams, declared in one place.

A stream that is missing is created. One that was declared by an older MosaicFS is brought up to
this declaration. One that somebody changed by hand is left as it is and reported as drift.
"""

from __future__ import annotations

import logging
from typing import Any, Final, NamedTuple

from events import subjects
from events.connection import ApiError, Connection
from events.errors import LogUnavailable

_logger = logging.getLogger(__name__)

_SECOND: Final = 1_000_000_000
_DAY: Final = 86_400 * _SECOND
_NOT_FOUND: Final = 10059

# Counts the declaration as a whole; raise it with every change below.
DECLARATION: Final = 1


class Stream(NamedTuple):
    """One stream: what it carries, and how long."""

    name: str
    area: str
    description: str
    keep_days: int | None = None
    last_per_subject: bool = False
    may_lose: bool = False

    @property
    def subjects(self) -> str:
        """The subject pattern that the stream captures."""
        return f"{subjects.ROOT}.{self.area}.>"

    def config(self, replicas: int) -> dict[str, Any]:
        """The configuration as JetStream's API takes it."""
        return {
            "name": self.name,
            "description": self.description,
            "subjects": [self.subjects],
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "compression": "s2",
            "num_replicas": replicas,
            # A limit set by hand would silently drop the oldest events.
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": (self.keep_days or 0) * _DAY,
            "max_msgs_per_subject": 1 if self.last_per_subject else -1,
            # The server remembers message ids this long; the projector dedupes beyond it.
            "duplicate_window": 900 * _SECOND,
            "deny_delete": not self.may_lose,
            "deny_purge": not self.may_lose,
            "allow_rollup_hdrs": False,
            "allow_msg_ttl": False,
            "allow_direct": True,
            "allow_atomic": True,
            "metadata": {
                "mosaic.declaration": str(DECLARATION),
                "mosaic.area": self.area,
                "mosaic.kept": self._kept(),
            },
        }

    def _kept(self) -> str:
        if self.last_per_subject:
            return "the last message of each subject"
        return f"{self.keep_days} days" if self.keep_days else "for ever"


STREAMS: Final = (
    Stream("FILES", "files", "What agents found on their disks; batched, one writer per node"),
    Stream("CATALOG", "catalog", "What people configure; one subject per document"),
    Stream("ANNOTATIONS", "annotations", "What plugins found out about files; batched"),
    Stream("REPLICAS", "replicas", "Copies of files on targets, and their state; batched"),
    Stream("ACCESS", "access", "Debounced accesses to files; batched", keep_days=400),
    Stream(
        "NODES",
        "nodes",
        "What each machine says of itself; whole statements",
        last_per_subject=True,
        may_lose=True,
    ),
    Stream("UTILIZATION", "utilization", "How full each machine's disks are", keep_days=400),
    Stream("NOTICES", "notices", "Conditions that a person should know of", keep_days=400),
    Stream("AUDIT", "audit", "Who did what"),
)

BY_AREA: Final = {stream.area: stream for stream in STREAMS}
BY_NAME: Final = {stream.name: stream for stream in STREAMS}


class Drift(NamedTuple):
    """One setting of a stream that is not as declared."""

    stream: str
    setting: str
    declared: object
    found: object

    def __str__(self) -> str:
        return f"{self.stream}.{self.setting} is {self.found!r}, declared is {self.declared!r}"


async def ensure(connection: Connection, *, replicas: int = 1) -> list[Drift]:
    """Create or update every stream; returns the drift that was found and left alone."""
    drift: list[Drift] = []
    for stream in STREAMS:
        drift += await _ensure(connection, stream, replicas)
    for each in drift:
        _logger.warning("stream drift, left as it is: %s", each)
    return drift


async def _ensure(connection: Connection, stream: Stream, replicas: int) -> list[Drift]:
    declared = stream.config(replicas)
    try:
        info = await connection.api(f"STREAM.INFO.{stream.name}")
    except ApiError as wrong:
        if wrong.err_code != _NOT_FOUND:
            raise
        await connection.api(f"STREAM.CREATE.{stream.name}", declared)
        _logger.info("stream created", extra={"stream": stream.name})
        return []
    found = info["config"]
    if _declaration(found) > DECLARATION:
        # A newer MosaicFS declared it; its declaration is not this program's to judge.
        return []
    if _declaration(found) < DECLARATION:
        # Written over what the server sent, so that fields this program does not know survive.
        metadata = {**found.get("metadata", {}), **declared["metadata"]}
        # How many servers keep a copy is for whoever runs them to decide.
        kept = {"metadata": metadata, "num_replicas": found["num_replicas"]}
        await connection.api(f"STREAM.UPDATE.{stream.name}", {**found, **declared, **kept})
        _logger.info("stream brought up to date", extra={"stream": stream.name})
        return []
    return compare(declared, found)


def compare(declared: dict[str, Any], found: dict[str, Any]) -> list[Drift]:
    """The settings of a found configuration that are not as declared."""
    drift = [
        Drift(declared["name"], key, value, found.get(key))
        for key, value in declared.items()
        if key not in ("metadata", "num_replicas") and found.get(key, _absent(value)) != value
    ]
    metadata = found.get("metadata") or {}
    drift += [
        Drift(declared["name"], f"metadata.{key}", value, metadata.get(key))
        for key, value in declared["metadata"].items()
        if metadata.get(key) != value
    ]
    return drift


def _absent(declared: object) -> object:
    """What it means that the server leaves a field out of its answer."""
    return type(declared)() if isinstance(declared, bool | int | str | list) else None


def _declaration(config: dict[str, Any]) -> int:
    try:
        return int((config.get("metadata") or {}).get("mosaic.declaration", 0))
    except ValueError:
        return 0


async def heads(connection: Connection) -> dict[str, dict[str, Any]]:
    """For each stream that exists: its state and creation time, as the server tells them."""
    found: dict[str, dict[str, Any]] = {}
    for stream in STREAMS:
        try:
            info = await connection.api(f"STREAM.INFO.{stream.name}")
        except ApiError as wrong:
            if wrong.err_code == _NOT_FOUND:
                continue
            raise LogUnavailable(f"{stream.name}: {wrong}") from wrong
        found[stream.name] = {"created": info["created"], **info["state"]}
    return found
