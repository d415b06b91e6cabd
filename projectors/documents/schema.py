"""The tables of the document view.

Files are rows of numbers with interned folders, and every other document is a JSON body: half a
million files at under 300 bytes each, while the few thousand other documents stay readable.
"""

from __future__ import annotations

from typing import Final

# Raise it when the tables or the fold change; a view of another version is rebuilt from the log.
VERSION: Final = 1

DDL: Final = """
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,       -- 'version', 'epoch' (names this build of the view), 'n'
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
    stream   TEXT PRIMARY KEY,
    created  TEXT NOT NULL,       -- the stream's creation time: another one means another stream
    sequence INTEGER NOT NULL     -- everything up to here is in the view
) STRICT, WITHOUT ROWID;

-- What has been seen of each writer's message ids, as a sliding window (see projectors/window.py).
CREATE TABLE writers (
    name TEXT PRIMARY KEY,
    high INTEGER NOT NULL,        -- the highest number seen
    seen BLOB NOT NULL            -- bit i: high - i was seen
) STRICT, WITHOUT ROWID;

-- Which message brought the changes from number n on, up to the next row's n.
CREATE TABLE applied (
    n        INTEGER PRIMARY KEY,
    stream   TEXT NOT NULL,
    sequence INTEGER NOT NULL
) STRICT;
CREATE INDEX applied_place ON applied (stream, sequence);

CREATE TABLE nodes (
    id   INTEGER PRIMARY KEY,
    node TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE mimes (
    id   INTEGER PRIMARY KEY,
    mime TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE folders (
    id   INTEGER PRIMARY KEY,
    node INTEGER NOT NULL,        -- nodes.id
    path TEXT NOT NULL,           -- path text, absolute on that node
    UNIQUE (node, path)
) STRICT;

CREATE TABLE files (
    id      INTEGER PRIMARY KEY,  -- private to this view
    uuid    BLOB NOT NULL,        -- 16 bytes; rises with time, so the index is appended to
    inode   INTEGER NOT NULL,
    folder  INTEGER NOT NULL,     -- folders.id, hence the node too
    name    TEXT NOT NULL,        -- path text
    size    INTEGER NOT NULL,
    mtime   INTEGER NOT NULL,     -- nanoseconds since the epoch, may be negative
    mime    INTEGER NOT NULL,     -- mimes.id
    version INTEGER NOT NULL,     -- the agent's count of changes; also the document's generation
    deleted INTEGER,              -- milliseconds since the epoch, when it was found gone; else NULL
    n       INTEGER NOT NULL      -- number of its last change in this view
) STRICT;
CREATE UNIQUE INDEX files_uuid ON files (uuid);
CREATE INDEX files_place ON files (folder, name);
CREATE INDEX files_inode ON files (inode);
CREATE INDEX files_n ON files (n);

-- Substring search over names. External content: the names stand in `files` only. It is brought up
-- to date once at the end of each transaction. Triggers are not used: they halve the speed of the
-- upsert.
CREATE VIRTUAL TABLE names USING fts5 (
    name, content = 'files', content_rowid = 'id', tokenize = 'trigram', columnsize = 0
);
-- Names that the running transaction took away; empty at every commit.
CREATE TABLE renamed (
    id   INTEGER PRIMARY KEY,     -- files.id
    name TEXT NOT NULL            -- as it stands in the index
) STRICT;

-- Every document but files.
CREATE TABLE documents (
    doc        TEXT PRIMARY KEY,
    type       TEXT NOT NULL,
    generation INTEGER NOT NULL,
    n          INTEGER NOT NULL,
    body       TEXT               -- JSON object; NULL is a tombstone
) STRICT;
CREATE INDEX documents_type ON documents (type, doc);
CREATE INDEX documents_n ON documents (n);

-- Messages that could not be understood. They do not stop the line.
CREATE TABLE dead_letters (
    stream   TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    subject  TEXT NOT NULL,
    reason   TEXT NOT NULL,
    at       TEXT NOT NULL,       -- when the stream stored it
    headers  TEXT NOT NULL,       -- JSON object
    body     BLOB NOT NULL,       -- the first 4 KiB
    PRIMARY KEY (stream, sequence)
) STRICT, WITHOUT ROWID;
"""
