"""Values as people read them: sizes, spans, moments, counts, and names that may be hostile."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Final

# C0, DEL and C1 move a terminal's cursor or reprogram it; the line and paragraph separators break a
# row; the direction marks make a name read as another. All of them are legal in a file name.
_HOSTILE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\e"}
_UNITS: Final = ("kB", "MB", "GB", "TB", "PB", "EB")


def safe(text: str) -> str:
    """The text on one line, with nothing in it that a terminal would obey.

    A backslash stays as it is: this form is for reading. The exact name is in the JSON output.
    """
    return _HOSTILE.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def size(count: int) -> str:
    """A size in bytes, with three digits at least and a decimal unit: `999 B`, `1.4 MB`."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in _UNITS:
        value /= 1000
        # What would be rounded up to four digits belongs to the next unit.
        if value < 999.5 or unit == _UNITS[-1]:
            return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"
    raise AssertionError


def number(count: int) -> str:
    """A count with thousands apart: `12,345`."""
    return f"{count:,}"


def span(seconds: float) -> str:
    """A length of time in its two largest units: `4 s`, `3 m 20 s`, `2 d 5 h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    parts = [
        (whole // 86_400, "d"),
        (whole // 3600 % 24, "h"),
        (whole // 60 % 60, "m"),
        (whole % 60, "s"),
    ]
    while parts[0][0] == 0:
        parts.pop(0)
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def local(ns: int) -> str:
    """Nanoseconds since the epoch as this machine's clock on the wall would show it.

    A disk may hold any number as a time; one that no calendar has is shown as the number.
    """
    seconds = ns // 1_000_000_000
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return f"{seconds} s"


def iso(ns: int) -> str:
    """Nanoseconds since the epoch in the form that the log uses."""
    from events.clock import moment

    return moment(ns // 1_000_000)


def since(text: str, now: float) -> int:
    """Nanoseconds since the epoch for `10m`, `2h`, `3d` ago, or for an ISO moment or date.

    Without a zone a moment is meant as the wall clock shows it. Raises ValueError.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if match:
        unit = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[match[2]]
        return int((now - float(match[1]) * unit) * 1_000_000_000)
    moment = datetime.fromisoformat(text.strip())
    if moment.tzinfo is None:
        moment = moment.astimezone()
    return round(moment.astimezone(UTC).timestamp() * 1_000_000_000)
