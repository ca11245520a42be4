"""Fixtures for tests of keys: a client that shows none by itself."""

from collections.abc import AsyncGenerator

import aiohttp
import pytest


@pytest.fixture
async def client() -> AsyncGenerator[aiohttp.ClientSession, None]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as client:
        yield client
