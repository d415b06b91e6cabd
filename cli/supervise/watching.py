"""Which folders the agent of this machine watches: those that were asked for, or a sample."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

from agent import config
from cli.supervise import sample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from events.machine.places import Places


def check(folders: Sequence[Path]) -> list[Path]:
    """The folders, absolute. One that is not there ends the call with a hint."""
    return [_there(folder.expanduser().absolute()) for folder in folders]


def _there(folder: Path) -> Path:
    if folder.is_dir():
        return folder
    if folder.exists():
        raise click.ClickException(f"{folder} is not a folder")
    hint = ""
    try:
        names = [each.name for each in folder.parent.iterdir() if each.is_dir()]
    except OSError:
        names = []
    if close := get_close_matches(folder.name, names, 1):
        hint = f'; did you mean "{folder.parent / close[0]}"?'
    raise click.ClickException(f"no such folder: {folder}{hint}")


def configure(places: Places, folders: Sequence[Path]) -> str:
    """Bring agent.toml up to date, and return what a person should know about it."""
    for folder in folders:
        config.add_watch(places.agent_toml, folder)
    remark = ""
    if not folders and not _watches_something(places.agent_toml):
        # Only made once: who deletes a file to see what happens does not want it back.
        if not places.sample.exists():
            sample.make(places.sample)
        config.add_watch(places.agent_toml, places.sample)
    settings = config.load(places.agent_toml)
    if str(places.sample.resolve()) in settings.watch_paths:
        remark = (
            f"indexing the sample tree in {places.sample}; "
            "add a folder of yours with `mosaicfs up --watch DIR`"
        )
    return remark


def _watches_something(path: Path) -> bool:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        # The agent's own reading says what is wrong with it.
        return True
    return bool(raw.get("watch_paths")) or raw.get("role") == "bridge"
