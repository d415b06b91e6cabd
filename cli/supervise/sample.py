"""A small tree to try MosaicFS on: what people keep, a few dozen files, all of them valid."""

from __future__ import annotations

import math
import os
import struct
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TRIPS: Final = {
    "2023 Lisbon": ("2023-05-12", ("tram", "harbour", "tiles", "sunset")),
    "2024 Alps": ("2024-08-03", ("hut", "glacier", "trail", "marmot", "summit")),
    "2025 Garden": ("2025-04-20", ("apple tree", "beds", "first tomatoes")),
}
_SONGS: Final = (("01 - Prelude", 262), ("02 - Andante", 330), ("03 - Finale", 392))
_RECIPES: Final = {
    "bread": "500 g flour\n350 g water\n10 g salt\n100 g sourdough\n",
    "tomato soup": "1 kg tomatoes\n2 onions\nbasil\nolive oil\n",
    "apple cake": "4 apples\n200 g flour\n120 g sugar\n3 eggs\n",
}


def make(folder: Path) -> int:
    """Make the tree and return how many files it has. Files that exist stay as they are."""
    count = 0
    for path, day, content in _tree():
        count += 1
        target = folder / path
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        at = datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=UTC).timestamp() + 60 * count
        os.utime(target, (at, at))
    return count


def _tree() -> Iterator[tuple[str, str, bytes]]:
    """Path, day of the last change, and content."""
    yield from _documents()
    for album, (day, titles) in _TRIPS.items():
        for number, title in enumerate(titles):
            yield f"Pictures/{album}/{title}.png", day, _png(number, len(album) + number)
    for title, pitch in _SONGS:
        yield f"Music/Small Suite/{title}.wav", "2022-11-02", _wav(pitch)
    playlist = "".join(f"{title}.wav\n" for title, _ in _SONGS)
    yield "Music/Small Suite/suite.m3u", "2022-11-02", playlist.encode()
    yield "Projects/lamp/README.md", "2025-01-15", b"# Lamp\n\nA desk lamp that follows the sun.\n"
    yield "Projects/lamp/lamp.py", "2025-01-18", b'print("Let there be light.")\n'
    yield "Projects/lamp/parts.json", "2025-01-18", b'{"led": 12, "driver": 1, "foot": 1}\n'
    drawing = '<svg xmlns="http://www.w3.org/2000/svg"><circle cx="5" cy="5" r="4"/></svg>\n'
    yield "Projects/lamp/drawing.svg", "2025-01-16", drawing.encode()


def _documents() -> Iterator[tuple[str, str, bytes]]:
    for year in (2023, 2024, 2025):
        for quarter in range(1, 5):
            name = f"Documents/Invoices/{year}/invoice {year}-Q{quarter}.pdf"
            yield name, f"{year}-{3 * quarter:02d}-28", _pdf(f"Invoice {year}-Q{quarter}")
        header = "date,what,amount\n"
        rows = "".join(f"{year}-{month:02d}-01,rent,-850.00\n" for month in range(1, 13))
        yield f"Documents/Accounts/{year}.csv", f"{year}-12-31", (header + rows).encode()
    for dish, text in _RECIPES.items():
        yield f"Documents/Recipes/{dish}.md", "2024-02-11", f"# {dish.title()}\n\n{text}".encode()
    yield "Documents/notes.txt", "2025-06-01", b"Call the plumber.\nBack up the photos.\n"
    letter = "Dear Zo\u00eb,\n\nthank you!\n"
    yield "Documents/letter to Zo\u00eb.txt", "2024-12-09", letter.encode()


def _png(shade: int, seed: int, side: int = 48) -> bytes:
    """A colour gradient."""
    rows = b"".join(
        b"\0"
        + bytes(
            channel
            for x in range(side)
            for channel in (x * 5 % 256, (y * 4 + seed * 9) % 256, shade * 40 % 256)
        )
        for y in range(side)
    )
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def _wav(pitch: int, rate: int = 8000) -> bytes:
    """Half a second of a sine."""
    step = 2 * math.pi * pitch / rate
    data = bytes(128 + round(60 * math.sin(step * n)) for n in range(rate // 2))
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate, 1, 8)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def _pdf(title: str) -> bytes:
    """One page with one line of text."""
    font = b"/Resources << /Font << /F1 5 0 R >> >>"
    stream = f"BT /F1 18 Tf 72 720 Td ({title}) Tj ET".encode()
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R %b >>" % font,
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        start,
    )
    return bytes(out)
