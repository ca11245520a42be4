"""The broker, for what an operator runs by hand: one connection, or one sentence why there is none. Makes nothing."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from msgspec import Struct

from contracts import bus
from contracts.bus import Bus
from contracts.settings import NatsCreds, NatsUrl

CONNECT_WITHIN_S = 5


class Settings(Struct, frozen=True):
    """Where the broker is, and what it knows this process by."""

    nats_url: NatsUrl = "nats://127.0.0.1:4222"
    nats_creds: NatsCreds = None


@asynccontextmanager
async def connected(settings: Settings, *, name: str, within_s: float = CONNECT_WITHIN_S) -> AsyncGenerator[Bus, None]:
    """A connection for the length of the block; ends the process where no broker answers."""
    limit = asyncio.timeout(within_s)
    try:
        async with limit, bus.connect(settings.nats_url, name=name, creds=settings.nats_creds) as broker:
            limit.reschedule(None)
            yield broker
    except TimeoutError:
        if not limit.expired():
            raise
        raise SystemExit(f"no broker answers at {settings.nats_url} (NATS_URL); does the service run?") from None
