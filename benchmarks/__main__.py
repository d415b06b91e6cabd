"""`./mosaicfs bench [NAME…]`: run benchmarks, print a table, write JSON."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import report
from events.clock import now

if TYPE_CHECKING:
    from benchmarks.result import Result

NAMES: Final = ("crawl", "scale", "latency", "agent_memory", "gateway")


def main() -> int:
    parser = argparse.ArgumentParser(prog="mosaicfs bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--small", action="store_true", help="a tenth of the size, for a look")
    parser.add_argument("--report", action="store_true", help="write docs/measured.md and stop")
    chosen = parser.parse_args()
    if chosen.report:
        report.write()
        return 0
    unknown = set(chosen.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark {min(unknown)!r}; there are {', '.join(NAMES)}")
    results: dict[str, list[Result]] = {}
    for name in chosen.names or NAMES:
        print(f"{name} …", file=sys.stderr, flush=True)
        module = importlib.import_module(f"benchmarks.{name}")
        size = module.run.__defaults__[0] // (10 if chosen.small else 1)
        with tempfile.TemporaryDirectory(prefix="mosaicfs-bench-") as folder:
            results[name] = module.run(Path(folder), size)
        _show(name, results[name])
    if chosen.json:
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(_report(results))) + b"\n")
    return int(any(each.holds is False for group in results.values() for each in group))


def _show(name: str, results: list[Result]) -> None:
    table = Table(title=name, title_justify="left")
    for column in ("figure", "value", "bound", "", "note"):
        table.add_column(column, justify="right" if column in ("value", "bound") else "left")
    for each in results:
        bound = f"{each.holds_if} {each.bound:,g}" if each.bound is not None else ""
        verdict = {True: "holds", False: "[red]MISSED[/red]", None: ""}[each.holds]
        table.add_row(each.name, f"{each.value:,.4g} {each.unit}", bound, verdict, each.note)
    Console(width=None if sys.stdout.isatty() else 180).print(table)


def _report(results: dict[str, list[Result]]) -> dict[str, Any]:
    return {
        "at": now(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}",
        "python": platform.python_version(),
        "results": {
            name: [{**msgspec.to_builtins(each), "holds": each.holds} for each in group]
            for name, group in results.items()
        },
    }


if __name__ == "__main__":
    raise SystemExit(main())
