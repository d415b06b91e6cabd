"""`mosaicfs agent`: the process that indexes this machine's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.options import Options, VerbGroup, pass_options


@click.group(
    cls=VerbGroup,
    invoke_without_command=True,
    short_help="Run the agent in the foreground, or talk to the running one.",
)
@click.option(
    "--log-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Log JSON to this file, rotated, instead of lines to the terminal.",
)
@click.pass_context
def verb(ctx: click.Context, log_file: Path | None) -> None:
    """Run the agent in the foreground, or talk to the running one.

    It indexes the folders of agent.toml and publishes what happened to their files. `mosaicfs up`
    starts it by itself.
    """
    if ctx.invoked_subcommand is not None:
        return
    from agent import service
    from cli import foreground

    foreground.run("agent", ctx.ensure_object(Options), service.run, log_file)


@verb.command("crawl", short_help="Look at every watched file now.")
@pass_options
def crawl(options: Options) -> int:
    """Look at every watched file now, instead of at the next nightly crawl.

    Asks the running agent and waits until it is done.
    """
    import asyncio

    return asyncio.run(_crawl(options))


async def _crawl(options: Options) -> int:
    from cli import exits
    from cli.output import Output, Progress
    from cli.text import number
    from events.machine.control import NotRunning, follow

    out = Output(options)
    places = options.places
    done: dict[str, Any] = {}
    with Progress(out, "crawling") as progress:
        async for line in follow(places.socket("agent"), {"do": "crawl"}):
            done = line.get("done", {})
            progress.show(int(line.get("seen", done.get("files", 0))), None)
    if not done:
        raise NotRunning(f"the agent stopped meanwhile; the reason is in {places.logs}/agent.log")
    if out.json:
        out.answer(done)
    else:
        out.line(
            f"{number(done['files'])} files in {number(done['folders'])} folders looked at in "
            f"{done['ms'] / 1000:.1f} s, {number(done['changed'])} changes"
        )
        if done["unreadable"]:
            out.note(
                f"{number(done['unreadable'])} folders could not be read; `mosaicfs status -v`"
            )
    return exits.OK
