"""The broker as every process sees it: `connect` opens it, and `Bus` publishes, reads, counts, pulls and hears.

A thin wrapper that makes nats-py 2.16 keep its promises over restarts and lost answers. Of WanJet it knows the names
in `subjects`; payloads are bytes, which `contracts.wire` decodes.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from nats.aio.msg import Msg

from contracts.broker import websockets
from contracts.broker.client import FailoverClient
from contracts.broker.counts import Counts
from contracts.broker.delivery import quietly
from contracts.broker.direct_get import Stored
from contracts.broker.kv import Buckets
from contracts.broker.live import LiveMessages
from contracts.broker.pull import Pulls
from contracts.broker.runs import Runs
from contracts.broker.service import Services
from contracts.broker.streams import EVERY_SUBJECT

ANSWERS_MAX = 1000
"""How many answers to one question are taken."""


class Bus(Buckets, Runs, Pulls, LiveMessages, Services):
    """The broker over one connection, which `connect` opens and closes."""

    async def first_after(self, stream: str, sequence: int) -> Stored | None:
        """Return the first message of a stream after a sequence, from any replica; None if there is none."""
        messages, _ = await self._direct_batch(stream, {"batch": 1, "seq": sequence + 1, "next_by_subj": EVERY_SUBJECT})
        return messages[0] if messages else None

    async def ask_all(self, subject: str, *, quiet_s: float) -> list[bytes]:
        """Return the answers of all who listen on a subject, until none has come for `quiet_s`.

        Raises nats-py's errors if the client is not connected.
        """
        inbox: asyncio.Queue[Msg] = asyncio.Queue()
        reply = self._client.new_inbox()
        subscription = await self._client.subscribe(reply, cb=inbox.put)
        found: list[bytes] = []
        try:
            await self._client.publish(subject, reply=reply)
            with suppress(TimeoutError):
                while len(found) < ANSWERS_MAX:
                    found.append((await asyncio.wait_for(inbox.get(), quiet_s)).data)
        finally:
            await quietly(subscription.unsubscribe())
        return found

    @property
    def counts(self) -> Counts:
        """Return the counts of what went wrong over this connection; they go on counting."""
        return self._client.counts

    @property
    def reconnects(self) -> int:
        """Return how many times the connection was lost and made again."""
        return self._client.stats["reconnects"]


@asynccontextmanager
async def connect(
    url: str,
    *,
    name: str,
    user: str | None = None,
    creds: str | None = None,
    tls: ssl.SSLContext | None = None,
    stop: asyncio.Event | None = None,
    wait: bool = True,
) -> AsyncGenerator[Bus, None]:
    """Yield a bus whose connection lasts as long as the block.

    Waits for the broker as long as it takes, unless `stop` is set, or, with `wait=False`, connects in the background
    and answers `Unavailable` until then. If no connection can be tried at all, for example because `url` is no address,
    `stop` is set, and nats-py's error raised with `wait`.

    `url` may name several servers, parted by commas: if the current one is silent the client goes to the next. `name`
    tells the broker who connects. `creds` is the path of a credentials file or an nkey seed file, and `user` whom those
    stand for, by default `name`: it begins the names of inboxes. `tls` is whom to trust, and which certificate to show.
    `stop` is set if the connection is lost for good; once it is set, requests no longer wait for a leader.
    """
    servers = [server.strip() for server in url.split(",")]
    websockets.load(servers)
    client = FailoverClient()
    bus = Bus(client, stop)
    beginning = asyncio.create_task(bus.begin(servers, name, user or name, creds, tls))
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
