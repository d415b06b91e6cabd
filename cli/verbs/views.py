"""`mosaicfs views`: looking after what is folded from the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.options import Options, VerbGroup, pass_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cli.output import Output, Progress
    from events.machine.places import Places

_DEAD_LETTERS = 20


@click.group(cls=VerbGroup, short_help="Look after the views that are folded from the log.")
def verb() -> None:
    """Look after the views that are folded from the log.

    A view can always be deleted and rebuilt; the result is the same.
    """


@verb.command("status", short_help="Show how far the view is, and what was put aside.")
@pass_options
def status(options: Options) -> None:
    """Show how far the view is, what is in it, and which events could not be understood."""
    import asyncio

    from cli.output import Output
    from projectors.documents.reader import Reader

    out = Output(options)
    places = options.places
    running = asyncio.run(_running(places))
    with Reader(places.documents_db) as reader, reader.transaction():
        found = {
            "state": running.get("state", "not running"),
            "detail": running.get("detail", ""),
            "path": str(places.documents_db.resolve()),
            "bytes": places.documents_db.stat().st_size,
            "epoch": reader.epoch(),
            **reader.counts(),
            "streams": _streams(reader.checkpoints(), running),
            "drift": running.get("drift", []),
            "dead": [letter._asdict() for letter in reader.dead_letters(_DEAD_LETTERS)],
        }
    if out.json:
        out.answer(found)
    else:
        _tell(out, found)


@verb.command("rebuild", short_help="Fold the whole log again into a fresh view.")
@pass_options
def rebuild(options: Options) -> int:
    """Fold the whole log again into a fresh view. Readers keep the old one until it is done."""
    return _long(options, "rebuild")


@verb.command("verify", short_help="Compare the view with a replay of the log, row by row.")
@pass_options
def verify(options: Options) -> int:
    """Compare the view with a replay of the log, row by row. Exit code 1: they differ."""
    return _long(options, "verify")


@verb.command("snapshot", short_help="Store a copy of the view, for other machines to start from.")
@pass_options
def snapshot(options: Options) -> int:
    """Store a copy of the view beside the log, for other machines to start from."""
    return _long(options, "snapshot")


def _long(options: Options, work: str) -> int:
    import asyncio

    from cli import exits
    from cli.output import Output, Progress

    out = Output(options)
    with Progress(out, work) as progress:
        last = asyncio.run(_follow(options.places, work, progress))
    if out.json:
        out.answer(last)
    else:
        _conclude(out, work, last)
    return exits.FAILED if last.get("equal") is False else exits.OK


async def _follow(places: Places, work: str, progress: Progress) -> dict[str, Any]:
    """Do the work, in the running projector or here; returns its last line."""
    from contextlib import aclosing

    from events.errors import Temporary

    last: dict[str, Any] = {}
    lines = await _lines(places, work)
    async with aclosing(lines):  # type: ignore[type-var]  # declared as iterators, are generators
        async for last in lines:
            done, of = last.get("at"), last.get("of")
            title = " ".join((work, *(str(last[key]) for key in ("step", "stream") if key in last)))
            if isinstance(done, int):
                progress.show(done, of if isinstance(of, int) else None, title)
    if last.get("step") != "done" and "equal" not in last:
        raise Temporary(
            f"the projector stopped in the middle of the {work}; "
            f"the reason is in {places.logs / 'projector.log'}"
        )
    return last


async def _lines(places: Places, work: str) -> AsyncIterator[dict[str, Any]]:
    from events.machine.control import follow

    if await _running(places):
        return follow(places.socket("projector"), {"do": work})
    from cli.log_server import log_server
    from projectors import service

    # The work itself would wait for the server without an end; a person wants to know.
    async with log_server(places):
        pass
    here = {"rebuild": service.rebuild, "verify": service.verify, "snapshot": service.snapshot}
    return here[work](places)


async def _running(places: Places) -> dict[str, Any]:
    """What the running projector says of itself; empty if there is none."""
    from events.machine import control

    try:
        return await control.ask(places.socket("projector"), {"do": "status"}, limit=3.0)
    except control.NotRunning:
        return {}


def _streams(checkpoints: dict[str, int], running: dict[str, Any]) -> list[dict[str, Any]]:
    known = running.get("streams", {})
    return [
        {"stream": name, "applied": at, "pending": known.get(name, {}).get("pending")}
        for name, at in checkpoints.items()
    ]


def _tell(out: Output, found: dict[str, Any]) -> None:
    from cli.output import Column
    from cli.text import number, size

    detail = f" ({found['detail']})" if found["detail"] else ""
    out.pairs(
        [
            ("state", f"{found['state']}{detail}"),
            ("view", f"{found['path']} ({size(found['bytes'])})"),
            ("files", f"{number(found['files'])}, {number(found['deleted_files'])} deleted"),
            ("documents", number(found["documents"])),
            ("dead letters", number(found["dead_letters"])),
        ]
    )
    out.line()
    columns = (Column("stream"), Column("applied", "right"), Column("waiting", "right"))
    rows = [
        (
            each["stream"],
            number(each["applied"]),
            "\u2013" if each["pending"] is None else number(each["pending"]),
        )
        for each in found["streams"]
    ]
    out.table(columns, rows)
    for drift in found["drift"]:
        out.note(f"stream drift: {drift}")
    if found["dead"]:
        out.line()
        out.table(
            (Column("put aside"), Column("stored"), Column("because")),
            [
                (f"{one['stream']}#{one['sequence']}", one["at"], one["reason"])
                for one in found["dead"]
            ],
        )


def _conclude(out: Output, work: str, last: dict[str, Any]) -> None:
    from cli.text import number, safe, size

    if work == "rebuild":
        out.line(f"rebuilt: {number(int(last.get('files', 0)))} files")
    elif work == "snapshot":
        kept = f" ({size(int(last['bytes']))})" if isinstance(last.get("bytes"), int) else ""
        out.line(f"stored{kept}")
    elif last["equal"]:
        rows = sum(int(count) for count in last["compared"].values())
        out.line(f"equal: {number(rows)} rows are what the log says")
        if last.get("beyond_the_log"):
            out.note(f"{number(last['beyond_the_log'])} documents are older than the log")
    else:
        count = number(last["differing_rows"])
        out.line(f"different: {count} rows; `mosaicfs views rebuild` mends it")
        for each in last["differences"]:
            out.line(safe(f"  {each['table']} only in the {each['only_in']}: {each['row']}"))
        if last.get("name_index") not in (None, "whole"):
            out.line(safe(f"  {last['name_index']}"))
