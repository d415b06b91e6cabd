"""`mosaicfs doctor`: what is wrong with this machine, and how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.options import Options, Verb, pass_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cli.checks.finding import Finding
    from cli.output import Output
    from events.machine.places import Places

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(cls=Verb, short_help="Check this machine, and say how to mend what is wrong.")
@pass_options
def verb(options: Options) -> int:
    """Check this machine, and say how to mend what is wrong.

    Exit code 1: something failed. Nothing is changed.
    """
    from cli import exits
    from cli.output import Output

    out = Output(options)
    found: list[Finding] = []
    for finding in findings(options.places):
        found.append(finding)
        if not out.json:
            _tell(out, finding, quiet=options.quiet)
    failed = sum(finding.state == "fail" for finding in found)
    if out.json:
        out.answer({"healthy": not failed, "findings": [each._asdict() for each in found]})
    else:
        warned = sum(finding.state == "warn" for finding in found)
        out.note(f"\n{len(found)} checks, {warned} warnings, {failed} failures")
    return exits.FAILED if failed else exits.OK


def findings(places: Places) -> Iterator[Finding]:
    """Every check. One that cannot be made is itself a finding."""
    from cli.checks import running, storage, system
    from cli.checks.finding import fail
    from events.errors import MosaicError

    checks: tuple[Callable[[Places], Iterator[Finding]], ...] = (
        system.versions,
        system.fuse,
        system.clock,
        storage.disk,
        storage.permissions,
        storage.configuration,
        running.supervisor,
        running.event_log,
        storage.view,
    )
    for check in checks:
        try:
            yield from check(places)
        except (OSError, MosaicError) as wrong:
            yield fail(check.__name__.replace("_", " "), f"cannot be checked: {wrong}", "see above")


def _tell(out: Output, finding: Finding, *, quiet: bool) -> None:
    from cli.text import safe

    if quiet and finding.state == "ok":
        return
    state = click.style(f"{finding.state:<4}", fg=_COLOURS[finding.state])
    out.line(f"{state}  {finding.check:<12}  {safe(finding.detail)}")
    if finding.mend:
        out.line(f"{'':<20}{click.style('mend:', dim=True)} {safe(finding.mend)}")
