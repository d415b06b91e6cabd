"""A log with some of everything, and a gateway that serves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.test_couch.world import Gateway, Log, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx


@pytest.fixture
def log() -> Log:
    """Some of everything."""
    log = Log()
    log.register()
    files = log.new_files([f"file {i:03d}.txt" for i in range(20)])
    more = log.new_files([f"bild-{i}.jpg" for i in range(5)], parent="/data/photos", size=1000)
    log.rule("r1", "work")
    log.rule("gone", "old")
    log.label(files[0], "red", "blue")
    log.label(files[1], "red")
    log.annotate(more, width=640)
    log.replicate(more)
    log.notice()
    log.change_files(files[3:5], size=99)
    log.delete_files(files[10:12])
    log.drop_rule("gone")
    log.configure_node("Anna's machine")
    log.heartbeat()
    log.secrets()
    return log


@pytest.fixture
def gateway(tmp_path: Path, log: Log) -> Iterator[Gateway]:
    with serving(tmp_path / "gateway", log) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    """An administrator."""
    with gateway.client() as client:
        yield client


@pytest.fixture
def user(gateway: Gateway) -> Iterator[httpx.Client]:
    """Somebody with a login and no more."""
    with gateway.client("bob") as client:
        yield client
