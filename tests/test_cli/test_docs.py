"""docs/cli.md and the command line say the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from cli import exits
from cli.main import root
from cli.options import SHARED
from tests.test_cli.harness import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = (ROOT / "docs" / "cli.md").read_text()
SHARED_NAMES = {name for option in SHARED for name in option.opts} | {"--help", "-h"}


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


COMMANDS = dict(commands(root, "mosaicfs"))


def sections() -> dict[str, str]:
    """Each documented verb and the text below its heading."""
    parts = re.split(r"^#{2,3} `(mosaicfs [a-z -]+)`.*$", DOCS, flags=re.MULTILINE)
    return {
        name.strip(): re.split(r"^## ", body, maxsplit=1, flags=re.MULTILINE)[0]
        for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_every_verb_is_documented_and_every_documented_verb_exists() -> None:
    assert sections().keys() == COMMANDS.keys()


def test_every_option_is_documented_and_every_documented_option_exists() -> None:
    for name, text in sections().items():
        real = {
            option
            for param in COMMANDS[name].params
            if isinstance(param, click.Option)
            for option in param.opts
        }
        documented = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - SHARED_NAMES
        assert documented == real, name


def test_shared_options_and_exit_codes() -> None:
    for name in SHARED_NAMES:
        assert f"`{name}" in DOCS
    codes = {value for name, value in vars(exits).items() if name.isupper()}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", DOCS, flags=re.MULTILINE)} == codes
