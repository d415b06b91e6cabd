"""The control socket of a process: one JSON line asks, JSON lines answer.

Each MosaicFS process serves one Unix socket in the run folder (mode 0600, owner only). `status` and
`log` are understood by all; a process adds its own verbs. A verb returns one answer, or an async
iterator of answers that lasts until the client goes away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
)
from typing import TYPE_CHECKING, Any, Final

import msgspec

from events.errors import MosaicError, Permanent, Temporary
from events.machine import log

if TYPE_CHECKING:
    from pathlib import Path

Answer = Mapping[str, Any]
Verb = Callable[[dict[str, Any]], Awaitable[Answer | AsyncIterator[Answer]]]

_LINE_LIMIT: Final = 1024 * 1024
# sockaddr_un holds 108 bytes, with the final NUL.
_PATH_LIMIT: Final = 107

_logger = logging.getLogger(__name__)


class NotRunning(Temporary):
    """No process answers on the socket."""


@contextlib.contextmanager
def short(path: Path) -> Iterator[str]:
    """A name for the socket that fits the kernel's limit, however deep its folder is."""
    if len(os.fsencode(path)) <= _PATH_LIMIT:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class Control:
    """Serves the control socket for as long as `serve` runs."""

    def __init__(self, path: Path, status: Callable[[], Answer], verbs: Mapping[str, Verb]) -> None:
        self._path = path
        self._status = status
        self._verbs: dict[str, Verb] = {"status": self._tell, "log": self._set_level, **verbs}

    async def serve(self, ready: Callable[[], None] | None = None) -> None:
        """Serve until cancelled; the socket is gone afterwards."""
        self._path.unlink(missing_ok=True)
        clients: set[asyncio.Task[None]] = set()

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            clients.add(task)
            try:
                await self._converse(reader, writer)
            except asyncio.CancelledError:
                # Only `serve` cancels a client, and only when it ends itself; asyncio would report
                # the cancelled callback as an error.
                _logger.debug("a client of the control socket was cut off")
            finally:
                clients.discard(task)

        with short(self._path) as name:
            server = await asyncio.start_unix_server(client, name, limit=_LINE_LIMIT)
        self._path.chmod(0o600)
        try:
            if ready is not None:
                ready()
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
            for task in clients:
                task.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
            self._path.unlink(missing_ok=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                # Closed at once when the client leaves in the middle, not when memory is tidied up.
                async with contextlib.aclosing(self._answers(line)) as answers:
                    async for answer in answers:
                        writer.write(answer + b"\n")
                        await writer.drain()
        except (ConnectionError, ValueError):
            # The client left, or sent a line beyond the limit; either way the talk is over.
            pass
        finally:
            writer.close()

    async def _answers(self, line: bytes) -> AsyncGenerator[bytes, None]:
        try:
            question = msgspec.json.decode(line, type=dict[str, Any])
            verb = self._verbs.get(str(question.get("do")))
            if verb is None:
                raise Permanent(f"no such verb: {question.get('do')!r}")
            answer = await verb(question)
            if isinstance(answer, Mapping):
                yield msgspec.json.encode(answer)
                return
            try:
                async for each in answer:
                    yield msgspec.json.encode(each)
            finally:
                if isinstance(answer, AsyncGenerator):
                    await answer.aclose()
        except KeyError as missing:
            yield msgspec.json.encode({"error": f"the question lacks {missing}"})
        except (MosaicError, ValueError, TypeError) as wrong:
            yield msgspec.json.encode({"error": _words(wrong)})

    async def _tell(self, question: dict[str, Any]) -> Answer:
        return {"pid": os.getpid(), **self._status()}

    async def _set_level(self, question: dict[str, Any]) -> Answer:
        log.set_level(str(question["level"]))
        _logger.info("log level changed", extra={"new_level": question["level"]})
        return {"level": question["level"]}


def _words(wrong: Exception) -> str:
    """An error's text, fit for JSON: it may quote a name that is not."""
    text = str(wrong) or type(wrong).__name__
    return text.encode(errors="backslashreplace").decode()


async def ask(path: Path, question: Answer, limit: float = 5.0) -> dict[str, Any]:
    """Put one question to a process and return its first answer."""
    try:
        async with asyncio.timeout(limit):
            with short(path) as name:
                reader, writer = await asyncio.open_unix_connection(name, limit=_LINE_LIMIT)
            try:
                writer.write(msgspec.json.encode(question) + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError) as wrong:
        raise NotRunning(f"nothing answers on {path}") from wrong
    if not line:
        raise NotRunning(f"{path} hung up")
    answer = msgspec.json.decode(line, type=dict[str, Any])
    if "error" in answer:
        raise Permanent(str(answer["error"]))
    return answer


async def follow(path: Path, question: Answer) -> AsyncGenerator[dict[str, Any], None]:
    """Put a question that has many answers, and yield them until the process has said all.

    Raises NotRunning when nobody answers, and Permanent with the process's own reason.
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
