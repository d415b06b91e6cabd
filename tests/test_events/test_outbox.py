"""The outbox: in order, under stable ids, and part of the writer's own transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.codec import MESSAGE_ID, decode
from events.machine import database
from events.moments import moment
from events.outbox import Outbox
from events.vocabulary.nodes import NodeOnline
from events.vocabulary.notices import NoticeRaised

if TYPE_CHECKING:
    from pathlib import Path

NOW = moment(0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


@pytest.fixture
def connection(path: Path) -> apsw.Connection:
    return database.open_database(path, sync="FULL")


@pytest.fixture
def outbox(connection: apsw.Connection) -> Outbox:
    return Outbox(connection)


def add(outbox: Outbox, number: int) -> int:
    return outbox.add(NodeOnline(v=number), "n", time=NOW, actor="agent")


def versions(outbox: Outbox, limit: int = 1000, limit_bytes: int = 10**9) -> list[object]:
    return [
        getattr(decode(*each.message).event, "v", None)
        for each in outbox.waiting(limit, limit_bytes)
    ]


def test_messages_wait_in_the_order_in_which_they_came(outbox: Outbox) -> None:
    for number in range(1, 101):
        add(outbox, number)
    assert versions(outbox) == list(range(1, 101))
    assert outbox.depth() == 100


def test_a_message_waits_as_it_will_be_published(outbox: Outbox) -> None:
    n = outbox.add(NodeOnline(v=1), "a b", time=NOW, actor="agent:ä", trace="t\n")
    (waiting,) = outbox.waiting(1, 1)
    assert waiting.n == n
    assert waiting.message.subject == "mosaic.nodes.a=20b.online"
    read = decode(*waiting.message)
    assert (read.event, read.time, read.actor) == (NodeOnline(v=1), NOW, "agent:ä")
    assert read.trace == "t\n"
    assert read.id == f"{outbox.writer}-{n}"


def test_ids_are_the_same_for_every_try_and_after_a_restart(
    outbox: Outbox, connection: apsw.Connection, path: Path
) -> None:
    for number in range(1, 4):
        add(outbox, number)
    before = outbox.waiting(10, 10**6)
    assert outbox.waiting(10, 10**6) == before
    connection.close()
    again = Outbox(database.open_database(path, sync="FULL"))
    assert again.waiting(10, 10**6) == before
    ids = [each.message.headers[MESSAGE_ID] for each in before]
    assert len(set(ids)) == 3


def test_a_number_is_never_used_twice(
    outbox: Outbox, connection: apsw.Connection, path: Path
) -> None:
    """Not even of the last row, after a restart: its id is in the log already."""
    last = [add(outbox, number) for number in range(1, 4)][-1]
    outbox.remove([1, 2, 3])
    connection.close()
    again = Outbox(database.open_database(path))
    assert add(again, 4) == last + 1


def test_two_outboxes_never_give_one_id(tmp_path: Path) -> None:
    writers = {Outbox(database.open_database(tmp_path / str(each))).writer for each in range(20)}
    assert len(writers) == 20


def test_a_finding_and_its_event_live_or_die_together(
    outbox: Outbox, connection: apsw.Connection, path: Path
) -> None:
    connection.execute("CREATE TABLE found (name TEXT)")

    def find(name: str) -> None:
        with database.transaction(connection, path):
            connection.execute("INSERT INTO found VALUES (?)", (name,))
            add(outbox, 1)
            if name == "bad":
                raise RuntimeError("in the middle")

    find("good")
    with pytest.raises(RuntimeError, match="in the middle"):
        find("bad")
    assert connection.execute("SELECT name FROM found").fetchall() == [("good",)]
    assert outbox.depth() == 1
    assert not connection.in_transaction


@pytest.mark.parametrize(
    ("where", "text"), [((), "x"), (("",), "x"), (("n", "m"), "x"), (("n",), "\udc80")]
)
def test_what_no_message_can_be_leaves_no_row(
    outbox: Outbox, connection: apsw.Connection, path: Path, where: tuple[str, ...], text: str
) -> None:
    with database.transaction(connection, path):
        with pytest.raises(ValueError, match=r"takes|empty|surrogates"):
            outbox.add(NodeOnline(v=1), *where, time=NOW, actor=text)
        add(outbox, 2)
    assert versions(outbox) == [2]


def test_only_what_is_removed_is_gone(outbox: Outbox) -> None:
    numbers = [add(outbox, number) for number in range(1, 6)]
    outbox.remove([numbers[1], numbers[3], 999])
    outbox.remove([])
    assert versions(outbox) == [1, 3, 5]


@given(st.lists(st.integers(0, 3000), max_size=12), st.integers(1, 12), st.integers(0, 10_000))
def test_the_limits_hold_and_the_first_always_comes(
    sizes: list[int], limit: int, limit_bytes: int
) -> None:
    outbox = Outbox(apsw.Connection(":memory:"))
    for size in sizes:
        notice = NoticeRaised(severity="info", title="", message="x" * size)
        outbox.add(notice, "n", "c", time=NOW, actor="agent")
    taken = outbox.waiting(limit, limit_bytes)
    bodies = [len(each.message.body) for each in taken]
    assert [each.n for each in taken] == list(range(1, len(taken) + 1))
    assert len(taken) <= limit
    assert len(taken) <= 1 or sum(bodies) <= limit_bytes
    if sizes:
        assert taken
    if 0 < len(taken) < min(limit, len(sizes)):
        following = outbox.waiting(len(taken) + 1, 10**9)[-1]
        assert sum(bodies) + len(following.message.body) > limit_bytes


def test_another_process_may_add_too(outbox: Outbox, path: Path) -> None:
    """The mount writes access records into the agent's outbox."""
    other = Outbox(database.open_database(path))
    assert other.writer == outbox.writer
    add(outbox, 1)
    add(other, 2)
    add(outbox, 3)
    assert versions(other) == [1, 2, 3]
