"""Connects the commands of an operator to the broker, or ends them with one sentence that says why it cannot.

`provision`, `events`, `replay`, `rebuild` and the bench enter `connected`.
"""

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from msgspec import Struct

from contracts.broker import Bus, bus
from contracts.process.env import BadSetting, shown
from contracts.process.settings import NatsCreds, NatsUrl

CONNECT_WITHIN_S = 5
POLL_S = 0.05


class Settings(Struct, frozen=True):
    """The broker's URL, and the file of the credentials that this process shows it."""

    nats_url: NatsUrl = "nats://127.0.0.1:4222"
    nats_creds: NatsCreds = None


@asynccontextmanager
async def connected(
    settings: Settings, *, name: str, within_s: float = CONNECT_WITHIN_S, stop: asyncio.Event | None = None
) -> AsyncGenerator[Bus, None]:
    """Yield a connection for the length of the block. With an infinite `within_s`, wait for a broker until `stop`.

    If `stop` is set first, the connection that is yielded may not have reached a broker. Raises `SystemExit` if no
    broker answers within `within_s`, and `BadSetting` if the broker refuses the credentials or the settings allow no
    connection.
    """
    stop = stop or asyncio.Event()
    url, creds = settings.nats_url, settings.nats_creds
    async with bus.connect(url, name=name, creds=creds, stop=stop, wait=False) as broker:
        deadline = asyncio.get_running_loop().time() + within_s
        while not (broker.begun or stop.is_set() or broker.refusal or broker.failure):
            if asyncio.get_running_loop().time() > deadline:
                raise SystemExit(f"no broker answers at {shown(url)} (NATS_URL); does the service run?")
            await asyncio.sleep(POLL_S)
        if broker.failure:
            raise BadSetting(f"no connection to {shown(url)} can be made (NATS_URL, NATS_CREDS): {broker.failure}")
        if broker.refusal:
            raise BadSetting(
                f"the broker at {shown(url)} refuses these credentials (NATS_URL, NATS_CREDS): {broker.refusal}"
            )
        if math.isfinite(within_s) and not broker.begun:
            raise SystemExit(f"no broker answers at {shown(url)} (NATS_URL)")
        yield broker
