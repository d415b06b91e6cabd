"""`docs/measured.md` from the recorded results: `./mosaicfs bench --report` writes it anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

RESULTS: Final = Path(__file__).parent / "results"
PAGE: Final = Path(__file__).parent.parent / "docs" / "measured.md"

_HEAD: Final = """# Measured

Written by `./mosaicfs bench --report` from `benchmarks/results/`; do not edit. To measure anew:
`./mosaicfs bench --json benchmarks/results/bench.json`. Machines differ and are noisy: trust the
ratios to a peer of the same run more than the seconds.
"""

_KILLS: Final = """## Kills

`./mosaicfs test --slow tests/chaos`: kill -9 at seeded moments while files change all the time.
Afterwards the view must equal the disk and a replay of the log, and every version of every file
must stand in the log exactly once.

| What | How many |
|---|---|"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    bench = RESULTS / "bench.json"
    if bench.exists():
        parts += _bench(msgspec.json.decode(bench.read_bytes()))
    kills = RESULTS / "kills.json"
    if kills.exists():
        parts += _kills(msgspec.json.decode(kills.read_bytes()))
    return "\n".join(parts)


def _bench(report: dict[str, Any]) -> list[str]:
    lines = [f"Run at {report['at']} on {report['machine']}, Python {report['python']}.\n"]
    for name, group in report["results"].items():
        lines += [
            f"## {name}\n",
            f"`./mosaicfs bench {name}`\n",
            "| Figure | Value | Bound | Holds | Note |",
            "|---|---:|---:|---|---|",
        ]
        for each in group:
            bound = ""
            if each.get("bound") is not None:
                bound = f"{each.get('holds_if', 'at most')} {each['bound']:,g}"
            holds = {True: "yes", False: "**no**", None: ""}[each["holds"]]
            value = f"{each['value']:,.4g} {each['unit']}"
            cells = (each["name"].strip(), value, bound, holds, each.get("note", ""))
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def _kills(report: dict[str, Any]) -> list[str]:
    fired = ", ".join(f"{name} {count}" for name, count in sorted(report["kills"].items()))
    made = ", ".join(f"{name} {count:,}" for name, count in sorted(report["changes"].items()))
    compared = ", ".join(f"{count:,} {name}" for name, count in report["compared"].items())
    rows = {
        f"Kills that fired (seed {report['seed']})": fired,
        "Changes made on the disk meanwhile": made,
        "In the log": ", ".join(f"{count:,} {what}" for what, count in report["log"].items()),
        "Compared with a replay, all equal": compared,
    }
    return [_KILLS, *(f"| {what} | {many} |" for what, many in rows.items()), ""]


def write() -> None:
    """Write the page."""
    PAGE.write_text(page())
