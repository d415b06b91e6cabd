"""`mosaicfs projector`: the process that folds the log into this machine's views."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options import Options, Verb, pass_options


@click.command(cls=Verb, short_help="Run the projector in the foreground.")
@click.option(
    "--log-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Log JSON to this file, rotated, instead of lines to the terminal.",
)
@pass_options
def verb(options: Options, log_file: Path | None) -> None:
    """Run the projector in the foreground.

    It folds the event log into the views of this machine. `mosaicfs up` starts it by itself.
    """
    from cli import foreground
    from projectors import service

    foreground.run("projector", options, service.run, log_file)
