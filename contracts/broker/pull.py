"""Receiving messages: pulls of a durable consumer, of one message or of many, and plain subscriptions.

A pulled message is a `Delivery`. nats-py's own fetch hangs over a restart of the broker, so the pulls are made here.
Mixed into `bus.Bus`.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import nats.errors
from nats.aio.msg import Msg

from contracts.broker.client import FailoverClient
from contracts.broker.connection import RETRY_PAUSE_S, Connection
from contracts.broker.delivery import Delivery, acknowledge_all, hand_back_all, quietly
from contracts.process import log

PULL_EXPIRES_S = 30.0
PULL_HEARTBEAT_S = 1.0
PULL_PAUSE_S_MAX = 5.0
PULL_SILENCE_S = 2.5 * PULL_HEARTBEAT_S

NO_RESPONDERS = "503"
OF_A_DELIVERY = "$JS.ACK."
"""How the reply subject of a consumer's every message begins; the broker's answers to a pull have no such subject."""


class Pull:
    """A request for the next messages of a durable, which come as they are published. Lasts as long as its block.

    It is over once all its messages have come, if none came within `PULL_EXPIRES_S`, if the broker refused or fell
    silent, or if the connection was renewed or `stop` is set.
    """

    def __init__(self, client: FailoverClient, durable: str, limit: int, ends: list[asyncio.Event]) -> None:
        self._client, self._durable, self._left, self._ends = client, durable, limit, ends
        self.inbox: asyncio.Queue[Msg] = asyncio.Queue()
        self.served = False
        """Whether the broker has given a message or a heartbeat, or has said that the time was over."""
        self.refusal: Msg | None = None
        """The broker's answer that ended the request, other than that its time was over."""

    def end(self) -> None:
        """Have nothing more taken from the request."""
        self._left = 0

    async def take(self) -> list[Delivery]:
        """Return the messages that have come since the last `take`, and wait for the first; none once it is over."""
        taken: list[Delivery] = []
        while self._left > 0 and not any(end.is_set() for end in self._ends):
            if taken and self.inbox.empty():
                break
            message = await self._arrival() if self.inbox.empty() else self.inbox.get_nowait()
            if message is None:
                self.end()
            elif message.reply.startswith(OF_A_DELIVERY):  # whatever headers its publisher has given it
                self._client.answered()
                self.served = True
                self._left -= 1
                taken.append(self._counted(Delivery(message, self._client)))
            else:
                self._note(message)
        return taken

    def _counted(self, delivery: Delivery) -> Delivery:
        """Count a delivery, and return it."""
        self._client.counts.deliveries[self._durable] += 1
        if delivery.is_repeated:
            self._client.counts.redeliveries[self._durable] += 1
        return delivery

    async def _arrival(self) -> Msg | None:
        """Return the next message in the inbox; None without the broker's heartbeat, or once one of `ends` is set."""
        waits = [asyncio.ensure_future(end.wait()) for end in self._ends]
        arrival = asyncio.ensure_future(self.inbox.get())
        try:
            await asyncio.wait([arrival, *waits], timeout=PULL_SILENCE_S, return_when=asyncio.FIRST_COMPLETED)
            return arrival.result() if arrival.done() else None
        finally:
            for wait in (arrival, *waits):
                wait.cancel()

    def _note(self, answer: Msg) -> None:
        """Note what the broker says of the request: a heartbeat (100), the end of its time (408), or a refusal."""
        status = (answer.headers or {}).get("Status")
        if status != NO_RESPONDERS:
            self._client.answered()
        if status in ("100", "408"):
            self.served = True
        else:
            self.refusal = answer
        if status != "100":
            self.end()


class Pulls(Connection):
    """The receiving part of the bus."""

    def __init__(self, client: FailoverClient, stop: asyncio.Event | None) -> None:
        super().__init__(client, stop)
        self._pauses: dict[str, float] = {}
        """By durable, for how long the next refused pull waits."""

    async def pull(self, stream: str, durable: str, *, stop: asyncio.Event) -> Delivery | None:
        """Return the next message of a durable consumer, not acknowledged yet; None if the request is over without one.

        None means: if `stop` is not set, pull again.
        """
        async with self.pulling(stream, durable, limit=1, stop=stop) as pull:
            taken = await pull.take()
        return taken[0] if taken else None

    @asynccontextmanager
    async def pulling(
        self, stream: str, durable: str, *, limit: int, stop: asyncio.Event
    ) -> AsyncGenerator[Pull, None]:
        """Yield a request for the next `limit` messages of a durable consumer, none of them acknowledged yet.

        Messages that have come and were not taken go back to the queue with the end of the block. Without a broker, or
        after a refusal, logs that and pauses. Each request has an inbox of its own, so that no message can fall to one
        that nobody waits for.
        """
        pull = Pull(self._client, durable, limit, [stop, self._renewed])
        request = {"batch": limit, "expires": _ns(PULL_EXPIRES_S), "idle_heartbeat": _ns(PULL_HEARTBEAT_S)}
        subscription = None
        try:
            reply = self._client.new_inbox()
            subscription = await self._client.subscribe(reply, cb=pull.inbox.put)
            ask = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
            self._client.asked()
            await self._client.publish(ask, json.dumps(request).encode(), reply=reply)
        except nats.errors.Error as error:
            log.get().warning("pull_failed", stream=stream, error=repr(error))
            pull.end()
            await asyncio.sleep(RETRY_PAUSE_S)
        try:
            yield pull
        finally:
            if subscription is not None:
                await quietly(subscription.unsubscribe())
            await self._hand_back_untaken(pull)
            await self._pause_after_refusal(durable, pull, stop)

    async def _hand_back_untaken(self, pull: Pull) -> None:
        """Give back, at once, what came as we turned away."""
        untaken = [pull.inbox.get_nowait() for _ in range(pull.inbox.qsize())]
        await hand_back_all([each for each in untaken if each.reply.startswith(OF_A_DELIVERY)], self._client)

    async def acknowledge_all(self, deliveries: Iterable[Delivery]) -> None:
        """Acknowledge deliveries together, as `delivery.acknowledge_all` does."""
        await acknowledge_all([delivery.message for delivery in deliveries], self._client)

    async def _pause_after_refusal(self, durable: str, pull: Pull, stop: asyncio.Event) -> None:
        """Log the first refusal of an outage, and wait, longer each time, or until `stop`: it may be a long one.

        The pauses double from `RETRY_PAUSE_S` to `PULL_PAUSE_S_MAX`, and begin anew once the broker serves a request.
        """
        if pull.served:
            self._pauses.pop(durable, None)
        if pull.refusal is None:
            return
        pause_s = self._pauses.get(durable, RETRY_PAUSE_S)
        if durable not in self._pauses:
            log.get().warning("pull_refused", durable=durable, reason=pull.refusal.headers)
        self._pauses[durable] = min(PULL_PAUSE_S_MAX, 2 * pause_s)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause_s)

    async def listen(self, subject: str, call: Callable[[str, bytes], Awaitable[None]]) -> None:
        """Have `call` called with subject and payload of every message from now until the connection ends.

        Returns once the server knows of it. Messages during an outage are missed. Raises nats-py's errors if the client
        is not connected.
        """

        async def on_message(message: Msg) -> None:
            await call(message.subject, message.data)

        await self._client.subscribe(subject, cb=on_message)
        await self._client.flush()

    async def listen_once_connected(self, subject: str, call: Callable[[str, bytes], Awaitable[None]]) -> None:
        """Do as `listen` once there is a connection, which is waited for as long as it takes."""
        while True:
            with suppress(nats.errors.Error, OSError):  # the connection is lost again
                if self.connected:
                    await self.listen(subject, call)
                    return
            await asyncio.sleep(RETRY_PAUSE_S)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
