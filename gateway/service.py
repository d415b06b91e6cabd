"""The gateway process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec

from events import connection
from events.errors import Misconfigured, MosaicError
from events.machine.control import Answer, Control
from events.machine.process import resident_bytes
from events.retry import Backoff
from gateway import app, certificates, config, context, server
from gateway.errors import Invalid
from gateway.people import ADMIN

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from events.connection import Connection
    from events.machine.places import Places
    from gateway.certificates import Files
    from gateway.config import GatewayConfig
    from gateway.context import Context
    from gateway.server import Listener

_logger = logging.getLogger(__name__)

_LOOK_AT_CERTIFICATE_S: Final = 6 * 3600.0
_LOOPBACK: Final = "127.0.0.1"
PASSWORD: Final = "MOSAICFS_ADMIN_PASSWORD"


def _print(text: str) -> None:
    """To the person who started this, at once, even when a pipe is read by another program."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Service:
    """One gateway process."""

    def __init__(
        self,
        places: Places,
        settings: GatewayConfig,
        *,
        admin_password: str | None = None,
        say: Callable[[str], None] = _print,
    ) -> None:
        self._places = places
        self._config = settings
        self._password = admin_password
        self._say = say
        self._state = "starting"
        self._detail = ""
        self._files: Files | None = None
        self._listeners: list[Listener] = []
        self.context: Context | None = None
        self.control = Control(places.socket("gateway"), self.status, {})

    async def run(self) -> None:
        """Serve until cancelled."""
        # What can be wrong with the settings is found before anything waits for anything.
        self._files = certificates.prepare(self._places, self._config)
        tls = certificates.context(self._files)
        sockets = [server.bind(self._config.host, self._config.port)]
        if self._config.http_loopback is not None:
            sockets.append(server.bind(_LOOPBACK, self._config.http_loopback))
        # It tells each start, stop and malformed request; what matters of it is told here.
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        server.allow_many_files(2 * self._config.max_connections + 256)
        with contextlib.ExitStack() as close:
            for each in sockets:
                close.callback(each.close)
            async with asyncio.TaskGroup() as tasks:
                controlling = tasks.create_task(self.control.serve())
                try:
                    log = await self._connect()
                    try:
                        await self._serve(log, sockets, tls)
                    finally:
                        # A connection that is lost at this moment needs no goodbye.
                        with contextlib.suppress(ConnectionError):
                            await log.close()
                finally:
                    controlling.cancel()

    async def _connect(self) -> Connection:
        self._state = "waiting for the event log"
        return await connection.connect(
            connection.server_url(self._places),
            name="gateway",
            seed=connection.seed_of(self._places, "control"),
        )

    async def _serve(
        self, log: Connection, sockets: list[socket.socket], tls: ssl.SSLContext
    ) -> None:
        made = self.context = context.build(self._places, self._config, log)
        try:
            application = app.build(made)
            self._listeners = [
                server.Listener(
                    application, self._config, sock, tls if number == 0 else None, made.stopping
                )
                for number, sock in enumerate(sockets)
            ]
            async with asyncio.TaskGroup() as tasks:
                chores = [
                    tasks.create_task(made.feed.run(), name="feed"),
                    tasks.create_task(self._tend(tls), name="certificate"),
                ]
                first = tasks.create_task(self._first_account(made), name="first account")
                chores.append(first)
                try:
                    # The listeners end first, so that what they answer still has its feed.
                    async with asyncio.TaskGroup() as serving:
                        for listener in self._listeners:
                            serving.create_task(listener.serve())
                        serving.create_task(self._become_live(first))
                finally:
                    self._state = "stopping"
                    for chore in chores:
                        chore.cancel()
        finally:
            made.close()

    async def _become_live(self, first: asyncio.Task[None]) -> None:
        """Live is when somebody can log in; until then it serves what needs no login."""
        self._state = "waiting for the view"
        await first
        self._state = "live"
        self._tell_where()

    def _tell_where(self) -> None:
        extra: dict[str, object] = {"https": self._listeners[0].port}
        if len(self._listeners) > 1:
            extra["http"] = self._listeners[1].port
        if self._files is not None and self._files.authority is not None:
            extra["authority"] = certificates.fingerprint(self._files.authority)
        _logger.info("the gateway is live", extra=extra)

    async def _tend(self, tls: ssl.SSLContext) -> None:
        """Renew the certificate before it ends, without a restart."""
        while True:
            await asyncio.sleep(_LOOK_AT_CERTIFICATE_S)
            try:
                self._files = await asyncio.to_thread(
                    certificates.prepare, self._places, self._config
                )
                certificates.load(tls, self._files)
            except (MosaicError, OSError) as wrong:
                self._detail = f"the certificate cannot be renewed: {wrong}"
                _logger.error("%s", self._detail)
            else:
                self._detail = ""

    async def _first_account(self, made: Context) -> None:
        """Make the admin account on a log that has no account yet."""
        backoff = Backoff(first=0.2, cap=5.0)
        while True:
            try:
                password = await made.people.ensure_admin(self._password)
            except Invalid as wrong:
                raise Misconfigured(f"the admin password: {wrong}") from wrong
            except MosaicError as wrong:
                _logger.info("the first account has to wait: %s", wrong)
                await asyncio.sleep(backoff.next())
            else:
                if password is not None:
                    self._say(f"The password of {ADMIN} is {password} and is shown only now.")
                return

    def status(self) -> Answer:
        """How the gateway is doing, for `mosaicfs status`."""
        made = self.context
        state, detail = self._state, self._detail
        if made is not None and state == "live":
            if not made.log.connected:
                state, detail = "degraded", "the event log is away"
            elif not made.feed.connected:
                state, detail = "degraded", "the projector is away"
        ports = [listener.port for listener in self._listeners]
        files = self._files
        return {
            "state": state,
            "detail": detail,
            "https": ports[0] if ports else None,
            "http": ports[1] if len(ports) > 1 else None,
            "connections": sum(listener.connections for listener in self._listeners),
            "requests": made.metrics.requests if made else 0,
            "authority": str(files.authority) if files and files.authority else None,
            "certificate_until": certificates.expires(files.certificate).isoformat()
            if files
            else None,
            "rss": resident_bytes(),
        }


def admin_password(file: Path | None) -> str | None:
    """The password for the first account: from a file, or from the environment."""
    if file is None:
        return os.environ.get(PASSWORD) or None
    try:
        # The line's end belongs to the file, everything else to the password.
        return file.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as wrong:
        raise Misconfigured(f"cannot read the admin password from {file}: {wrong}") from wrong


def runner(
    *,
    port: int | None = None,
    http_loopback: int | None = None,
    admin_password_file: Path | None = None,
) -> Callable[[Places], Coroutine[Any, Any, None]]:
    """The service for `cli.foreground`, with what the command line says."""

    async def run(places: Places) -> None:
        settings = config.load(places)
        if port is not None:
            settings = msgspec.structs.replace(settings, port=port)
        if http_loopback is not None:
            settings = msgspec.structs.replace(settings, http_loopback=http_loopback)
        await Service(places, settings, admin_password=admin_password(admin_password_file)).run()

    return run
