"""`mosaicfs log-level`: how much a running process logs."""

from __future__ import annotations

import click

from cli.options import Options, Verb, pass_options

PROCESSES = ("agent", "gateway", "projector")
LEVELS = ("debug", "info", "warning", "error")


@click.command(cls=Verb, short_help="Change how much a running process logs.")
@click.argument("process", type=click.Choice(PROCESSES))
@click.argument("level", type=click.Choice(LEVELS, case_sensitive=False))
@pass_options
def verb(options: Options, process: str, level: str) -> None:
    """Change how much a running process logs, until it ends.

    PROCESS is agent, gateway or projector; LEVEL is debug, info, warning or error.
    """
    import asyncio

    from cli.output import Output
    from events.machine import control

    out = Output(options)
    answer = asyncio.run(
        control.ask(options.places.socket(process), {"do": "log", "level": level.upper()})
    )
    if out.json:
        out.answer({"process": process, "level": str(answer["level"]).lower()})
    else:
        out.note(f"{process} now logs at level {level.lower()}")
