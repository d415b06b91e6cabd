"""Small secret files: made once, whole or not at all, readable by their owner only."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from typing import TYPE_CHECKING

from events.errors import Misconfigured

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Replace the file as a whole and have it on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes the file with mode 0600.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def key(path: Path, length: int = 32) -> bytes:
    """The random key in the file, made when there is none."""
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        made = secrets.token_bytes(length)
        write(path, made.hex().encode() + b"\n")
        return made
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != length:
        raise Misconfigured(
            f"{path} holds no key; restore it from a backup, or delete it to have a new one made"
        )
    return found
