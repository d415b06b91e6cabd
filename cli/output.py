"""What a verb says: rows and lines for people, JSON for programs, notes and progress aside.

Answers go to stdout, notes and progress to stderr, so that a pipe carries answers only. Colours
appear on a terminal alone; NO_COLOR and TERM=dumb are honoured.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import click

from cli.text import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cli.options import Options


class Column(NamedTuple):
    """A column of a table. Numbers are aligned right, so that their digits stand in line."""

    title: str
    align: Literal["left", "right"] = "left"


class Output:
    """The voice of one call."""

    def __init__(self, options: Options) -> None:
        self._options = options

    @property
    def json(self) -> bool:
        return self._options.json

    @property
    def live(self) -> bool:
        """Whether progress may be drawn: a person looks on and did not ask for quiet."""
        return (
            not self._options.json
            and not self._options.quiet
            and sys.stderr.isatty()
            and os.environ.get("TERM") != "dumb"
        )

    def answer(self, value: object) -> None:
        """One JSON document on a line of its own."""
        import msgspec

        # Bytes, so that the text is UTF-8 whatever the locale says.
        click.echo(msgspec.json.encode(value))

    def line(self, text: str = "") -> None:
        """A line of the answer. Whoever calls has made names safe."""
        click.echo(text)

    def note(self, text: str) -> None:
        """A remark beside the answer."""
        if not self._options.quiet and not self._options.json:
            click.echo(text, err=True)

    def table(
        self, columns: Sequence[Column], rows: Iterable[Sequence[str]], *, titled: bool = True
    ) -> None:
        """Aligned rows under their titles. Cells are made safe here."""
        cells = [[safe(cell) for cell in row] for row in rows]
        widths = [
            max([len(column.title), *(_width(row[at]) for row in cells)])
            for at, column in enumerate(columns)
        ]
        if titled and not self._options.quiet:
            titles = _padded([column.title for column in columns], columns, widths)
            click.echo(click.style(titles, dim=True))
        for row in cells:
            click.echo(_padded(row, columns, widths))

    def pairs(self, rows: Iterable[tuple[str, str]]) -> None:
        """Names and values, one pair a line."""
        known = [(name, safe(value)) for name, value in rows]
        widest = max((len(name) for name, _ in known), default=0)
        for name, value in known:
            click.echo(f"{click.style(name.ljust(widest), dim=True)}  {value}")


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _padded(row: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    cells = []
    for cell, column, width in zip(row, columns, widths, strict=True):
        room = " " * (width - _width(cell))
        cells.append(room + cell if column.align == "right" else cell + room)
    return "  ".join(cells).rstrip()


def colour_wanted() -> bool | None:
    """False when the environment forbids colours, None to let the terminal decide."""
    forbidden = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return False if forbidden else None


class Progress:
    """A bar on stderr while long work runs; silent when nobody looks on.

    Used as a context manager. `total` may be unknown at first and may change.
    """

    def __init__(self, output: Output, title: str) -> None:
        self._live = output.live
        self._title = title
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self._live:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, total: int | None, title: str | None = None) -> None:
        """So much is done."""
        if self._bar is not None:
            self._bar.update(
                self._task, completed=done, total=total, description=title or self._title
            )
