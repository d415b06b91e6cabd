"""How `up` tells what happens: a live table for a person, lines for a log, JSON for a program."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final, Protocol

import click

from cli.output import colour_wanted
from cli.supervise.screen import Gone, Screen, room
from cli.supervise.table import Totals, block
from cli.text import number, safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.options import Options
    from cli.supervise.child import Change, Child

_TOTALS_EVERY_S: Final = 10.0


class Server(Protocol):
    """Where the event log is; it may move until it has started once."""

    @property
    def url(self) -> str: ...


class Report(Protocol):
    """Told of every change and once a tick; raises Gone when nobody listens any more."""

    def change(self, change: Change) -> None: ...

    def tick(self, children: Sequence[Child], sums: Totals) -> None: ...

    def ready(self, sums: Totals) -> None: ...

    def end(self, reason: str) -> None: ...


class Silent:
    """Says nothing; what is wrong still goes to stderr."""

    def change(self, change: Change) -> None:
        if change.state == "failed":
            click.echo(f"mosaicfs: {change.process}: {safe(change.detail)}", err=True)

    def tick(self, children: Sequence[Child], sums: Totals) -> None:
        pass

    def ready(self, sums: Totals) -> None:
        pass

    def end(self, reason: str) -> None:
        pass


class Live:
    """The table, redrawn in place."""

    def __init__(
        self, screen: Screen, server: Server, examples: Sequence[str], remark: str
    ) -> None:
        self._screen = screen
        self._server = server
        self._examples = examples
        self._remark = remark

    def change(self, change: Change) -> None:
        """The next tick shows it."""

    def tick(self, children: Sequence[Child], sums: Totals) -> None:
        self._screen.draw(block(children, sums, self._server.url, self._examples, self._remark))

    def ready(self, sums: Totals) -> None:
        """The table shows it."""

    def end(self, reason: str) -> None:
        self._screen.clear()
        _say(f"MosaicFS has stopped ({reason})")


class Lines:
    """A line for each change, and the totals from time to time while they change."""

    def __init__(self, server: Server, examples: Sequence[str], remark: str) -> None:
        self._server = server
        self._examples = examples
        self._remark = remark
        self._sums = _Seldom()

    def change(self, change: Change) -> None:
        pid = f" (pid {change.pid})" if change.pid else ""
        detail = f": {safe(change.detail)}" if change.detail else ""
        self._line(f"{change.process:<9}  {change.state}{pid}{detail}")

    def tick(self, children: Sequence[Child], sums: Totals) -> None:
        if self._sums.due(sums):
            self._line(f"{'':<9}  {_sentence(sums)}")

    def ready(self, sums: Totals) -> None:
        self._line(f"{'mosaicfs':<9}  up; event log at {self._server.url}")
        if self._remark:
            self._line(f"{'':<9}  {safe(self._remark)}")
        for example in self._examples:
            self._line(f"{'':<9}  try: {safe(example)}")

    def end(self, reason: str) -> None:
        self._line(f"{'mosaicfs':<9}  stopped: {reason}")

    def _line(self, text: str) -> None:
        _say(f"{time.strftime('%H:%M:%S')}  {text}".rstrip())


class JsonLines:
    """One object a line; `kind` is `process`, `totals`, `ready` or `end`."""

    def __init__(self, server: Server, remark: str) -> None:
        self._server = server
        self._remark = remark
        self._sums = _Seldom()

    def change(self, change: Change) -> None:
        self._object("process", **change._asdict())

    def tick(self, children: Sequence[Child], sums: Totals) -> None:
        if self._sums.due(sums):
            self._object("totals", **sums._asdict())

    def ready(self, sums: Totals) -> None:
        self._object("ready", url=self._server.url, remark=self._remark, **sums._asdict())

    def end(self, reason: str) -> None:
        self._object("end", reason=reason)

    def _object(self, kind: str, **rest: object) -> None:
        import msgspec

        from events.clock import now

        _say(msgspec.json.encode({"kind": kind, "time": now(), **rest}).decode())


class _Seldom:
    """Whether totals have changed and the last ones are old enough."""

    def __init__(self) -> None:
        self._last = Totals()
        self._at = 0.0

    def due(self, sums: Totals) -> bool:
        now = time.monotonic()
        if sums == self._last or now - self._at < _TOTALS_EVERY_S:
            return False
        self._last, self._at = sums, now
        return True


def _sentence(sums: Totals) -> str:
    named = zip(("files", "events applied", "lag", "outbox"), sums, strict=True)
    return ", ".join(f"{number(value)} {name}" for name, value in named if value is not None)


def _say(text: str) -> None:
    try:
        click.echo(text)
    except OSError as wrong:
        raise Gone from wrong


def listening(options: Options) -> bool:
    """Whether somebody can still read stdout. A service does not end with its log."""
    if options.service or sys.stdout is None:
        return True
    return room(sys.stdout.fileno()) != "gone"


def choose(
    options: Options, screen: Screen | None, server: Server, examples: list[str], remark: str
) -> Report:
    """The way of telling that was asked for."""
    if options.json:
        return JsonLines(server, remark)
    if options.quiet:
        return Silent()
    if screen is not None:
        return Live(screen, server, examples, remark)
    return Lines(server, examples, remark)


def new_screen() -> Screen:
    return Screen(colour=colour_wanted() is not False)
