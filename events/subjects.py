"""The subject grammar, in both directions.

A subject is `mosaic.<area>.<token>…`. Tokens are ids and words, never user paths. An id that holds
a character with a meaning to NATS is escaped per character as `=XX` (hex of the UTF-8 byte), so
that `parse(build(address)) == address` for every address.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from events.errors import Poison

ROOT: Final = "mosaic"

# area -> number of tokens behind it, and what they mean.
GRAMMAR: Final[dict[str, tuple[str, ...]]] = {
    "files": ("node", "event"),
    "catalog": ("kind", "id"),
    "annotations": ("node", "plugin"),
    "replicas": ("node", "target"),
    "access": ("node",),
    "nodes": ("node", "event"),
    "utilization": ("node",),
    "notices": ("source", "condition"),
    "audit": ("area",),
}

_SAFE: Final = re.compile(r"[A-Za-z0-9_:@+-]+")
_TOKEN: Final = re.compile(r"(?:[A-Za-z0-9_:@+-]|=[0-9A-F]{2})+")


class Address(NamedTuple):
    """Where an event stands: the area, and its tokens in the order of the grammar."""

    area: str
    tokens: tuple[str, ...]

    def token(self, name: str) -> str:
        """The token that the grammar calls `name`."""
        return self.tokens[GRAMMAR[self.area].index(name)]


def escape(token: str) -> str:
    """One subject token that stands for the text, whatever it holds."""
    if not token:
        raise ValueError("a subject token cannot be empty")
    if _SAFE.fullmatch(token):
        return token
    return "".join(
        chr(byte) if _SAFE.fullmatch(chr(byte)) else f"={byte:02X}" for byte in token.encode()
    )


def unescape(token: str) -> str:
    """The inverse of `escape`; refuses what `escape` cannot have written."""
    if not _TOKEN.fullmatch(token):
        raise Poison(f"not a subject token: {token!r}")
    if "=" not in token:
        return token
    raw = re.sub(rb"=([0-9A-F]{2})", lambda match: bytes.fromhex(match[1].decode()), token.encode())
    text = raw.decode(errors="replace")
    # One address has one subject, or the server would keep two last messages for it.
    if escape(text) != token:
        raise Poison(f"not a subject token: {token!r}")
    return text


def build(area: str, *tokens: str) -> str:
    """The subject for an area and its tokens, checked against the grammar."""
    if len(tokens) != len(GRAMMAR[area]):
        raise ValueError(f"{area} takes {GRAMMAR[area]}, got {tokens!r}")
    return ".".join((ROOT, area, *map(escape, tokens)))


def parse(subject: str) -> Address:
    """The address that a subject stands for; raises Poison for a subject outside the grammar."""
    root, _, rest = subject.partition(".")
    area, *tokens = rest.split(".")
    if root != ROOT or area not in GRAMMAR or len(tokens) != len(GRAMMAR[area]):
        raise Poison(f"no such subject in the grammar: {subject!r}")
    return Address(area, tuple(map(unescape, tokens)))
