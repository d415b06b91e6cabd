"""What can be wrong with a request. HTTP codes are given in `gateway.problems` only."""

from __future__ import annotations

from events.errors import Permanent, Temporary


class Unauthenticated(Permanent):
    """No valid proof of who asks. The text never tells which part was wrong."""


class Forbidden(Permanent):
    """Known, and not allowed."""


class NotFound(Permanent):
    """There is no such thing."""


class BadRequest(Permanent):
    """The request cannot be understood. `code` is stable and machine-readable."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Invalid(BadRequest):
    """The request is understood, and a value in it is not acceptable."""

    def __init__(self, reason: str) -> None:
        super().__init__("invalid", reason)


class TooLarge(Permanent):
    """The request's body is over the limit."""


class WrongMedia(Permanent):
    """The request's body is not of a type that is understood."""


class TooManyAttempts(Temporary):
    """Too many logins from one address; `retry_after` in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("too many attempts to log in; wait a minute")
        self.retry_after = retry_after
