"""`seq` as clients see it: a position in the log, not in one view.

A token is a number that only grows (the sum of the stream sequences, which is what CouchDB clients
parse), a dash, and the vector itself with the position inside a half-read message. Every view of
the same log understands it, so a client may go on at another gateway, or after a rebuild.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class Position(NamedTuple):
    """Everything up to `sequence` was given, and of the next message the first `within` changes."""

    sequence: int
    within: int = 0


Vector = dict[str, Position]


# What SQLite can hold, and what no gateway's token comes near to.
_HIGHEST: Final = 2**63 - 1
_LONGEST: Final = 4096

# Without bounds in the type: msgspec 0.22 crashes on a union of a bounded int and a tuple.
_plain = msgspec.json.Decoder(dict[str, int | tuple[int, int]])


class BadToken(ValueError):
    """Not a token that any gateway has given out."""


def encode(vector: Mapping[str, Position]) -> str:
    """The token for a vector."""
    plain = {
        stream: [position.sequence, position.within] if position.within else position.sequence
        for stream, position in sorted(vector.items())
        if position != Position(0)
    }
    total = sum(position.sequence for position in vector.values())
    packed = base64.urlsafe_b64encode(zlib.compress(msgspec.json.encode(plain), 9)).rstrip(b"=")
    return f"{total}-{packed.decode()}"


def decode(token: str) -> Vector:
    """The vector of a token.

    A bare number cannot say where in which stream it stands, so it means the beginning: a client
    that kept only the number sees changes again rather than missing one.
    """
    token = token.strip().strip('"')
    number, _, packed = token.partition("-")
    if not number.isdecimal():
        raise BadToken(f"not a sequence token: {token!r}")
    if not packed:
        return {}
    try:
        raw = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        packing = zlib.decompressobj()
        text = packing.decompress(raw, _LONGEST)
        if not packing.eof or packing.unused_data:
            raise BadToken(f"not a sequence token: {token!r}")
        vector = {
            stream: Position(at) if isinstance(at, int) else Position(*at)
            for stream, at in _plain.decode(text).items()
        }
    except (binascii.Error, zlib.error, msgspec.DecodeError, ValueError) as wrong:
        raise BadToken(f"not a sequence token: {token!r}") from wrong
    if not all(0 <= part <= _HIGHEST for at in vector.values() for part in at):
        raise BadToken(f"not a sequence token: {token!r}")
    return vector
