"""The broker as every process sees it: `connect` opens it, and `Bus` publishes, reads, counts and pulls.

A thin wrapper that makes nats-py 2.16 keep its promises over restarts and lost answers. Of WanJet it knows the names
in `subjects`; payloads are bytes, which `contracts.wire` decodes.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from contracts.broker import websockets  # before every module that imports nats-py
from contracts.broker.client import FailoverClient
from contracts.broker.kv import Buckets
from contracts.broker.pull import Pulls


class Bus(Buckets, Pulls):
    """The broker over one connection, which `connect` opens and closes."""


@asynccontextmanager
async def connect(
    url: str, *, name: str, creds: str | None = None, stop: asyncio.Event | None = None, wait: bool = True
) -> AsyncGenerator[Bus, None]:
    """Yield a bus whose connection lasts as long as the block.

    Waits for the broker as long as it takes, unless `stop` is set, or, with `wait=False`, connects in the background
    and answers `Unavailable` until then. If no connection can be tried at all, for example because `url` is no address,
    `stop` is set, and nats-py's error raised with `wait`.

    `url` may name several servers, parted by commas: if the current one is silent the client goes to the next. `name`
    tells the broker who connects, and begins the names of inboxes. `creds` is the path of a credentials file or an nkey
    seed file. `stop` is set if the connection is lost for good, so that the process ends and is started again; once it
    is set, requests no longer wait for a leader.
    """
    servers = [server.strip() for server in url.split(",")]
    websockets.load(servers)
    client = FailoverClient()
    bus = Bus(client, stop)
    beginning = asyncio.create_task(bus.begin(servers, name, creds))
    beginning.add_done_callback(bus.on_begun)
    watching = asyncio.create_task(client.watch()) if len(servers) > 1 else None
    told_to_stop = asyncio.create_task((stop or asyncio.Event()).wait())
    try:
        if wait:
            await asyncio.wait([beginning, told_to_stop], return_when=asyncio.FIRST_COMPLETED)
            if beginning.done():
                beginning.result()  # raises if no connection can be tried
        yield bus
    finally:
        for task in (beginning, told_to_stop, watching):
            if task is not None:
                task.cancel()
        await bus.end()
