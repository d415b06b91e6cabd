"""Paths as text: every byte that a disk may hold, in a string that JSON and SQLite may hold.

A Unix name is any bytes but NUL and slash. JSON, SQLite text and people want Unicode. Names that
are valid UTF-8 stand for themselves. Any other byte is written as U+FFFD and two hex digits, and
U+FFFD itself is doubled, so that the text is exact, readable, unique, and turns back into the same
bytes.

Rejected: a second `raw` field beside the name (every reader must then know both), and lone
surrogates (not valid in JSON for most clients, refused by SQLite and msgspec).
"""

from __future__ import annotations

import os
import re
from typing import Final

_MARK: Final = "\ufffd"
# What `to_text` may write behind a mark. Stricter than `int(…, 16)`, or one name had many texts.
_BYTE: Final = re.compile("[89a-f][0-9a-f]")


def to_text(name: str) -> str:
    """Path text for a name as Python's `os` gives it (undecodable bytes as lone surrogates)."""
    if name.isascii():
        return name
    if _MARK not in name:
        try:
            name.encode()
        except UnicodeEncodeError:
            pass
        else:
            return name
    return "".join(_escaped(character) for character in name)


def _escaped(character: str) -> str:
    if character == _MARK:
        return _MARK * 2
    if "\udc80" <= character <= "\udcff":
        return f"{_MARK}{ord(character) - 0xDC00:02x}"
    return character


def to_os(text: str) -> str:
    """The inverse of `to_text`: a name to hand to `os` calls. ValueError for any other text."""
    if _MARK not in text:
        return text
    out: list[str] = []
    at = 0
    while at < len(text):
        if text[at] != _MARK:
            out.append(text[at])
            at += 1
        elif text[at + 1 : at + 2] == _MARK:
            out.append(_MARK)
            at += 2
        else:
            digits = text[at + 1 : at + 3]
            if not _BYTE.fullmatch(digits):
                raise ValueError(f"not a path text: {text!r}")
            out.append(chr(0xDC00 + int(digits, 16)))
            at += 3
    name = "".join(out)
    if to_text(os.fsdecode(os.fsencode(name))) != text:
        # Escaped bytes that are valid UTF-8 together are another spelling of a readable name.
        raise ValueError(f"not a path text: {text!r}")
    return name


def to_bytes(text: str) -> bytes:
    """The exact bytes of the name on disk."""
    return os.fsencode(to_os(text))


def join(parent: str, name: str) -> str:
    """`parent/name`, where the parent may be the root."""
    return f"{parent}{name}" if parent.endswith("/") else f"{parent}/{name}"


def split(path: str) -> tuple[str, str]:
    """Parent and last name of an absolute path text."""
    parent, _, name = path.rpartition("/")
    return parent or "/", name
