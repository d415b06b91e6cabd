"""The life of `up` between the first start and the last stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Final

from cli.supervise import report as reports
from cli.supervise.child import Child
from cli.supervise.screen import Gone
from cli.supervise.supervisor import Supervisor
from cli.supervise.table import totals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cli.options import Options
    from cli.supervise.child import Change, Spec
    from cli.supervise.leftovers import Record
    from cli.supervise.report import Report
    from cli.supervise.table import Totals
    from events.machine.places import Places

_TICK_S: Final = 0.5
_SIGNALS: Final = {
    signal.SIGINT: "Ctrl-C",
    signal.SIGTERM: "asked to terminate",
    signal.SIGHUP: "the terminal was closed",
}


async def run(
    options: Options, places: Places, specs: Sequence[Spec], record: Record, report: Report
) -> None:
    """Run the processes until a signal, or until nobody can see them any more."""
    voice = _Guarded(report)
    children = [Child(spec, places.logs, record, voice.change) for spec in specs]
    supervisor = Supervisor(children)
    voice.when_gone = supervisor.ask_to_stop
    loop = asyncio.get_running_loop()
    for sign, reason in _SIGNALS.items():
        # nohup asks to live on without a terminal by ignoring the signal.
        if signal.getsignal(sign) is not signal.SIG_IGN:
            loop.add_signal_handler(sign, supervisor.ask_to_stop, reason)
    telling = asyncio.create_task(_tell(options, supervisor, voice))
    try:
        await supervisor.run()
    finally:
        telling.cancel()
        await asyncio.wait([telling])
    voice.tick(children, _sums(supervisor))
    voice.end(supervisor.reason)


async def _tell(options: Options, supervisor: Supervisor, voice: _Guarded) -> None:
    """Keep whoever looks on informed, and notice when nobody does."""
    was_ready = False
    while True:
        sums = _sums(supervisor)
        if not reports.listening(options):
            voice.lose()
        if supervisor.ready and not was_ready:
            was_ready = True
            voice.ready(sums)
        voice.tick(supervisor.children, sums)
        await asyncio.sleep(_TICK_S)


def _sums(supervisor: Supervisor) -> Totals:
    answers = {child.spec.name: child.answer for child in supervisor.children}
    return totals(answers.get("projector", {}), answers.get("agent", {}))


class _Guarded:
    """A report, until nobody listens; from then on silence, and a stop."""

    def __init__(self, report: Report) -> None:
        self._report: Report | None = report
        self.when_gone: Callable[[str], None] = lambda _: None

    def change(self, change: Change) -> None:
        with self._guard() as report:
            if report:
                report.change(change)

    def tick(self, children: Sequence[Child], sums: Totals) -> None:
        with self._guard() as report:
            if report:
                report.tick(children, sums)

    def ready(self, sums: Totals) -> None:
        with self._guard() as report:
            if report:
                report.ready(sums)

    def end(self, reason: str) -> None:
        with self._guard() as report:
            if report:
                report.end(reason)

    def lose(self) -> None:
        """Nobody listens any more."""
        if self._report is not None:
            self._report = None
            self.when_gone("the terminal is gone")

    @contextlib.contextmanager
    def _guard(self) -> Iterator[Report | None]:
        try:
            yield self._report
        except Gone:
            self.lose()
