"""The live table of `up`: every process and its state, then totals, then what to try next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.text import number, safe, size, span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.supervise.child import Child, State

_COLOURS: Final[dict[State, str]] = {
    "running": "green",
    "starting": "yellow",
    "waiting": "dim",
    "not answering": "yellow",
    "failed": "red",
    "stopping": "yellow",
    "stopped": "dim",
}


class Totals(NamedTuple):
    """What the processes together have done; None is not known yet."""

    files: int | None = None
    applied: int | None = None
    lag: int | None = None
    outbox: int | None = None


def totals(projector: dict[str, Any], agent: dict[str, Any]) -> Totals:
    """The totals out of what projector and agent say of themselves."""
    streams = projector.get("streams") or {}
    known = bool(projector)
    return Totals(
        files=projector.get("files"),
        applied=sum(int(each.get("applied", 0)) for each in streams.values()) if known else None,
        lag=sum(int(each.get("pending", 0)) for each in streams.values()) if known else None,
        outbox=agent.get("outbox"),
    )


def block(
    children: Sequence[Child], sums: Totals, url: str, examples: Sequence[str], remark: str
) -> RenderableType:
    """The whole picture at this moment."""
    parts: list[RenderableType] = [_processes(children), Text()]
    words = (
        ("files", sums.files),
        ("events applied", sums.applied),
        ("lag", sums.lag),
        ("outbox", sums.outbox),
    )
    line = Text("  ")
    for name, value in words:
        line.append("\u2013" if value is None else number(value), style="bold")
        line.append(f" {name}    ")
    parts.append(line)
    parts += [
        _line(child.spec.name, child.detail, _COLOURS[child.state])
        for child in children
        if child.detail
    ]
    parts.append(Text())
    if remark:
        parts.append(_line("watching", remark, "dim"))
    parts.append(_line("event log", url, "dim"))
    for at, example in enumerate(examples):
        parts.append(_line("try next" if at == 0 else "", example, "dim"))
    return Group(*parts)


def _line(title: str, text: str, style: str) -> Text:
    return Text(safe(f"  {title:<10} {text}"), style=style, no_wrap=True, overflow="ellipsis")


def _processes(children: Sequence[Child]) -> Table:
    # Widths that hold still while the figures change.
    table = Table(box=None, pad_edge=True, header_style="dim", padding=(0, 1))
    table.add_column("process", min_width=9)
    table.add_column("state", min_width=13)
    for title, width in (("pid", 7), ("uptime", 9), ("restarts", 8), ("memory", 8)):
        table.add_column(title, justify="right", min_width=width)
    for child in children:
        uptime, memory = child.uptime, child.memory
        table.add_row(
            child.spec.name,
            Text(_state(child), style=_COLOURS[child.state]),
            str(child.pid or "\u2013"),
            span(uptime) if uptime is not None else "\u2013",
            str(child.restarts),
            size(memory) if memory is not None else "\u2013",
        )
    return table


def _state(child: Child) -> str:
    """What the process calls its own state, while it runs."""
    own = child.answer.get("state") if child.state == "running" else None
    return str(own) if own else child.state
