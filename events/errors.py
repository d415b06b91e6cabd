"""The errors of the log, split into those that pass and those that do not.

`Temporary` means: the same call may succeed later, unchanged. `Permanent` means: it will not.
HTTP codes and errnos appear only at the edges that speak them.
"""

from __future__ import annotations


class MosaicError(Exception):
    """Root of every error that MosaicFS raises on purpose; its text is fit for a person."""


class Permanent(MosaicError):
    """Trying again unchanged cannot help."""


class Temporary(MosaicError):
    """The other side is away, busy or full; trying again later can help."""


class Poison(Permanent):
    """A message on a stream that cannot be understood. It is dead-lettered, never retried."""


class Refused(Permanent):
    """A command that the present state does not allow. `code` is stable and machine-readable."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Conflict(Refused):
    """Somebody else changed the document first; read it again and decide anew."""

    def __init__(self, reason: str) -> None:
        super().__init__("conflict", reason)


class LogUnavailable(Temporary):
    """The event log cannot be reached or did not confirm in time."""


class LogRejected(Permanent):
    """The server understood the message and will not store it (rights, size, no such stream)."""


class Misconfigured(Permanent):
    """A setting is wrong; the text names the file, the key and the mend."""
