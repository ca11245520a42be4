"""Keep deliveries to oneself while they are worked on, by signs of life to the broker (heartbeats of a consumer)."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager

from contracts.broker.delivery import Delivery
from contracts.process import lifetime

EXTEND_EVERY_S = 3.0  # several times in `ops.streams.STATE_ACK_WAIT_S` and `WEBHOOKS_ACK_WAIT_S`


@asynccontextmanager
async def extending_ack_waits(held: Callable[[], Iterable[Delivery]]) -> AsyncGenerator[None, None]:
    """Keep the broker from delivering to others what `held` returns, asked every `EXTEND_EVERY_S` during the block."""
    done = asyncio.Event()

    async def extend() -> None:
        while not await lifetime.wait_until_set(done, within_s=EXTEND_EVERY_S):
            for delivery in held():
                await delivery.extend_ack_wait()

    extending = asyncio.create_task(extend())
    try:
        yield
    finally:
        done.set()
        await extending
