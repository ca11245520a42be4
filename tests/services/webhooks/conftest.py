"""Fixtures for tests of the webhook service: targets, and services that are stopped at the end."""

from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path

import pytest

from tests.kit.broker import Broker
from tests.services.webhooks.jobs import Service
from tests.services.webhooks.targets import Loopback, loopback


@pytest.fixture
async def web() -> AsyncGenerator[Loopback, None]:
    async with loopback() as web:
        yield web


@pytest.fixture
def services(tmp_path: Path, broker: Broker, web: Loopback) -> Generator[Callable[..., Service], None, None]:
    """A function that starts a webhook service with more variables."""
    started: list[Service] = []

    def start(**variables: str) -> Service:
        log = tmp_path / f"webhooks-{len(started)}.log"
        service = Service(broker, log, **{**web.environment, **variables})
        service.start()
        started.append(service)
        return service

    yield start
    for service in started:
        if service.alive:
            assert service.stop() == 0, service.text
