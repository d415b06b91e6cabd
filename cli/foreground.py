"""Running one process of MosaicFS in the foreground, as `up`, systemd and containers do."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from cli.options import Options
    from events.machine.places import Places


def run(
    process: str,
    options: Options,
    service: Callable[[Places], Coroutine[Any, Any, None]],
    log_file: Path | None,
) -> None:
    """Set up places and log, then run the service until it ends or a signal asks it to.

    A service logs to its file, everything else to the terminal, unless `log_file` says where.
    """
    from events.machine import log
    from events.machine.process import until_stopped

    places = options.places
    places.make()
    level = "DEBUG" if options.verbose else "WARNING" if options.quiet else "INFO"
    if log_file is None and options.is_service:
        log_file = places.logs / f"{process}.log"
    log.set_up(process, file=log_file, level=level)
    if options.json and log_file is None:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(log.JsonLines(process))
    asyncio.run(until_stopped(service(places)))
