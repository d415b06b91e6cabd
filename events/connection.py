"""One connection to the log's server, kept up for ever."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import nats
import nats.errors
import nkeys
from nats.aio.client import Client

from events.errors import LogRejected, LogUnavailable, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from nats.aio.msg import Msg

    from events.errors import MosaicError
    from events.machine.places import Places

_logger = logging.getLogger(__name__)

# How long a lost server is looked for between attempts. A server on this machine is back within a
# second after a restart, and a person is waiting.
RECONNECT_WAIT_S: Final = 0.25
API_TIMEOUT_S: Final = 5.0

# The client hands us the server's words in lower case.
_DENIED: Final = re.compile(r'permissions violation for publish to "([^"]*)"')
_UNAVAILABLE: Final = 503

_Answer = TypeVar("_Answer")


class ApiError(LogRejected):
    """JetStream's own no, with its code."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("description", error)))
        self.code = int(error.get("code", 0))
        self.err_code = int(error.get("err_code", 0))


class _LastingClient(Client):
    """nats-py where it gives up or goes deaf, which a process of ours must not.

    It closes for ever on most of what a server says before it hangs up (a key that is withdrawn
    and given back, a slow consumer), and stops reading at a message with bytes that are not UTF-8
    where it wants text, while it takes itself for connected.
    """

    async def _process_err(self, err_msg: str) -> None:
        if "permissions violation" in err_msg:
            await super()._process_err(err_msg)
            return
        wrong = nats.errors.Error(f"nats: {err_msg}")
        await self._error_cb(wrong)
        await self._process_op_err(wrong)

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except BaseException:
            # A server that refuses the key is asked again and again; each time left a socket open.
            if self._transport is not None:
                self._transport.close()  # type: ignore[no-untyped-call]  # nats-py's omission
            raise

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (UnicodeDecodeError, IndexError):
            # Without headers it is a message that nobody can decode, and goes the way of those.
            return None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        # U+FFFD is outside the grammar of subjects, so nothing is mistaken for something else.
        readable = subject.decode(errors="replace").encode()
        message: Msg = super()._build_message(sid, readable, reply, data, headers)
        return message


class Connection:
    """A NATS client that reconnects for ever, and JetStream's API as plain JSON.

    The API is spoken raw: nats-py drops the fields that it does not know when it reads a
    configuration, and a configuration written back without them would lose them.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._back = asyncio.Event()
        self._watchers: dict[asyncio.Future[MosaicError], frozenset[str]] = {}

    @property
    def connected(self) -> bool:
        return self.client.is_connected

    async def available(self) -> None:
        """Wait until the server is there."""
        while not self.connected:
            self._back.clear()
            await self._back.wait()

    @contextlib.contextmanager
    def watch(self, *subjects: str) -> Iterator[asyncio.Future[MosaicError]]:
        """A future that ends with why no answer will come any more.

        That is `LogUnavailable` when the connection is lost, and `LogRejected` when the server
        refuses a publish on one of the subjects, which it tells apart from the request.
        """
        trouble: asyncio.Future[MosaicError] = asyncio.get_running_loop().create_future()
        self._watchers[trouble] = frozenset(subject.lower() for subject in subjects)
        try:
            yield trouble
        finally:
            del self._watchers[trouble]
            trouble.cancel()

    async def answered(self, work: Coroutine[Any, Any, _Answer], *subjects: str) -> _Answer:
        """What the work returns, or the reason why it never will; see `watch`."""
        with self.watch(*subjects) as trouble:
            task = asyncio.create_task(work)
            try:
                await asyncio.wait((task, trouble), return_when=asyncio.FIRST_COMPLETED)
                if not task.done():
                    raise trouble.result()
                return task.result()
            finally:
                if not task.done():
                    task.cancel()
                    await asyncio.wait((task,))

    def _on_lost(self) -> None:
        self._tell(LogUnavailable("the connection to the event log was lost"), None)

    def _on_denied(self, words: str) -> None:
        if denied := _DENIED.search(words):
            subject = denied[1]
            self._tell(LogRejected(f"this key may not publish on {subject}: {words}"), subject)

    def _tell(self, trouble: MosaicError, subject: str | None) -> None:
        for watcher, subjects in self._watchers.items():
            if not watcher.done() and (subject is None or subject in subjects):
                watcher.set_result(trouble)

    async def api(self, verb: str, question: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call `$JS.API.<verb>`."""
        body = json.dumps(question).encode() if question is not None else b""
        try:
            reply = await self.answered(
                self.client.request(f"$JS.API.{verb}", body, timeout=API_TIMEOUT_S)
            )
        except (nats.errors.Error, TimeoutError, ConnectionError) as wrong:
            raise LogUnavailable(f"the event log does not answer ({verb}): {wrong}") from wrong
        answer: dict[str, Any] = json.loads(reply.data)
        if "error" in answer:
            error = ApiError(answer["error"])
            if error.code == _UNAVAILABLE:
                raise LogUnavailable(f"the event log is not ready ({verb}): {error}")
            raise error
        return answer

    async def close(self) -> None:
        """Send what is buffered, then close."""
        try:
            async with asyncio.timeout(2):
                await self.client.drain()
        except (nats.errors.Error, TimeoutError, ConnectionError, OSError):
            # There is nobody left to say good-bye to.
            with contextlib.suppress(nats.errors.Error, OSError):
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
    client = _LastingClient()
    connection = Connection(client)
    refused = False

    async def on_error(wrong: Exception) -> None:
        nonlocal refused
        connection._on_denied(str(wrong).lower())
        if "authorization violation" in str(wrong).lower():
            # Once for each time that it is refused, not for each of four attempts a second.
            if not refused:
                _logger.error("the event log refuses this key", extra={"key": str(seed)})
            refused = True
        else:
            _logger.debug("connection to the event log: %s", wrong)

    async def on_lost() -> None:
        connection._on_lost()
        if client.is_draining or client.is_closed:
            return
        _logger.warning("lost the event log; trying again until it is back")

    async def on_back() -> None:
        nonlocal refused
        refused = False
        connection._back.set()
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
        seed = path.read_bytes().strip()
    except OSError as wrong:
        raise Misconfigured(f"cannot read the key {path}: {wrong.strerror}") from wrong
    _public_key(path, seed)
    return seed.decode()


def _public_key(path: Path, seed: bytes) -> str:
    try:
        return bytes(nkeys.from_seed(bytearray(seed)).public_key).decode()
    except (nkeys.NkeysError, ValueError) as wrong:
        raise Misconfigured(
            f"{path} holds no key: put the right one back, or delete the file to have a new one "
            "made, which the event log then has to be told"
        ) from wrong


def make_seed(path: Path) -> str:
    """The public key for the seed in `path`, which is made when it does not exist."""
    if not path.exists():
        _write_new(path, bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)))
    return _public_key(path, path.read_bytes().strip())


def _write_new(path: Path, content: bytes) -> None:
    """The file with this content, whole or not at all; one that appears meanwhile is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Readable by its owner only from its first moment on.
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()


def server_url(places: Places) -> str:
    """Where the event log is: MOSAICFS_NATS_URL, or what `mosaicfs up` wrote into the state."""
    if given := os.environ.get("MOSAICFS_NATS_URL"):
        return given
    try:
        return (places.nats / "url").read_text().strip()
    except OSError:
        raise Misconfigured(
            f"no event log is known below {places.state}: start `mosaicfs up`, "
            "or set MOSAICFS_NATS_URL to the address of its server"
        ) from None


def seed_of(places: Places, key: str) -> Path | None:
    """The seed file of a key of this machine (`control`, `node`), if it has one."""
    path = places.keys / f"{key}.nk"
    return path if path.exists() else None
