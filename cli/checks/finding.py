"""What a check found."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """One fact about this machine. `mend` is the exact command or edit that makes it ok.

    `fail` means that MosaicFS cannot do its work, `warn` that a part is slower or missing.
    """

    check: str
    state: State
    detail: str
    mend: str = ""


def ok(check: str, detail: str) -> Finding:
    return Finding(check, "ok", detail)


def warn(check: str, detail: str, mend: str) -> Finding:
    return Finding(check, "warn", detail, mend)


def fail(check: str, detail: str, mend: str) -> Finding:
    return Finding(check, "fail", detail, mend)
