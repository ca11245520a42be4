"""An edge whose limits of live events are small."""

from collections.abc import AsyncGenerator
from pathlib import Path

import aiohttp
import pytest

from contracts.broker import Bus
from tests.kit.broker import Broker
from tests.services.edge.live.streams import Lively


@pytest.fixture
async def lively(
    tmp_path: Path, broker: Broker, link: Bus, client: aiohttp.ClientSession
) -> AsyncGenerator[Lively, None]:
    edge = Lively(tmp_path, broker)
    edge.start()
    await edge.ready(client)
    yield edge
    if edge.alive:
        assert edge.stop() == 0, edge.text
