"""What runs: the supervisor, its sockets, the event log and its streams."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from shlex import quote
from typing import TYPE_CHECKING, Final

from cli.checks.finding import Finding, fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from events.connection import Connection
    from events.machine.places import Places

_DRIFT_S: Final = 2.0


def supervisor(places: Places) -> Iterator[Finding]:
    from cli.supervise.lock import holder

    pid = holder(places.state / "up.lock")
    if pid is not None:
        yield ok("up", f"runs with pid {pid}")
    else:
        yield from _port(places)
    yield from asyncio.run(_sockets(places))


def _port(places: Places) -> Iterator[Finding]:
    """Which port the event log would get now."""
    from cli.supervise import port

    last = port.of_url(places.nats / "url") or port.USUAL
    if port.is_free(last):
        yield ok("port", f"{last} is free for the event log")
    else:
        yield warn(
            "port",
            f"{last} is taken by another program; `mosaicfs up` will use a free one",
            f"find out which: ss -ltnp 'sport = :{last}'",
        )


async def _sockets(places: Places) -> list[Finding]:
    """Sockets that nobody answers on. Every start replaces its own, so they only confuse."""
    from events.errors import MosaicError
    from events.machine import control

    found: list[Finding] = []
    for path in sorted(places.run.glob("*.sock")):
        try:
            await control.ask(path, {"do": "status"}, limit=3.0)
        except control.NotRunning:
            mend = f"rm {quote(str(path))}"
            found.append(warn("sockets", f"nothing answers on {path}", mend))
        except MosaicError as wrong:
            found.append(warn("sockets", f"{path}: {wrong}", "mosaicfs status"))
        else:
            found.append(ok("sockets", f"{path.stem} answers"))
    return found


def event_log(places: Places) -> Iterator[Finding]:
    yield from asyncio.run(_event_log(places))


async def _event_log(places: Places) -> list[Finding]:
    from cli.log_server import log_server
    from cli.supervise.lock import holder
    from events.connection import server_url
    from events.errors import Misconfigured, MosaicError

    try:
        async with log_server(places) as connection:
            found = [ok("event log", f"answers at {server_url(places)}")]
            return found + await _streams(connection)
    except Misconfigured:
        return [ok("event log", "none yet; `mosaicfs up` starts it")]
    except MosaicError as wrong:
        if holder(places.state / "up.lock") is None:
            return [ok("event log", "does not run; `mosaicfs up` starts it")]
        return [fail("event log", str(wrong), f"look into {places.logs / 'nats.log'}")]


async def _streams(connection: Connection) -> list[Finding]:
    from events.connection import ApiError
    from events.streams import STREAMS, compare

    found: list[Finding] = []
    apart = 0.0
    for stream in STREAMS:
        asked = time.time()
        try:
            info = await connection.api(f"STREAM.INFO.{stream.name}")
        except ApiError as wrong:
            mend = "mosaicfs up: the projector makes it"
            found.append(fail("streams", f"{stream.name}: {wrong}", mend))
            continue
        for drift in compare(stream.config(1), info["config"]):
            mend = f"nats stream edit {stream.name}, or keep it if it is meant so"
            found.append(warn("streams", f"changed by hand: {drift}", mend))
        if "ts" in info:
            there = datetime.fromisoformat(info["ts"]).timestamp()
            apart = max(apart, there - time.time(), asked - there)
    if not found:
        found.append(ok("streams", f"{len(STREAMS)} streams, all as declared"))
    if apart > _DRIFT_S:
        mend = "sudo timedatectl set-ntp true, on both machines"
        text = f"this clock and the event log's are {apart:.0f} s apart"
        found.append(warn("clock", text, mend))
    return found
