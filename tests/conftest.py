"""Fixtures for every test: a real broker, and a connection to it."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.kit")

from contracts.broker import Bus, bus  # noqa: E402  # after the kit's assertions are registered
from ops import provision  # noqa: E402
from tests.kit.broker import Broker, provision_settings  # noqa: E402


@pytest.fixture
def broker(tmp_path: Path) -> Generator[Broker, None, None]:
    """A running broker, not provisioned, with a store of its own."""
    broker = Broker(tmp_path / "jetstream")
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
async def link(broker: Broker) -> AsyncGenerator[Bus, None]:
    """A connection to a provisioned broker."""
    async with bus.connect(broker.url, name="test") as link:
        await provision.provision(link, provision_settings(broker))
        yield link
