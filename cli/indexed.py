"""Finding what a person means by a path among what is indexed."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

from events import paths

if TYPE_CHECKING:
    from projectors.documents.reader import Reader


def path_text(given: str) -> str:
    """The path as the view has it. What is relative is meant from the current folder.

    Links are resolved in the folder only: a watched folder is known by its real path, while a link
    that was indexed as a file keeps its own name.
    """
    absolute = os.path.abspath(os.path.expanduser(given))
    parent, name = os.path.split(absolute)
    if not name:
        return paths.to_text(absolute)
    return paths.to_text(os.path.join(os.path.realpath(parent), name))


def not_indexed(reader: Reader, given: str) -> click.ClickException:
    """The answer for a path that no view has, with what may help."""
    watched = sorted({str(path) for node in reader.nodes() for path in node.get("watch_paths", [])})
    text = f"not indexed: {given}"
    parent, name = paths.split(path_text(given))
    names = [row.name for row in reader.files(parent=parent, limit=1000)]
    if close := get_close_matches(name, names, 1):
        text += f'; did you mean "{paths.join(parent, close[0])}"?'
    elif watched:
        text += f"; watched folders are {', '.join(watched)}"
    else:
        text += "; no folder is watched yet (`mosaicfs up --watch DIR`)"
    return click.ClickException(text)
