"""The processes of one machine: how each is started and asked."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from cli.supervise import instance, port
from cli.supervise.child import Spec
from events.errors import MosaicError
from events.machine import control

if TYPE_CHECKING:
    from cli.options import Options
    from events.machine.places import Places

# The agent says goodbye on the log, the projector finishes a batch, the server writes its state.
_GRACE_S = {"nats": 10.0, "projector": 5.0, "agent": 5.0}


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


def specs(options: Options, places: Places, server: Server) -> list[Spec]:
    """In the order of starting; stopping goes the other way."""
    own = [_own(name, options, places, server) for name in ("projector", "agent")]
    return [server.spec(), *own]


def _own(name: str, options: Options, places: Places, server: Server) -> Spec:
    async def ask() -> dict[str, Any] | None:
        try:
            return await control.ask(places.socket(name), {"do": "status"}, limit=2.0)
        except MosaicError:
            return None

    def environment() -> dict[str, str]:
        # Emptied: an address for another server must not lead astray, and the file tells where this
        # one is, also after it had to move to another port.
        return {"MOSAICFS_NATS_URL": ""}

    command = [sys.executable, "-P", "-m", "cli", name, *options.again()]
    command += ["--log-file", str(places.logs / f"{name}.log")]
    if options.verbose:
        command.append("--verbose")
    return Spec(name, command, environment, ask, _GRACE_S[name])
