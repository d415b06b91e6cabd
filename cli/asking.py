"""Asking a running process for something that takes long: one question, many answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from events.errors import Permanent
from events.machine.control import NotRunning, short

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

_LINE_LIMIT: Final = 16 * 1024 * 1024


async def answers(path: Path, question: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Every answer to one question, until the process has no more.

    Raises NotRunning when nobody answers at all, and Permanent with the process's own reason.
    """
    try:
        with short(path) as name:
            reader, writer = await asyncio.open_unix_connection(name, limit=_LINE_LIMIT)
    except OSError as wrong:
        raise NotRunning(f"nothing answers on {path}") from wrong
    try:
        writer.write(msgspec.json.encode(question) + b"\n")
        # No second question will come, so the process hangs up after its last answer.
        writer.write_eof()
        while line := await reader.readline():
            answer = msgspec.json.decode(line, type=dict[str, Any])
            if "error" in answer:
                raise Permanent(str(answer["error"]))
            yield answer
    except ConnectionError as wrong:
        raise NotRunning(f"{path} hung up in the middle") from wrong
    finally:
        writer.close()
