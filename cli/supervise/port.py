"""The ports of what `up` starts: the event log and the gateway."""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
from typing import TYPE_CHECKING, Final

from events.errors import Permanent

if TYPE_CHECKING:
    from pathlib import Path

USUAL: Final = 4222
HOST: Final = "127.0.0.1"
_TRIED: Final = 1000


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        # As nats-server does: a port with connections in TIME_WAIT only is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def choose(asked: int | None, url_file: Path, usual: int = USUAL) -> int:
    """The port that was asked for, else the one of last time, else the first free one from `usual`.

    Never one of the range that the kernel gives to clients: a client that looks for a dead server
    there may be given that very port, and then talks to itself.
    """
    if asked is not None:
        if not is_free(asked):
            raise Permanent(
                f"port {asked} is taken by another program; leave out --port to use a free one"
            )
        return asked
    last = of_url(url_file)
    for port in itertools.chain([last] if last else [], range(usual, usual + _TRIED)):
        if is_free(port):
            return port
    raise Permanent(f"the ports {usual} to {usual + _TRIED - 1} are all taken; choose one: --port")


def of_url(url_file: Path) -> int | None:
    """The port in the file that clients read the server's address from."""
    try:
        match = re.search(r":(\d+)\s*$", url_file.read_text())
    except OSError:
        return None
    return int(match[1]) if match else None


async def answers(host: str, port: int, limit: float = 1.0) -> bool:
    """Whether a NATS server greets on the port. It does so only when JetStream is ready too."""
    try:
        async with asyncio.timeout(limit):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return (await reader.readline()).startswith(b"INFO ")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
