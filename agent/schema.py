"""The tables of agent.db beside the outbox: what each column means, and what always holds."""

from __future__ import annotations

from typing import Final

DDL: Final = """
CREATE TABLE IF NOT EXISTS folders (
    id    INTEGER PRIMARY KEY,
    path  TEXT NOT NULL UNIQUE,     -- path text, absolute
    dev   INTEGER NOT NULL,         -- st_dev when last seen; may be renumbered by a reboot
    mount INTEGER NOT NULL          -- 1: another filesystem began here when last seen
) STRICT;
CREATE TABLE IF NOT EXISTS files (
    id      INTEGER PRIMARY KEY,    -- never reused: rows are never removed
    uuid    BLOB NOT NULL,          -- the file id, 16 bytes; for good
    inode   INTEGER NOT NULL,       -- the inode that MosaicFS shows, random; for good
    folder  INTEGER NOT NULL,       -- folders.id; where the file was last, when deleted
    name    TEXT NOT NULL,          -- path text
    size    INTEGER NOT NULL,       -- bytes
    mtime   INTEGER NOT NULL,       -- ns since the epoch, clamped to 64 bits
    ino     INTEGER NOT NULL,       -- st_ino as signed 64 bits; 0: not known, or not stable there
    v       INTEGER NOT NULL,       -- events about this file so far, the last one's `v`
    deleted INTEGER NOT NULL        -- 0: there; otherwise when it was missed, unix ms
) STRICT;
CREATE INDEX IF NOT EXISTS files_deleted ON files (folder, name) WHERE deleted <> 0;
CREATE INDEX IF NOT EXISTS files_ino ON files (ino);
CREATE TABLE IF NOT EXISTS meta (
    -- ready: '1' once the files are all known (nothing to restore, or restored from the log).
    -- restoring: '1' while the files are being read back from the log.
    -- v:<document>: the counter of a node document.
    -- notice:<condition>: a notice that was raised and is not resolved.
    -- told:<condition>: news that was told and is never taken back.
    -- crawled: unix ms of the last crawl that came to its end.
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rejected (
    -- Messages that the log refused for good: kept for a person to look at, not sent again.
    n       INTEGER PRIMARY KEY,
    subject TEXT NOT NULL,
    headers TEXT NOT NULL,
    body    BLOB NOT NULL,
    reason  TEXT NOT NULL
) STRICT;
"""

# One living file per place. Deleted ones may share it with each other and with a living one.
ONE_PER_PLACE: Final = (
    "CREATE UNIQUE INDEX IF NOT EXISTS files_place ON files (folder, name) WHERE deleted = 0"
)
