"""Fixtures for tests of the whole road: broker, provisioning, state, a 2-rank cluster, an edge, and a client."""

from collections.abc import AsyncGenerator, Generator

import aiohttp
import pytest

from contracts.broker import Bus, bus
from tests.kit import auth
from tests.kit.road import Road

PUBLIC_URL = "https://video.example.org/"


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Generator[Road, None, None]:
    """One road for all modules that do it no harm, on a folder of its own."""
    with Road(tmp_path_factory.mktemp("road"), PUBLIC_URL=PUBLIC_URL).running(MAX_CONCURRENT_TASKS="25") as road:
        yield road


@pytest.fixture
async def client(road: Road) -> AsyncGenerator[aiohttp.ClientSession, None]:
    """A client of a road that is ready."""
    async with auth.client_session(timeout=aiohttp.ClientTimeout(30)) as client:
        await road.edge.ready(client)
        await road.live(client)
        yield client


@pytest.fixture
async def link(road: Road) -> AsyncGenerator[Bus, None]:
    async with bus.connect(road.broker.url, name="test") as link:
        yield link
