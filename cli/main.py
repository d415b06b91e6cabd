"""The entry point: finds the verb, runs it, and turns every end into an exit code and a line."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Final, NoReturn

import click

from cli import exits
from cli.options import Options, VerbGroup
from cli.output import colour_wanted
from cli.text import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM: Final = "mosaicfs"
# Set by the completion scripts when they ask for what may come next.
COMPLETE: Final = "_MOSAICFS_COMPLETE"

# Verb -> what it does, as its own help says it; kept here so that `--help` imports no verb. The
# module is `cli.verbs.<verb>` with `_` for `-`, the command in it is `verb`.
VERBS: Final = {
    "up": "Start everything on this machine and keep it running.",
    "status": "Show which processes run and how they are.",
    "doctor": "Check this machine, and say how to mend what is wrong.",
    "files": "List, search and look at indexed files.",
    "events": "Read the event log.",
    "views": "Look after the views that are folded from the log.",
    "agent": "Run the agent in the foreground, or talk to the running one.",
    "projector": "Run the projector in the foreground.",
    "gateway": "Run the gateway in the foreground.",
    "log-level": "Change how much a running process logs.",
    "completion": "Print the completion script for a shell.",
}


class Root(VerbGroup):
    """The verbs, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"cli.verbs.{cmd_name.replace('-', '_')}")
        command: click.Command = module.verb
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from cli.versions import version

    if "--json" in sys.argv:
        click.echo(f'{{"version":"{version()}"}}')
    else:
        click.echo(f"{PROGRAM} {version()}")
    ctx.exit()


root: Final = Root(
    name=PROGRAM,
    help="One filesystem over all of your machines, folded from an event log.",
    epilog=f"From a clone, ./{PROGRAM} test runs all checks and tests.",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Show the version and leave.",
        )
    ],
    context_settings={"help_option_names": ["--help", "-h"]},
    no_args_is_help=True,
)


def main() -> NoReturn:
    """The `mosaicfs` command."""
    for stream in (sys.stdout, sys.stderr):
        # A locale that lacks a character must cost the character, not the answer.
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    options = Options()
    code = run(sys.argv[1:], options)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.exit(code)


def run(arguments: Sequence[str], options: Options) -> int:
    """Run one call and return its exit code; whatever happens, a person gets one clear line."""
    if COMPLETE in os.environ:
        root.main(prog_name=PROGRAM, complete_var=COMPLETE)
    try:
        # Not `root.main`, which ends a call whose reader went away with a failure.
        with root.make_context(
            PROGRAM, list(arguments), obj=options, color=colour_wanted()
        ) as context:
            return int(root.invoke(context) or exits.OK)
    except click.exceptions.Exit as wanted:
        return wanted.exit_code
    except (click.Abort, KeyboardInterrupt):
        return exits.INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has seen enough. What is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return exits.OK
    except click.exceptions.NoArgsIsHelpError as wrong:
        click.echo(wrong.format_message(), err=True)
        return exits.USAGE
    except click.ClickException as wrong:
        return _complain(options, wrong.exit_code, _refusal(wrong), wrong)
    except Exception as wrong:  # noqa: BLE001  # the last resort: nobody must meet a traceback
        code, text = _ending(_first(wrong))
        return _complain(options, code, text, wrong)


def _refusal(wrong: click.ClickException) -> str:
    """What is wrong with the command line, in one line."""
    if isinstance(wrong, click.exceptions.NoSuchCommand):
        return _unknown(wrong, "verb", wrong.command_name)
    if isinstance(wrong, click.exceptions.NoSuchOption):
        return _unknown(wrong, "option", wrong.option_name)
    if isinstance(wrong, click.UsageError) and wrong.ctx is not None:
        return f"{wrong.format_message().rstrip('.')} (see {wrong.ctx.command_path} --help)"
    return wrong.format_message()


def _unknown(wrong: click.UsageError, what: str, given: str) -> str:
    ctx = wrong.ctx
    path = ctx.command_path if ctx else PROGRAM
    known: list[str] = list(getattr(wrong, "possibilities", None) or [])
    if what == "verb" and ctx is not None and isinstance(ctx.command, click.Group):
        from difflib import get_close_matches

        known = get_close_matches(given, ctx.command.list_commands(ctx), 1, 0.5)
    hint = f'; did you mean "{known[0]}"?' if known else ""
    return f'no {what} "{given}" in {path}{hint} ({path} --help shows all)'


def _ending(wrong: BaseException) -> tuple[int, str]:
    """The exit code and the words for an error of the work itself."""
    from events.errors import Misconfigured, MosaicError, Temporary

    if isinstance(wrong, Misconfigured):
        return exits.MISCONFIGURED, str(wrong)
    if isinstance(wrong, Temporary):
        return exits.UNAVAILABLE, str(wrong)
    if isinstance(wrong, MosaicError):
        return exits.FAILED, str(wrong)
    if isinstance(wrong, OSError) and wrong.strerror:
        where = f"{os.fsdecode(wrong.filename)}: " if wrong.filename else ""
        return exits.FAILED, f"{where}{wrong.strerror}"
    text = f"something unexpected happened: {type(wrong).__name__}: {wrong}"
    return exits.FAILED, f"{text}; {_logged(wrong)}"


def _logged(wrong: BaseException) -> str:
    """Keep the traceback where this process logs, and say where that is."""
    handlers = logging.getLogger().handlers
    if not handlers:
        return "--verbose shows the traceback"
    logging.getLogger(__name__).critical("ended by an error", exc_info=wrong)
    files = [each.baseFilename for each in handlers if isinstance(each, logging.FileHandler)]
    return f"the traceback is in {files[0]}" if files else "the traceback stands above"


def _first(wrong: BaseException) -> BaseException:
    """What started it, out of a group of tasks that failed together."""
    while isinstance(wrong, BaseExceptionGroup):
        wrong = wrong.exceptions[0]
    return wrong


def _complain(options: Options, code: int, text: str, wrong: Exception) -> int:
    if options.verbose and not isinstance(wrong, click.ClickException):
        import traceback

        click.echo("".join(traceback.format_exception(wrong)), err=True)
    if options.json:
        import msgspec

        click.echo(msgspec.json.encode({"error": text, "code": code}), err=True)
    else:
        click.echo(f"{PROGRAM}: {safe(text)}", err=True)
    return code
