"""SQLite as we use it: whole transactions, and errors that say what to do."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import apsw
import pytest

from events.errors import Permanent, Temporary
from events.machine import database
from events.machine.database import (
    DatabaseBusy,
    DatabaseCorrupt,
    DatabaseFailed,
    DiskFull,
    open_database,
    open_reader,
    transaction,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


def with_rows(path: Path, rows: int = 1) -> apsw.Connection:
    connection = open_database(path)
    connection.execute("CREATE TABLE t (x)")
    with transaction(connection, path):
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * rows)
    return connection


def count(connection: apsw.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM t").get)


@pytest.mark.parametrize(("sync", "number"), [("FULL", 2), ("NORMAL", 1)])
def test_a_database_is_opened_as_asked(path: Path, sync: str, number: int) -> None:
    connection = open_database(path, sync=sync, cache_mib=3)  # type: ignore[arg-type]  # from parametrize
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == number
    assert connection.pragma("cache_size") == -3072


def test_a_reader_sees_commits_and_cannot_write(path: Path) -> None:
    writer = with_rows(path)
    reader = open_reader(path)
    assert count(reader) == 1
    with transaction(writer, path):
        writer.execute("INSERT INTO t VALUES (2)")
        assert count(reader) == 1
    assert count(reader) == 2
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("DELETE FROM t")


def test_there_is_nothing_to_read_yet(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_reader(path)
    assert not path.exists()


def test_a_transaction_is_all_or_nothing(path: Path) -> None:
    connection = with_rows(path)

    def fail() -> None:
        with transaction(connection, path):
            connection.execute("INSERT INTO t VALUES (2)")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert count(connection) == 1
    assert not connection.in_transaction
    with transaction(connection, path):
        connection.execute("INSERT INTO t VALUES (2)")
    assert count(open_reader(path)) == 2


def test_errors_of_the_caller_are_not_dressed_up(path: Path) -> None:
    connection = with_rows(path)
    with pytest.raises(apsw.SQLError, match="no such table"), transaction(connection, path):
        connection.execute("INSERT INTO nonsense VALUES (1)")
    assert not connection.in_transaction


def test_which_errors_pass_by_themselves() -> None:
    assert all(issubclass(kind, Temporary) for kind in (DiskFull, DatabaseBusy, DatabaseFailed))
    assert issubclass(DatabaseCorrupt, Permanent)


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Two MiB of disk."""
    disk = tmp_path / "small"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(connection: apsw.Connection, path: Path) -> None:
    with transaction(connection, path):
        for _ in range(10_000):
            connection.execute("INSERT INTO t VALUES (?)", ("x" * 1000,))


def test_a_full_disk_leaves_nothing_half_written_and_passes(small_disk: Path) -> None:
    path = small_disk / "a.db"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(512 * 1024))
    connection = with_rows(path)
    with pytest.raises(DiskFull, match=r"a\.db: free some space"):
        fill(connection, path)
    assert not connection.in_transaction
    assert count(connection) == count(open_reader(path)) == 1
    assert connection.pragma("integrity_check") == "ok"
    ballast.unlink()
    with transaction(connection, path):
        connection.execute("INSERT INTO t VALUES (2)")
    assert count(connection) == 2
    connection.close()


def test_no_more_pages_is_a_full_disk_too(path: Path) -> None:
    """What a machine without root can show: SQLite's own limit raises the same error."""
    connection = with_rows(path)
    connection.pragma("max_page_count", 20)
    with pytest.raises(DiskFull):
        fill(connection, path)
    assert count(connection) == 1
    connection.pragma("max_page_count", 100_000)
    fill(connection, path)
    assert count(connection) == 10_001


# Damage


@pytest.mark.parametrize("content", [b"not a database at all" * 100, os.urandom(8192)])
def test_another_file_is_no_database(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DatabaseCorrupt, match=r"a\.db is damaged"):
        open_database(path)
    assert path.read_bytes() == content


def test_damaged_pages_are_found_when_they_are_read(path: Path) -> None:
    connection = with_rows(path, 2000)
    connection.close()
    damaged = bytearray(path.read_bytes())
    for at in range(8192, len(damaged), 4096):
        damaged[at : at + 64] = b"\xff" * 64
    path.write_bytes(damaged)
    connection = open_database(path)
    with pytest.raises(DatabaseCorrupt, match="damaged"), database.errors(path):
        connection.execute("SELECT sum(length(x)) FROM t").fetchall()
    with pytest.raises(DatabaseCorrupt), transaction(connection, path):
        connection.execute("DELETE FROM t")
    assert not connection.in_transaction


def test_a_truncated_file_is_damaged(path: Path) -> None:
    with_rows(path, 2000).close()
    os.truncate(path, path.stat().st_size // 2)

    def read() -> None:
        with database.errors(path):
            open_database(path).execute("SELECT sum(length(x)) FROM t").fetchall()

    with pytest.raises(DatabaseCorrupt):
        read()


# Others


def test_a_database_that_another_holds_is_busy_and_free_again(path: Path) -> None:
    holder = with_rows(path)
    other = open_database(path)
    other.set_busy_timeout(10)
    with transaction(holder, path):
        with pytest.raises(DatabaseBusy, match="another process"), transaction(other, path):
            pytest.fail("it is held")
        assert not other.in_transaction
    with transaction(other, path):
        other.execute("INSERT INTO t VALUES (2)")
    assert count(holder) == 2


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatabaseFailed, match=r"nowhere.*a\.db"):
        open_database(tmp_path / "nowhere" / "a.db")
