"""Random changes to a real folder: whatever is done, state, events and disk agree, and identities
follow the rules."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from events import paths
from tests.test_agent.disk import Disk

NAMES = st.sampled_from(
    [
        *(b"a", b"b", b"c.txt", b"with space", b"new\nline", b"\xff\xfe", b"\xef\xbf\xbd"),
        *(b"caf\xc3\xa9", b"x" * 255, b"-rf", b"\x01\x7f", b"%_"),
    ]
)
FOLDERS = st.sampled_from([b"", b"d", b"d/e", b"f", b"f\xff"])
PLACES = st.tuples(FOLDERS, NAMES).map(lambda parts: os.path.join(*parts))


class Changes(RuleBasedStateMachine):
    """`crawl`: everything is looked at after each change. `apply`: only what changed."""

    how: Literal["crawl", "apply"] = "crawl"

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="mosaicfs-"))
        self.disk = Disk(self.folder)
        self.root = os.fsencode(self.disk.root)
        # What the rules say: the id at each place, and which ids left a place by deletion.
        self.ids: dict[bytes, str] = {}
        self.gone: dict[bytes, list[str]] = {}
        self.versions: dict[str, int] = {}
        self.clock = 0
        self.disk.crawl()

    def teardown(self) -> None:
        self.disk.state.close()
        shutil.rmtree(self.folder)

    # --- the disk ---

    def path(self, place: bytes) -> bytes:
        return os.path.join(self.root, place)

    def settled(self, *changed: bytes) -> None:
        if self.how == "crawl":
            self.disk.crawl()
        else:
            self.disk.apply(*(self.path(each) for each in changed))

    def put(self, place: bytes) -> list[bytes]:
        """Write a file that differs from every one before it; returns what is new."""
        path = self.path(place)
        made = self.make_folder(os.path.dirname(place))
        self.clock += 1
        with open(path, "wb") as file:
            file.write(b"x" * (self.clock % 7))
        os.utime(path, ns=(0, self.clock))
        return [*made, place]

    def make_folder(self, place: bytes) -> list[bytes]:
        made = []
        while place and not os.path.isdir(self.path(place)):
            made.append(place)
            place = os.path.dirname(place)
        if made:
            os.makedirs(self.path(made[0]))
        return made

    def known_id(self, place: bytes) -> str | None:
        return self.disk.living().get(paths.to_text(os.fsdecode(self.path(place))))

    def free(self, place: bytes) -> bool:
        return not os.path.lexists(self.path(place))

    # --- the rules ---

    @rule(place=PLACES)
    def write(self, place: bytes) -> None:
        if os.path.isdir(self.path(place)):
            return
        self.settled(*self.put(place))
        now = self.known_id(place)
        assert now is not None
        if place in self.ids:
            assert now == self.ids[place]
        elif self.gone.get(place):
            assert now == self.gone[place].pop()
        else:
            assert now not in self.versions
        self.ids[place] = now
        self.versions[now] = self.versions.get(now, 0) + 1

    @precondition(lambda self: self.ids)
    @rule(data=st.data(), to=PLACES)
    def rename(self, data: st.DataObject, to: bytes) -> None:
        place = data.draw(st.sampled_from(sorted(self.ids)))
        if place == to or os.path.isdir(self.path(to)):
            return
        made = self.make_folder(os.path.dirname(to))
        os.rename(self.path(place), self.path(to))
        self.settled(*made, place, to)
        mine = self.ids.pop(place)
        if to in self.ids:
            # The path decides first: what was there has changed, and what came is gone.
            self.gone.setdefault(place, []).append(mine)
            self.versions[self.ids[to]] += 1
        else:
            self.ids[to] = mine
        self.versions[mine] += 1

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(self.ids)))
        os.unlink(self.path(place))
        self.settled(place)
        self.forget(place)

    def forget(self, place: bytes) -> None:
        mine = self.ids.pop(place)
        self.gone.setdefault(place, []).append(mine)
        self.versions[mine] += 1

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def replace(self, data: st.DataObject) -> None:
        """As editors save: a new file is renamed over the old one."""
        place = data.draw(st.sampled_from(sorted(self.ids)))
        self.clock += 1
        new = self.path(b".new")
        with open(new, "wb") as file:
            file.write(b"y" * (self.clock % 7))
        os.utime(new, ns=(0, self.clock))
        os.rename(new, self.path(place))
        self.settled(b".new", place)
        self.versions[self.ids[place]] += 1

    @rule(folder=st.sampled_from([b"d", b"d/e", b"f"]), to=st.sampled_from([b"g", b"d/h", b"f/i"]))
    def rename_folder(self, folder: bytes, to: bytes) -> None:
        if not os.path.isdir(self.path(folder)) or not self.free(to) or to.startswith(folder):
            return
        made = self.make_folder(os.path.dirname(to))
        os.rename(self.path(folder), self.path(to))
        self.settled(*made, folder, to)
        for place in [each for each in self.ids if each.startswith(folder + b"/")]:
            mine = self.ids.pop(place)
            self.ids[to + place.removeprefix(folder)] = mine
            self.versions[mine] += 1

    @rule(folder=st.sampled_from([b"d", b"d/e", b"f", b"g", b"d/h"]))
    def remove_folder(self, folder: bytes) -> None:
        if not os.path.isdir(self.path(folder)):
            return
        shutil.rmtree(self.path(folder))
        self.settled(folder)
        for place in [each for each in self.ids if each.startswith(folder + b"/")]:
            self.forget(place)

    @rule()
    def nothing(self) -> None:
        before = len(self.disk.messages())
        self.disk.crawl()
        assert len(self.disk.messages()) == before

    @invariant()
    def agrees(self) -> None:
        self.disk.check()
        here = {place: self.ids[place] for place in self.ids if os.path.lexists(self.path(place))}
        assert here == self.ids
        assert {id: known.v for id, known in self.disk.files().items()} == self.versions


class LiveChanges(Changes):
    how = "apply"


for _machine in (Changes, LiveChanges):
    _machine.TestCase.settings = settings(
        max_examples=40,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )

TestCrawl = Changes.TestCase
TestLive = LiveChanges.TestCase
