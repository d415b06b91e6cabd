"""uvicorn as the gateway runs it: own sockets, own signals, and patience that ends.

uvicorn limits how long a connection may idle between requests, but not how long a request may take
to arrive or an answer to be taken. `Patient` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import resource
import socket
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from events.errors import Misconfigured

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from starlette.types import ASGIApp

    from gateway.config import GatewayConfig

_logger = logging.getLogger(__name__)

_BACKLOG: Final = 2048
_KEEP_ALIVE_S: Final = 30
_HEADER_BYTES: Final = 32 * 1024


class Configuration(uvicorn.Config):
    """uvicorn's configuration, and how patient the gateway is."""

    patience: GatewayConfig


class Patient(HttpToolsProtocol):
    """Ends a connection whose headers, body or reading of the answer takes too long."""

    config: Configuration
    _timer: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _in_headers = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm(self.config.patience.header_seconds)

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > max(_HEADER_BYTES, len(data)):
                return self.transport.abort()
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers, self._header_bytes = True, 0
        self._arm(self.config.patience.header_seconds)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._arm(self.config.patience.body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._disarm()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.config.patience.stalled_seconds, self._give_up)

    def resume_writing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, self._give_up)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            _logger.debug("a connection was too slow", extra={"client": str(self.client)})
            self.transport.abort()


class Server(uvicorn.Server):
    """A uvicorn server whose process has its own way with signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """One address on which the application is served."""

    def __init__(
        self,
        app: ASGIApp,
        config: GatewayConfig,
        sock: socket.socket,
        tls: ssl.SSLContext | None,
        stopping: asyncio.Event,
    ) -> None:
        self._stopping = stopping
        self.socket = sock
        self.tls = tls
        options: dict[str, Any] = {
            "http": Patient,
            "ws": "none",
            "lifespan": "off",
            "log_config": None,
            "access_log": False,
            "proxy_headers": False,
            "server_header": False,
            "limit_concurrency": config.max_connections,
            "backlog": _BACKLOG,
            "timeout_keep_alive": _KEEP_ALIVE_S,
            "timeout_graceful_shutdown": config.shutdown_seconds,
        }
        inner = Configuration(app, **options)
        inner.patience = config
        inner.load()
        inner.ssl = tls
        self._server = Server(inner)

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    @property
    def started(self) -> bool:
        return self._server.started

    @property
    def connections(self) -> int:
        return len(self._server.server_state.connections)

    async def serve(self) -> None:
        """Serve until cancelled; requests that run are answered before this returns."""
        serving = asyncio.create_task(self._server.serve([self.socket]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self._stopping.set()
            self._server.should_exit = True
            await serving
            raise


def bind(host: str, port: int) -> socket.socket:
    """A bound socket; an empty host means every address of the machine, IPv6 included."""
    if host:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        return _bound(family, host, port, only_v6=True)
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(Misconfigured):
            return _bound(socket.AF_INET6, "::", port, only_v6=False)
    return _bound(socket.AF_INET, "0.0.0.0", port, only_v6=False)


def _bound(family: socket.AddressFamily, host: str, port: int, *, only_v6: bool) -> socket.socket:
    # With the protocol named: asyncio turns off Nagle's delay only for sockets that say TCP, and an
    # answer whose body is a write of its own would wait 40 ms for it.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only_v6))
        sock.bind((host, port))
    except OSError as wrong:
        sock.close()
        if wrong.errno == errno.EADDRINUSE:
            raise Misconfigured(
                f"port {port} is taken by another program; choose another `port` in gateway.toml"
            ) from None
        raise Misconfigured(f"cannot listen on {host} port {port}: {wrong.strerror}") from wrong
    return sock


def allow_many_files(wanted: int) -> None:
    """Raise the limit of open files as far as this process may, for many waiting clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    aim = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < aim:
        resource.setrlimit(resource.RLIMIT_NOFILE, (aim, hard))
