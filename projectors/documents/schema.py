"""The tables of the document view.

Files are rows of numbers with interned folders, and every other document is a JSON body: half a
million files at under 300 bytes each, while the few thousand other documents stay readable.
"""

from __future__ import annotations

from typing import Final

# Raise it when the tables or the fold change; a view of another version is rebuilt from the log.
VERSION: Final = 2

# Types whose documents are folded from more than one stream: people configure a node in CATALOG,
# it speaks for itself in NODES.
SHARED_TYPES: Final = frozenset({"node"})

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
-- One window for each stream: a writer numbers its messages across streams, and streams are read
-- each at its own pace, so that a high number of one says nothing about the low ones of another.
CREATE TABLE writers (
    stream TEXT NOT NULL,
    name   TEXT NOT NULL,
    high   INTEGER NOT NULL,      -- the highest number seen
    seen   BLOB NOT NULL,         -- bit i: high - i was seen
    PRIMARY KEY (stream, name)
) STRICT, WITHOUT ROWID;

-- Which message brought the changes from number n on, up to the next row's n. Rows whose changes
-- were all overtaken by later ones are removed bit by bit.
CREATE TABLE applied (
    n        INTEGER PRIMARY KEY,
    stream   TEXT NOT NULL,
    sequence INTEGER NOT NULL
) STRICT;
CREATE INDEX applied_place ON applied (stream, sequence);

CREATE TABLE nodes (
    id    INTEGER PRIMARY KEY,
    node  TEXT NOT NULL UNIQUE,
    files INTEGER NOT NULL DEFAULT 0, -- how many rows of `files` are of this node, deleted ones too
    first INTEGER,                    -- the lowest and the highest files.id among them
    last  INTEGER
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
-- Two halves of one index: to list or find live files never wades through deleted ones, and the
-- smaller half counts them.
CREATE INDEX files_live ON files (folder, name) WHERE deleted IS NULL;
CREATE INDEX files_gone ON files (folder, name) WHERE deleted IS NOT NULL;
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

-- Documents that events of several streams change, and the last change that each stream made.
CREATE TABLE authors (
    doc    TEXT NOT NULL,
    stream TEXT NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (doc, stream)
) STRICT, WITHOUT ROWID;
CREATE INDEX authors_n ON authors (n);

-- How many documents of each type there are and how many tombstones, so that nobody has to count.
CREATE TABLE tallies (
    type    TEXT PRIMARY KEY,
    live    INTEGER NOT NULL,
    removed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER documents_added AFTER INSERT ON documents BEGIN
    INSERT INTO tallies VALUES (new.type, new.body IS NOT NULL, new.body IS NULL)
    ON CONFLICT (type) DO UPDATE
    SET live = live + excluded.live, removed = removed + excluded.removed;
END;
CREATE TRIGGER documents_changed AFTER UPDATE OF body ON documents
WHEN (old.body IS NULL) <> (new.body IS NULL) BEGIN
    UPDATE tallies
    SET live = live + iif(new.body IS NULL, -1, 1), removed = removed + iif(new.body IS NULL, 1, -1)
    WHERE type = new.type;
END;

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
