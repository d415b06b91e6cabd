"""Letters without their case, exactly as the name index takes them.

Search has two ways, over the index and past it, and both must find the same names. The index folds
case by the tables of SQLite, one letter to one letter; this does the same with Python's tables,
less the letters that Unicode has added since.
"""

from __future__ import annotations

import functools
from typing import Final

# First and last of what SQLite's tables do not have: newer letters of Cherokee, Cyrillic,
# Georgian, Latin and several historic scripts. They are found as they are written.
_UNKNOWN: Final = (
    *((0x37F, 0x37F), (0x528, 0x52F), (0x13F8, 0x13FD), (0x1C80, 0x1CBF), (0x2C2F, 0x2C2F)),
    *((0xA698, 0xA69B), (0xA796, 0xA79F), (0xA7AB, 0xA7FF), (0xAB70, 0xABBF)),
    *((0x10428, 0x10FFFF),),
)


def _simple(letter: str) -> str:
    """Simple case folding: a letter for a letter, where full folding would make two of one."""
    folded = letter.casefold()
    if len(folded) == 1:
        return folded
    lower = letter.lower()
    return lower if len(lower) == 1 else letter


@functools.cache
def _table() -> dict[int, str]:
    table = {}
    for code in range(_UNKNOWN[-1][0]):
        letter = chr(code)
        folded = _simple(letter)
        if folded != letter and not any(low <= code <= high for low, high in _UNKNOWN):
            table[code] = folded
    return table


def fold(text: str) -> str:
    """The text without case."""
    return text.lower() if text.isascii() else text.translate(_table())
