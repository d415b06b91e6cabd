"""`mosaicfs completion`: TAB in a shell."""

from __future__ import annotations

import click

from cli.options import Options, Verb, pass_options

SHELLS = ("bash", "zsh", "fish")


@click.command(cls=Verb, short_help="Print the completion script for a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
@pass_options
def verb(options: Options, shell: str) -> None:
    """Print the completion script for SHELL: bash, zsh or fish.

    \b
    bash:  mosaicfs completion bash > ~/.local/share/bash-completion/completions/mosaicfs
    zsh:   mosaicfs completion zsh > "${fpath[1]}/_mosaicfs"
    fish:  mosaicfs completion fish > ~/.config/fish/completions/mosaicfs.fish
    """
    from click.shell_completion import get_completion_class

    from cli.main import COMPLETE, PROGRAM, root
    from cli.output import Output

    kind = get_completion_class(shell)
    assert kind is not None, "the choice above holds only shells that click knows"
    script = kind(root, {}, PROGRAM, COMPLETE).source()
    out = Output(options)
    if out.json:
        out.answer({"shell": shell, "script": script})
    else:
        out.line(script)
