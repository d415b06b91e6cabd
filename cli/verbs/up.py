"""`mosaicfs up`: everything on this machine, in one terminal."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.options import Options, Verb, pass_options

if TYPE_CHECKING:
    from cli.supervise import processes


@click.command(cls=Verb, short_help="Start everything on this machine and keep it running.")
@click.option(
    "--watch",
    "watch",
    multiple=True,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Index this folder too, now and at later starts. May be repeated.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    help="Port of the event log. Without it: the last one, 4222, or any free one.",
)
@click.option("--no-table", is_flag=True, help="Log lines instead of the live table.")
@pass_options
def verb(options: Options, watch: tuple[Path, ...], port: int | None, no_table: bool) -> None:
    """Start everything on this machine and keep it running.

    Needs no root, no container engine and no configuration. Ctrl-C stops everything in order.
    Without a folder to watch, a small sample tree is made and indexed.
    """
    import asyncio
    import contextlib

    from cli.supervise import instance, leftovers, lock, processes, report, watching
    from cli.supervise.running import run

    places = options.places
    folders = watching.check(watch)
    places.make()
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock.held(places.state / "up.lock"))
        record = places.run / "up.json"
        leftovers.end_all(record)
        node = instance.node_id(places)
        instance.write_server(places, node)
        server = processes.Server(places, node, port)
        remark = watching.configure(places, folders)
        screen = None
        if not no_table and not options.json and not options.quiet and _drawable():
            screen = stack.enter_context(report.new_screen())
        gateway = processes.Gateway(places)
        examples = [*_examples(options), _first_visit(gateway)]
        voice = report.choose(options, screen, server, examples, remark)
        specs = processes.specs(options, places, server, gateway)
        asyncio.run(run(options, places, specs, leftovers.Record(record), voice))


def _drawable() -> bool:
    return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def _first_visit(gateway: processes.Gateway) -> str:
    """Where the API is, and how somebody gets in the first time."""
    return f"{gateway.url}/api/docs  as admin, password in {gateway.password}"


def _examples(options: Options) -> list[str]:
    """What to try next, as it would be typed here."""
    program = "mosaicfs" if shutil.which("mosaicfs") else "./mosaicfs"
    again = "".join(f" {word}" for word in options.again())
    return [
        f"{program} files search invoice{again}",
        f"{program} events tail{again}",
        f"{program} status{again}",
    ]
