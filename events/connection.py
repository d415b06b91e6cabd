"""One connection to the log's server, kept up for ever."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import TYPE_CHECKING, Any, Final

import nats
import nats.errors
import nkeys
from nats.aio.client import Client

from events.errors import LogRejected, LogUnavailable, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from events.machine.places import Places

_logger = logging.getLogger(__name__)

# How long a lost server is looked for between attempts. A server on this machine is back within a
# second after a restart, and a person is waiting.
RECONNECT_WAIT_S: Final = 0.25
API_TIMEOUT_S: Final = 5.0


class ApiError(LogRejected):
    """JetStream's own no, with its code."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("description", error)))
        self.code = int(error.get("code", 0))
        self.err_code = int(error.get("err_code", 0))


class Connection:
    """A NATS client that reconnects for ever, and JetStream's API as plain JSON.

    The API is spoken raw: nats-py drops the fields that it does not know when it reads a
    configuration, and a configuration written back without them would lose them.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.denied: str | None = None

    @property
    def connected(self) -> bool:
        return self.client.is_connected

    async def api(self, verb: str, question: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call `$JS.API.<verb>`."""
        body = json.dumps(question).encode() if question is not None else b""
        try:
            reply = await self.client.request(f"$JS.API.{verb}", body, timeout=API_TIMEOUT_S)
        except (nats.errors.Error, TimeoutError, ConnectionError) as wrong:
            raise LogUnavailable(f"the event log does not answer ({verb}): {wrong}") from wrong
        answer: dict[str, Any] = json.loads(reply.data)
        if "error" in answer:
            raise ApiError(answer["error"])
        return answer

    async def close(self) -> None:
        """Send what is buffered, then close."""
        try:
            async with asyncio.timeout(2):
                await self.client.drain()
        except (nats.errors.Error, TimeoutError, ConnectionError, OSError):
            await self.client.close()


async def connect(
    url: str,
    *,
    name: str,
    seed: Path | None = None,
    inbox: str = "_INBOX",
    on_reconnect: Callable[[], None] | None = None,
) -> Connection:
    """Connect, waiting for the server for as long as it takes.

    `seed` is the file with this process's nkey seed. `inbox` is the prefix for replies, which a
    node's rights are bound to.
    """
    client = Client()
    connection = Connection(client)

    async def on_error(wrong: Exception) -> None:
        if isinstance(wrong, nats.errors.Error) and "permissions violation" in str(wrong).lower():
            # The server reports a refused publish here only; the publish itself just times out.
            connection.denied = str(wrong)
        if "authorization violation" in str(wrong).lower():
            _logger.error("the event log refuses this key", extra={"key": str(seed)})
        else:
            _logger.debug("connection to the event log: %s", wrong)

    async def on_lost() -> None:
        if client.is_draining or client.is_closed:
            return
        _logger.warning("lost the event log; trying again until it is back")

    async def on_back() -> None:
        _logger.info("the event log is back")
        if on_reconnect is not None:
            on_reconnect()

    await client.connect(
        url,
        name=name,
        nkeys_seed_str=_read_seed(seed) if seed is not None else None,
        inbox_prefix=inbox.encode(),
        max_reconnect_attempts=-1,
        reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # only ever slept on
        connect_timeout=2,
        ping_interval=20,
        max_outstanding_pings=2,
        pending_size=64 * 1024 * 1024,
        error_cb=on_error,
        disconnected_cb=on_lost,
        reconnected_cb=on_back,
    )
    return connection


def _read_seed(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as wrong:
        raise Misconfigured(f"cannot read the key {path}: {wrong.strerror}") from wrong


def make_seed(path: Path) -> str:
    """The public key for the seed in `path`, which is made when it does not exist."""
    if not path.exists():
        text = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(bytes(text))
    pair = nkeys.from_seed(path.read_bytes().strip())
    return bytes(pair.public_key).decode()


def server_url(places: Places) -> str:
    """Where the event log is: MOSAICFS_NATS, or what `mosaicfs up` wrote into the state folder."""
    if given := os.environ.get("MOSAICFS_NATS"):
        return given
    try:
        return (places.nats / "url").read_text().strip()
    except OSError:
        raise Misconfigured(
            f"no event log is known below {places.state}: start `mosaicfs up`, "
            "or set MOSAICFS_NATS to the address of its server"
        ) from None


def seed_of(places: Places, key: str) -> Path | None:
    """The seed file of a key of this machine (`control`, `node`), if it has one."""
    path = places.keys / f"{key}.nk"
    return path if path.exists() else None
