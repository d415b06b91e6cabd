"""`mosaicfs gateway`: the process that serves people and programs over HTTP."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options import Options, Verb, pass_options


@click.command(cls=Verb, short_help="Run the gateway in the foreground.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port for TLS (0: any free one), instead of the one in gateway.toml.",
)
@click.option(
    "--http-loopback",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Also serve plain HTTP on this port of 127.0.0.1 (0: any free one).",
)
@click.option(
    "--admin-password-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="Where the first account's password stands; without it one is made up and shown.",
)
@click.option(
    "--log-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Log JSON to this file, rotated, instead of lines to the terminal.",
)
@pass_options
def verb(
    options: Options,
    port: int | None,
    http_loopback: int | None,
    admin_password_file: Path | None,
    log_file: Path | None,
) -> None:
    """Run the gateway in the foreground.

    It serves the API over TLS on port 8443, or where gateway.toml says, and makes a certificate of
    its own at its first start. See docs/gateway.md.
    """
    from cli import foreground
    from gateway import service

    run = service.runner(
        port=port, http_loopback=http_loopback, admin_password_file=admin_password_file
    )
    foreground.run("gateway", options, run, log_file)
