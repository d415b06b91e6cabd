"""Moments as the log writes them: ISO 8601, UTC, milliseconds, always the same width.

Equal width makes text order equal time order, so moments compare as strings everywhere.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, NewType

Moment = NewType("Moment", str)

# Years 1 to 9999. A disk may hold any 64-bit number as a time, the rest has no ISO form.
FIRST_MS: Final = -62_135_596_800_000
LAST_MS: Final = 253_402_300_799_999

PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z\Z"
_FORM: Final = re.compile(PATTERN)


def moment(unix_ms: int) -> Moment:
    """The moment for milliseconds since the epoch, which may be negative.

    A time without an ISO form becomes the first or the last one that has.
    """
    seconds, ms = divmod(min(max(unix_ms, FIRST_MS), LAST_MS), 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    # The year is not padded on every platform.
    return Moment(f"{text.zfill(19)}.{ms:03d}Z")


def unix_ms(text: str) -> int:
    """The inverse of `moment`; raises ValueError for anything else."""
    if not _FORM.match(text):
        raise ValueError(f"not a moment: {text!r}")
    return round(datetime.fromisoformat(text).timestamp() * 1000)
