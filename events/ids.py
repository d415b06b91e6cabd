"""Names of things: node, file and document ids, and the inode space.

Document ids are load-bearing: clients, the log and every view agree on them, so each has a builder
here and nowhere else.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import uuid
from typing import TYPE_CHECKING, Final, NewType

if TYPE_CHECKING:
    from collections.abc import Iterator

NodeId = NewType("NodeId", str)
FileId = NewType("FileId", str)
DocId = NewType("DocId", str)

# 0 is invalid, 1 the root, 2 to 999 are reserved for what the mount synthesises.
FIRST_FREE_INODE: Final = 1000
# SQLite integers are signed, so the top bit stays clear: 63 random bits.
_INODE_BITS: Final = 63

_NODE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def new_node_id(hostname: str) -> NodeId:
    """A fresh node id that a person recognises in a subject: the host's name and 32 random bits."""
    slug = re.sub(r"[^a-z0-9]+", "-", hostname.split(".", 1)[0].lower()).strip("-")[:40]
    return NodeId(f"{slug or 'node'}-{secrets.token_hex(4)}")


def is_node_id(text: str) -> bool:
    """Whether the text may stand as a node id in a subject and in a document id."""
    return _NODE_ID.fullmatch(text) is not None


def new_file_ids(unix_ms: int) -> Iterator[FileId]:
    """An endless run of UUIDv7 file ids, strictly rising within the run.

    Version 7 and not 4: ids made together stay together, so an index over a crawl of 100,000 new
    files is appended to instead of being hit at random.
    """
    while True:
        yield from _id_block(unix_ms)
        unix_ms += 1


def _id_block(unix_ms: int) -> Iterator[FileId]:
    # A counter fills the 12 bits behind the version, so a block holds 4,096 ids of one millisecond.
    head = f"{unix_ms & (1 << 48) - 1:012x}"
    start = f"{head[:8]}-{head[8:]}-7"
    noise = os.urandom(8 * 4096).hex()
    for counter in range(4096):
        tail = noise[counter * 16 : counter * 16 + 16]
        variant = "89ab"[int(tail[0], 16) & 3]
        yield FileId(f"{start}{counter:03x}-{variant}{tail[1:4]}-{tail[4:]}")


def file_id_bytes(file: str) -> bytes:
    """The 16 bytes of a file id; raises ValueError for all but a UUID as we write it."""
    raw = bytes.fromhex(file.replace("-", ""))
    # Other spellings of one UUID would be other documents for the same file.
    if len(raw) != 16 or file_id_text(raw) != file:
        raise ValueError(f"not a file id: {file!r}")
    return raw


def file_id_text(raw: bytes) -> FileId:
    """The inverse of `file_id_bytes`."""
    text = raw.hex()
    return FileId(f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")


def new_inodes() -> Iterator[int]:
    """An endless run of random inodes from 1000 upward."""
    while True:
        block = os.urandom(8 * 1024)
        for at in range(0, len(block), 8):
            inode = int.from_bytes(block[at : at + 8]) >> (64 - _INODE_BITS)
            if inode >= FIRST_FREE_INODE:
                yield inode


def new_uuid() -> str:
    """A random UUID for the things that people make (rules, labels, backends)."""
    return str(uuid.uuid4())


def file_doc(file: FileId) -> DocId:
    return DocId(f"file::{file}")


def directory_doc(virtual_path: str) -> DocId:
    """`dir::root` for the root, `dir::` and the SHA-256 of the path for every other directory."""
    if virtual_path == "/":
        return DocId("dir::root")
    return DocId(f"dir::{hashlib.sha256(virtual_path.encode()).hexdigest()}")


def node_doc(node: NodeId) -> DocId:
    return DocId(f"node::{node}")


def agent_status_doc(node: NodeId) -> DocId:
    return DocId(f"agent_status::{node}")


def utilization_doc(node: NodeId, taken_at: str) -> DocId:
    return DocId(f"utilization::{node}::{taken_at}")


def credential_doc(access_key_id: str) -> DocId:
    return DocId(f"credential::{access_key_id}")


def label_assignment_doc(file: FileId) -> DocId:
    return DocId(f"label_assignment::{file}")


def label_rule_doc(rule: str) -> DocId:
    return DocId(f"label_rule::{rule}")


def plugin_doc(node: NodeId, plugin: str) -> DocId:
    return DocId(f"plugin::{node}::{plugin}")


def annotation_doc(file: FileId, plugin: str) -> DocId:
    return DocId(f"annotation::{file}::{plugin}")


def notification_doc(source: str, condition: str) -> DocId:
    return DocId(f"notification::{source}::{condition}")


def storage_backend_doc(name: str) -> DocId:
    return DocId(f"storage_backend::{name}")


def replication_rule_doc(rule: str) -> DocId:
    return DocId(f"replication_rule::{rule}")


def replica_doc(file: FileId, target: str) -> DocId:
    return DocId(f"replica::{file}::{target}")


def access_doc(file: FileId) -> DocId:
    return DocId(f"access::{file}")


def user_doc(name: str) -> DocId:
    return DocId(f"user::{name}")


def setting_doc(key: str) -> DocId:
    return DocId(f"setting::{key}")
