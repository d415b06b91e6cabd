"""Structured logs: readable lines on a terminal, JSON in rotated files as a service.

Fields are given as `extra={"node_id": …}`; `node_id`, `file_id`, `operation`, `duration_ms` and
`error` have the same meaning everywhere. The level can be changed while the process runs.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
from typing import TYPE_CHECKING, Final

import msgspec

from events.moments import moment

if TYPE_CHECKING:
    from pathlib import Path

ROTATE_BYTES: Final = 50 * 1024 * 1024
ROTATE_FILES: Final = 5
_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def fields(record: logging.LogRecord) -> dict[str, object]:
    """What the caller gave as `extra`."""
    return {key: value for key, value in vars(record).items() if key not in _PLAIN}


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": moment(int(record.created * 1000)),
            "level": record.levelname,
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        # A field may not pass itself off as what the log says of every line.
        line |= {key: value for key, value in fields(record).items() if key not in line}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        try:
            return msgspec.json.encode(line, enc_hook=str).decode()
        except (ValueError, TypeError, RecursionError):
            # A name from a disk may hold lone surrogates, and a field anything at all.
            return msgspec.json.encode(
                {key: _encodable(value) for key, value in line.items()}
            ).decode()


def _encodable(value: object) -> str | int | float:
    if isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else repr(value)
    return text.encode(errors="backslashreplace").decode()


class Readable(logging.Formatter):
    """One line for a person: time, level, process, message, then the fields."""

    def __init__(self, process: str) -> None:
        super().__init__("%(asctime)s %(levelname)-7s " + process + "  %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        extra = " ".join(f"{key}={value}" for key, value in fields(record).items())
        return f"{line}  {extra}" if extra else line


def set_up(process: str, *, file: Path | None, level: str = "INFO") -> None:
    """Send this process's log to a rotated JSON file, or to stderr when there is none."""
    handler: logging.Handler
    if file is None:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Readable(process))
    else:
        handler = logging.handlers.RotatingFileHandler(
            file,
            maxBytes=ROTATE_BYTES,
            backupCount=ROTATE_FILES - 1,
            encoding="utf-8",
            errors="backslashreplace",
        )
        handler.setFormatter(JsonLines(process))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        if isinstance(old, logging.handlers.RotatingFileHandler):
            old.close()
    root.addHandler(handler)
    set_level(level)
    # nats-py repeats each failed attempt to connect with a traceback; the connection module tells
    # it once, in one line.
    logging.getLogger("nats").setLevel(logging.CRITICAL)


def set_level(level: str) -> None:
    """Change the level of every logger of this process, now."""
    logging.getLogger().setLevel(level.upper())
