"""Fixtures for tests of the whole road: broker, provisioning, state, a 2-rank cluster, an edge, and a client."""

from collections.abc import AsyncGenerator, Generator

import aiohttp
import pytest

from contracts.broker import Bus, bus
from inference.pocket.build import build
from tests.kit.road import MODEL, Road


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Generator[Road, None, None]:
    """One road for all modules that do it no harm, on a folder of its own."""
    road = Road(tmp_path_factory.mktemp("road"))
    build(road.folder / "tiny", MODEL)
    road.broker.start()
    try:
        road.run("-m", "ops.provision", MAX_CONCURRENT_TASKS="25")
        road.start(road.state, road.cluster, road.edge)
        yield road
    finally:
        road.stop()


@pytest.fixture
async def client(road: Road) -> AsyncGenerator[aiohttp.ClientSession, None]:
    """A client of a road that is ready."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as client:
        await road.edge.ready(client)
        await road.live(client)
        yield client


@pytest.fixture
async def link(road: Road) -> AsyncGenerator[Bus, None]:
    async with bus.connect(road.broker.url, name="test") as link:
        yield link
