"""The processes of one machine: how each is started and asked."""

from __future__ import annotations

import secrets
import sys
from typing import TYPE_CHECKING, Any

from cli.supervise import instance, port
from cli.supervise.child import Spec
from events.errors import MosaicError
from events.machine import control

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.options import Options
    from events.machine.places import Places

# The agent says goodbye on the log, the projector finishes a batch, the server writes its state.
# The gateway finishes what it is answering.
_GRACE_S = {"nats": 10.0, "projector": 5.0, "agent": 5.0, "gateway": 10.0}
_GATEWAY_PORT = 8443


class Server:
    """The embedded event log: its port, which may still change until it has answered once."""

    def __init__(self, places: Places, node: str, asked_port: int | None) -> None:
        self._places = places
        self._node = node
        self._asked = asked_port
        self._settled = False
        self.port = port.choose(asked_port, places.nats / "url")
        self.url = instance.write_url(places, self.port)

    def spec(self) -> Spec:
        return Spec(
            "nats",
            instance.server_command(self._places),
            self._environment,
            self._ask,
            _GRACE_S["nats"],
        )

    def _environment(self) -> dict[str, str]:
        # Another program can take the port between our choice and the server's start. Once others
        # know the address it stays: they would not learn of a new one.
        if not self._settled and not port.is_free(self.port):
            self.port = port.choose(self._asked, self._places.nats / "url")
            self.url = instance.write_url(self._places, self.port)
        return instance.server_environment(self._places, self._node, self.port)

    async def _ask(self) -> dict[str, Any] | None:
        if await port.answers(port.HOST, self.port):
            self._settled = True
            return {}
        return None


class Gateway:
    """The gateway of this machine: where it listens, and how somebody gets in the first time."""

    def __init__(self, places: Places) -> None:
        from gateway import config

        settings = config.load(places)
        folder = places.state / "gateway"
        folder.mkdir(mode=0o700, exist_ok=True)
        self.port = settings.port
        if settings.port == _GATEWAY_PORT:
            # Nobody chose it, so another instance on this machine may have it.
            self.port = port.choose(None, folder / "url", _GATEWAY_PORT)
        self.url = f"https://{port.HOST}:{self.port}"
        instance.write(folder / "url", self.url + "\n")
        self.password = places.keys / "admin-password"
        if not self.password.exists():
            instance.write(self.password, secrets.token_urlsafe(15) + "\n")

    def arguments(self) -> list[str]:
        return ["--port", str(self.port), "--admin-password-file", str(self.password)]


def specs(options: Options, places: Places, server: Server, gateway: Gateway) -> list[Spec]:
    """In the order of starting; stopping goes the other way."""
    return [
        server.spec(),
        _own("projector", options, places),
        _own("gateway", options, places, gateway.arguments()),
        _own("agent", options, places),
    ]


def _own(name: str, options: Options, places: Places, arguments: Sequence[str] = ()) -> Spec:
    async def ask() -> dict[str, Any] | None:
        try:
            return await control.ask(places.socket(name), {"do": "status"}, limit=2.0)
        except MosaicError:
            return None

    def environment() -> dict[str, str]:
        # Emptied: an address for another server must not lead astray, and the file tells where this
        # one is, also after it had to move to another port.
        return {"MOSAICFS_NATS_URL": ""}

    command = [sys.executable, "-P", "-m", "cli", name, *options.again(), *arguments]
    command += ["--log-file", str(places.logs / f"{name}.log")]
    if options.verbose:
        command.append("--verbose")
    return Spec(name, command, environment, ask, _GRACE_S[name])
