"""Moments as the log writes them: ISO 8601, UTC, milliseconds, always the same width.

Equal width makes text order equal time order, so moments compare as strings everywhere.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NewType

Moment = NewType("Moment", str)


def moment(unix_ms: int) -> Moment:
    """The moment for milliseconds since the epoch, which may be negative."""
    seconds, ms = divmod(unix_ms, 1000)
    return Moment(f"{_second(seconds)}.{ms:03d}Z")


def _second(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").zfill(19)
    except (OverflowError, OSError, ValueError):
        # A disk may hold any 64-bit number as a time; years outside 1 to 9999 have no ISO form.
        return "0001-01-01T00:00:00" if seconds < 0 else "9999-12-31T23:59:59"


def unix_ms(text: str) -> int:
    """The inverse of `moment`; raises ValueError for anything else."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)
