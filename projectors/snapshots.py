"""Snapshots of a view in the log's own server, so that a new machine starts in seconds.

A snapshot is the view's SQLite file, compressed, in a JetStream Object Store. It holds its own
checkpoint; the machine that takes it over replays the tail. It is a convenience and never the
truth: one that is missing, damaged, or of another log or version is passed over, and the log is
replayed.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import nats.js.errors
import zstandard
from nats.js.api import ObjectInfo, ObjectMeta, ObjectStoreConfig

from events import consume
from events.errors import LogUnavailable, MosaicError
from projectors.documents import schema
from projectors.documents.view import DocumentsView, beside, copy_view, discard
from projectors.loop import check
from projectors.thread import to_the_end

if TYPE_CHECKING:
    from pathlib import Path

    from nats.js.object_store import ObjectStore

    from events.connection import Connection

_logger = logging.getLogger(__name__)

BUCKET: Final = "mosaic-snapshots"
_NAME: Final = f"documents-v{schema.VERSION}"
_STREAM: Final = f"OBJ_{BUCKET}"
_CHUNK: Final = 1 << 20
_ABANDONED_S: Final = 3600.0


async def take(connection: Connection, view: Path) -> dict[str, Any]:
    """Store a snapshot of the view as it is now; the projector may go on writing meanwhile."""
    started = time.monotonic()
    copy, packed = beside(view, "snapshot"), beside(view, "packed")
    try:
        await to_the_end(_pack, view, copy, packed)
        store = await _store(connection, create=True)
        assert store is not None
        with packed.open("rb") as file:
            meta = ObjectMeta(name=_NAME, description="The document view, SQLite in zstd")
            await store.put(_NAME, file, meta)
        size = packed.stat().st_size
        await _sweep(connection, store)
    except (nats.errors.Error, TimeoutError, OSError) as wrong:
        raise LogUnavailable(f"the snapshot could not be stored: {wrong}") from wrong
    finally:
        discard(copy)
        packed.unlink(missing_ok=True)
    taken = {"bytes": size, "seconds": round(time.monotonic() - started, 2)}
    _logger.info("snapshot taken", extra=taken)
    return taken


async def _sweep(connection: Connection, store: ObjectStore) -> None:
    """Remove the chunks of snapshots whose storing was broken off by a kill or a loss of power.

    Nothing names them, so nobody else would. Another machine may be storing one right now; what is
    younger than an hour is left to it.
    """
    subjects = f"$O.{BUCKET}.C."
    known = {subjects + str(info.nuid) for info in await store.list()}
    answer = await connection.api(f"STREAM.INFO.{_STREAM}", {"subjects_filter": subjects + ">"})
    for subject in (answer["state"].get("subjects") or {}).keys() - known:
        last = await connection.api(f"STREAM.MSG.GET.{_STREAM}", {"last_by_subj": subject})
        stored = datetime.fromisoformat(last["message"]["time"][:19]).replace(tzinfo=UTC)
        if time.time() - stored.timestamp() > _ABANDONED_S:
            await connection.api(f"STREAM.PURGE.{_STREAM}", {"filter": subject})
            _logger.info("removed what was left of a snapshot", extra={"chunks": subject})


def _pack(view: Path, copy: Path, packed: Path) -> None:
    copy_view(view, copy)
    with copy.open("rb") as source, packed.open("wb") as target:
        zstandard.ZstdCompressor(level=3).copy_stream(source, target)


async def restore(connection: Connection, path: Path, heads: dict[str, dict[str, Any]]) -> bool:
    """Put the stored snapshot at `path` (where nothing is); whether there was a fitting one."""
    packed = beside(path, "packed")
    try:
        store = await _store(connection, create=False)
        if store is None:
            return False
        info = await store.get_info(_NAME)
        await _download(connection, info, packed)
        await to_the_end(_unpack, packed, path)
        view = await to_the_end(DocumentsView, path)
        try:
            check(view.checkpoints(), heads)
        finally:
            view.close()
    except nats.js.errors.NotFoundError:
        return False
    except (MosaicError, nats.errors.Error, zstandard.ZstdError, TimeoutError, OSError) as wrong:
        _logger.warning("the snapshot is passed over: %s", wrong)
        discard(path)
        return False
    finally:
        packed.unlink(missing_ok=True)
    return True


async def _store(connection: Connection, *, create: bool) -> ObjectStore | None:
    jetstream = connection.client.jetstream()
    try:
        return await jetstream.object_store(BUCKET)
    except nats.js.errors.NotFoundError:
        if not create:
            return None
        config = ObjectStoreConfig(description="Snapshots of views, to start new machines from")
        return await jetstream.create_object_store(BUCKET, config)


async def _download(connection: Connection, info: ObjectInfo, target: Path) -> None:
    """The stored bytes, checked; read by our own loop, which cannot lose a chunk unnoticed."""
    digest = hashlib.sha256()
    subject = f"$O.{BUCKET}.C.{info.nuid}"
    with target.open("wb") as file:
        async for batch in consume.read(connection, _STREAM, subject=subject):
            for message in batch:
                digest.update(message.body)
                file.write(message.body)
    found = "SHA-256=" + base64.urlsafe_b64encode(digest.digest()).decode()
    if found != info.digest:
        raise LogUnavailable("the stored snapshot is not whole")


def _unpack(packed: Path, path: Path) -> None:
    making = beside(path, "unpacked")
    try:
        with packed.open("rb") as source, making.open("wb") as target:
            zstandard.ZstdDecompressor().copy_stream(source, target, read_size=_CHUNK)
        making.rename(path)
    finally:
        making.unlink(missing_ok=True)
