"""One log, projector and gateway for all tests of a worker; tests use names of their own in it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.test_gateway.world import ALPHA, BETA, Gateway, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world")) as made:
        made.node(ALPHA)
        made.node(BETA)
        yield made


@pytest.fixture(scope="session")
def gateway(world: World) -> Gateway:
    return world.gateway(settings="logins_per_minute = 1000")


@pytest.fixture
def token(gateway: Gateway) -> str:
    return gateway.login()


@pytest.fixture
def api(gateway: Gateway, token: str) -> Iterator[httpx.Client]:
    """Logged in."""
    with gateway.client(token) as client:
        yield client


@pytest.fixture
def anyone(gateway: Gateway) -> Iterator[httpx.Client]:
    """Not logged in."""
    with gateway.client() as client:
        yield client


@pytest.fixture
def word() -> str:
    """A name that no other test uses."""
    return f"w{uuid.uuid4().hex[:12]}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "world" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.nats)
