"""Half a million files: what the issue demands, measured."""

from __future__ import annotations

import random
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from events.vocabulary.files import FileDeleted, GoneFile
from projectors.documents.reader import Reader
from projectors.documents.view import DocumentsView
from tests.test_projectors.tape import CREATED, Tape, a_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from projectors.documents.tokens import Vector

pytestmark = pytest.mark.slow

_FILES = 500_000
_WORDS = (
    *(
        "report",
        "invoice",
        "photo",
        "IMG",
        "holiday",
        "budget",
        "draft",
        "final",
        "notes",
        "meeting",
    ),
    *("backup", "archive", "song", "movie", "clip", "chapter", "index", "main", "test", "readme"),
)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three nodes of very different size, a folder of 100,000, and 60,000 deleted files."""
    path = tmp_path_factory.mktemp("scale") / "view.db"
    draw = random.Random(3)
    tape = Tape()
    for batch in range(_FILES // 500):
        files = []
        for n in range(batch * 500, batch * 500 + 500):
            folder = f"/home/max/{_WORDS[n // 25 % 20]}/d{n // 25}"
            one, other = draw.choice(_WORDS), draw.choice(_WORDS)
            name = f"{one}_{other}_{draw.randrange(10**6):06d}.{draw.choice(('pdf', 'jpg', 'txt'))}"
            files.append(a_file(n, name, parent="/flat" if 100 <= batch < 300 else folder))
        tape.index(*files, node="big" if batch < 850 else "middle" if batch < 990 else "small")
        if 300 <= batch < 420:
            gone = [GoneFile(id=f.id, parent=f.parent, name=f.name, v=2) for f in files]
            tape.say(FileDeleted(files=gone), "big")
    with closing(DocumentsView(path)) as view:
        view.adopt(CREATED)
        began = time.process_time()
        for at in range(0, len(tape.messages), 48):
            view.apply(tape.messages[at : at + 48])
        seconds = time.process_time() - began
    rate = 500 * len(tape.messages) / seconds
    assert rate > 60_000, f"only {rate:,.0f} records a second"
    return path


def p95(work: Callable[[], object], times: int = 100) -> float:
    """Milliseconds that 95 of 100 calls stay below; the best of three, as others work here too."""
    best = []
    for _ in range(3):
        taken = []
        for _ in range(times):
            began = time.perf_counter()
            work()
            taken.append(time.perf_counter() - began)
        best.append(sorted(taken)[int(times * 0.95)] * 1000)
    return min(best)


def test_a_file_costs_less_than_300_bytes(large: Path) -> None:
    assert large.stat().st_size / _FILES < 300


def test_opening_and_checking_takes_less_than_two_seconds(large: Path) -> None:
    began = time.process_time()
    DocumentsView(large).close()
    assert time.process_time() - began < 2


@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize("node", [None, "big", "small"])
@pytest.mark.parametrize(
    ("parent", "below"),
    [(None, None), ("/flat", None), (None, "/home"), (None, "/home/max/song")],
)
def test_a_page_takes_less_than_10_ms(
    large: Path, node: str | None, parent: str | None, below: str | None, deleted: bool
) -> None:
    with Reader(large) as reader:
        rows = reader.files(node, parent, below=below, limit=_FILES, deleted=deleted)
        draw = random.Random(1)

        def page() -> None:
            after = draw.choice(rows).id if rows else None
            reader.files(node, parent, below=below, after=after, limit=100, deleted=deleted)

        assert p95(page) < 10


@pytest.mark.parametrize("node", [None, "big", "middle", "small"])
@pytest.mark.parametrize(
    "text",
    ["{}", "{0}_{1}", "{2:06d}", "*{}*.pdf", "{0}*{1}*.jpg", "*_{2:06d}.txt", "a", "re", "_0"],
)
def test_a_search_takes_less_than_5_ms(large: Path, text: str, node: str | None) -> None:
    draw = random.Random(2)
    with Reader(large) as reader:

        def search() -> None:
            words = draw.choice(_WORDS), draw.choice(_WORDS)
            reader.search(text.format(*words, draw.randrange(10**6)), node=node)

        assert p95(search) < 5


def test_a_short_text_that_is_nowhere_takes_less_than_100_ms(large: Path) -> None:
    """No trigram helps, so every name is looked at."""
    with Reader(large) as reader:
        assert p95(lambda: reader.search("q%"), times=10) < 100


def test_a_path_is_found_in_less_than_2_ms(large: Path) -> None:
    draw = random.Random(4)
    with Reader(large) as reader:
        paths = [row.path for row in reader.files("big", limit=50_000)]
        assert p95(lambda: reader.file_at(None, draw.choice(paths))) < 2
        assert p95(lambda: reader.file_at(None, "/home/max/nothing")) < 2
        assert p95(reader.counts) < 10


def test_changes_come_at_more_than_20000_a_second(large: Path) -> None:
    with Reader(large) as reader:
        count = 0
        position: Vector = {}
        began = time.process_time()
        while count < 100_000:
            page = reader.changes(position, limit=1000, bodies=True)
            count, position = count + len(page), page[-1].after
        rate = count / (time.process_time() - began)
    assert rate > 20_000, f"only {rate:,.0f} a second"
