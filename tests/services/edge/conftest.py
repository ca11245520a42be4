"""Fixtures for tests of the edge: real edges on free ports, and a client for them."""

from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path

import aiohttp
import pytest

from contracts.broker import Bus
from tests.kit import auth
from tests.kit.broker import Broker
from tests.kit.edge import Edge


@pytest.fixture
async def client() -> AsyncGenerator[aiohttp.ClientSession, None]:
    async with auth.client_session(timeout=aiohttp.ClientTimeout(20)) as client:
        yield client


@pytest.fixture
def edges(tmp_path: Path, broker: Broker) -> Generator[Callable[..., Edge], None, None]:
    """A function that starts an edge with more variables; all its edges share one broker and one store."""
    started: list[Edge] = []

    def start(**variables: str) -> Edge:
        edge = Edge(tmp_path, broker, **variables)
        edge.start()
        started.append(edge)
        return edge

    yield start
    for edge in started:
        if edge.alive:
            assert edge.stop() == 0, edge.text


@pytest.fixture
async def edge(edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession) -> Edge:
    """One ready edge, on a provisioned broker."""
    edge = edges()
    await edge.ready(client)
    return edge
