"""`mosaicfs status`: which processes run, and how they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.options import Options, Verb, pass_options

if TYPE_CHECKING:
    from cli.output import Output
    from events.machine.places import Places

PROCESSES = ("nats", "projector", "gateway", "agent")
# A process that calls itself this works, but not as it should.
_UNWELL = frozenset({"degraded", "failed"})


@click.command(cls=Verb, short_help="Show which processes run and how they are.")
@click.option("--process", type=click.Choice(PROCESSES), help="Only this one.")
@pass_options
def verb(options: Options, process: str | None) -> int:
    """Show which processes run and how they are.

    \b
    Exit codes: 0 all is well, 1 something is degraded or missing, 3 nothing runs.
    """
    import asyncio

    from cli import exits
    from cli.output import Output
    from cli.supervise.lock import holder

    out = Output(options)
    places = options.places
    names = [process] if process else list(PROCESSES)
    found = asyncio.run(_ask_all(places, names))
    running = [name for name in names if found[name]["running"]]
    healthy = all(found[name]["healthy"] for name in names)
    if out.json:
        up = holder(places.state / "up.lock")
        out.answer({"healthy": healthy, "up": up, "state": str(places.state), "processes": found})
    elif not options.quiet:
        _tell(out, found)
    if not running:
        if not out.json:
            out.note(f"nothing runs on {places.state}; start it with `mosaicfs up`")
        return exits.UNAVAILABLE
    return exits.OK if healthy else exits.FAILED


async def _ask_all(places: Places, names: list[str]) -> dict[str, dict[str, Any]]:
    import asyncio

    answers = await asyncio.gather(*(_ask(places, name) for name in names))
    return dict(zip(names, answers, strict=True))


async def _ask(places: Places, name: str) -> dict[str, Any]:
    from events.errors import MosaicError
    from events.machine import control

    if name == "nats":
        return await _ask_server(places)
    try:
        answer = await control.ask(places.socket(name), {"do": "status"}, limit=3.0)
    except MosaicError:
        return {"running": False, "healthy": False}
    return {"running": True, "healthy": answer.get("state") not in _UNWELL, **answer}


async def _ask_server(places: Places) -> dict[str, Any]:
    from urllib.parse import urlsplit

    from cli.supervise import port
    from cli.supervise.leftovers import running
    from events.connection import server_url
    from events.errors import MosaicError

    try:
        where = server_url(places)
    except MosaicError:
        return {"running": False, "healthy": False}
    parts = urlsplit(where if "//" in where else f"nats://{where}")
    up = await port.answers(parts.hostname or port.HOST, parts.port or port.USUAL)
    # Only a server that `up` started has a pid that we know.
    pid = running(places.run / "up.json").get("nats")
    return {"running": up, "healthy": up, "url": where} | ({"pid": pid} if pid else {})


def _tell(out: Output, found: dict[str, dict[str, Any]]) -> None:
    from cli.output import Column
    from cli.supervise.leftovers import memory
    from cli.text import size

    def row(name: str, answer: dict[str, Any]) -> tuple[str, ...]:
        if not answer["running"]:
            return (name, "not running", "\u2013", "\u2013", "")
        pid = answer.get("pid")
        held = memory(int(pid)) if pid else None
        return (
            name,
            str(answer.get("state", "running")),
            str(pid or "\u2013"),
            size(held) if held is not None else "\u2013",
            _detail(answer),
        )

    columns = (
        Column("process"), Column("state"), Column("pid", "right"), Column("memory", "right"),
        Column(""),
    )  # fmt: skip
    out.table(columns, [row(name, answer) for name, answer in found.items()])


def _detail(answer: dict[str, Any]) -> str:
    from cli.text import number

    if "url" in answer:
        return str(answer["url"])
    if "https" in answer:
        return f"https port {answer['https']}" if answer["https"] else ""
    words = [
        f"{number(int(answer[key]))} {title}"
        for key, title in (
            ("files", "files"),
            ("documents", "documents"),
            ("outbox", "in the outbox"),
            ("dead_letters", "dead letters"),
        )
        if isinstance(answer.get(key), int) and (answer[key] or key == "files")
    ]
    streams = answer.get("streams") or {}
    behind = sum(int(each.get("pending", 0)) for each in streams.values())
    words += [f"{number(behind)} behind"] if behind else []
    return ", ".join(words)
