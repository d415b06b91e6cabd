"""The options of every verb, and the classes that add them.

They may stand before or after the verb: `mosaicfs --json status` is `mosaicfs status --json`.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from events.machine.places import Places


@dataclasses.dataclass
class Options:
    """What the person asked for, whatever the verb."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    state: Path | None = None
    service: bool = False

    @property
    def places(self) -> Places:
        """The folders of the instance that this call is about."""
        from events.machine import places

        return places.find(self.state, service=self.service)

    @property
    def is_service(self) -> bool:
        return self.service or os.environ.get("MOSAICFS_SERVICE") == "1"

    def again(self) -> list[str]:
        """The arguments that lead another `mosaicfs` to the same instance."""
        if self.state is not None:
            return ["--state", str(self.state.expanduser().absolute())]
        return ["--service"] if self.service else []


pass_options = click.make_pass_decorator(Options, ensure=True)


def _remember(ctx: click.Context, param: click.Parameter, value: object) -> None:
    # Root and verb both have the option; only the one that was really given may speak.
    given = click.core.ParameterSource.COMMANDLINE
    if param.name and ctx.get_parameter_source(param.name) is given:
        setattr(ctx.ensure_object(Options), param.name, value)


def _shared() -> list[click.Option]:
    flag: dict[str, Any] = {"is_flag": True, "expose_value": False, "callback": _remember}
    return [
        click.Option(["--json"], help="Answer as JSON.", **flag),
        click.Option(["--quiet", "-q"], help="Say only what was asked for.", **flag),
        click.Option(["--verbose", "-v"], help="Say more, and show tracebacks.", **flag),
        click.Option(
            ["--state"],
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            help="State folder of the instance.",
            expose_value=False,
            callback=_remember,
        ),
        click.Option(["--service"], help="The instance that runs as a system service.", **flag),
    ]


SHARED: Final = tuple(_shared())
_SHARED_NAMES: Final = frozenset(option.name for option in SHARED)


class Verb(click.Command):
    """A command that takes the shared options."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *SHARED]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verb's own options first, those of every verb in a section of their own."""
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                every = param.name in _SHARED_NAMES or "--help" in param.opts
                (shared if every else own).append(record)
        if own:
            with formatter.section("Options"):
                formatter.write_dl(own)
        if isinstance(self, VerbGroup):
            self.format_commands(ctx, formatter)
        with formatter.section("Options of every verb"):
            formatter.write_dl(shared)


class VerbGroup(Verb, click.Group):
    """A command with verbs below it; all of them take the shared options."""

    command_class = Verb

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(100))
                    for name in self.list_commands(ctx)
                    if (command := self.get_command(ctx, name)) is not None
                ]
            )
