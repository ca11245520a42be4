"""Receiving messages: pulls of a durable consumer, one message at a time, and plain subscriptions.

A pulled message is a `Delivery`, at-least-once: it is this process's until `ack_wait` passes without a sign of life,
and comes again, to anybody, unless it is acknowledged. nats-py's own fetch hangs over a restart of the broker, so the
pulls are made here. Mixed into `bus.Bus`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

import nats.errors
from nats.aio.msg import Msg

from contracts.broker.client import FailoverClient
from contracts.broker.connection import REQUEST_TIMEOUT_S, REQUEST_WITHIN_S, RETRY_PAUSE_S, Connection
from contracts.broker.errors import Unavailable
from contracts.process import log

PULL_EXPIRES_S = 30.0
PULL_HEARTBEAT_S = 1.0
PULL_PAUSE_S_MAX = 5.0
PULL_SILENCE_S = 2.5 * PULL_HEARTBEAT_S
FLUSH_TIMEOUT_S = 1

NO_RESPONDERS = "503"
OF_A_DELIVERY = "$JS.ACK."
"""How the reply subject of a consumer's every message begins; the broker's answers to a pull have no such subject."""


class Delivery:
    """A message that a durable consumer gave us to work on: ours until `ack_wait` passes without a sign of life."""

    def __init__(self, message: Msg, client: FailoverClient) -> None:
        self._message, self._client = message, client
        self.subject, self.data = message.subject, message.data
        self.at = message.metadata.timestamp.timestamp()  # when it was stored

    async def extend_ack_wait(self) -> None:
        """Tell the broker that the work goes on, so that `ack_wait` starts again. Not confirmed; never raises."""
        await _quietly(self._message.in_progress())

    async def acknowledge(self) -> None:
        """Tell the broker that the work is done, and wait until it has stored that.

        Raises `Unavailable` if it does not confirm within `REQUEST_WITHIN_S`; the message may then come again.
        """
        deadline = _now() + REQUEST_WITHIN_S
        while _now() < deadline:
            with suppress(nats.errors.Error, TimeoutError, OSError):
                await self._message.ack_sync(timeout=REQUEST_TIMEOUT_S)
                return
            await asyncio.sleep(RETRY_PAUSE_S)
        raise Unavailable(f"acknowledging {self.subject}")

    async def hand_back(self, *, after_s: float = 0.0) -> None:
        """Give the message back undone, to the next process that pulls, at once or after a pause.

        The request is on its way when this returns: the process may end. Not confirmed; never raises.
        """
        await _quietly(self._message.nak(delay=after_s or None))
        with suppress(nats.errors.Error, TimeoutError, OSError):
            await self._client.flush(timeout=FLUSH_TIMEOUT_S)


class Pulls(Connection):
    """The receiving part of the bus."""

    def __init__(self, client: FailoverClient, stop: asyncio.Event | None) -> None:
        super().__init__(client, stop)
        self._pauses: dict[str, float] = {}
        """By durable, for how long the next refused pull waits."""

    async def pull(self, stream: str, durable: str, *, stop: asyncio.Event) -> Delivery | None:
        """Return the next message of a durable consumer, not acknowledged yet.

        None if none came within `PULL_EXPIRES_S`, the broker refused or fell silent, the connection was renewed or
        `stop` is set: look around, and pull again. Without a broker it logs, pauses and returns None too. Each pull has
        an inbox of its own, so that no message can fall to a pull that nobody waits for.
        """
        inbox: asyncio.Queue[Msg] = asyncio.Queue()
        reply = self._client.new_inbox()
        request = {"batch": 1, "expires": _ns(PULL_EXPIRES_S), "idle_heartbeat": _ns(PULL_HEARTBEAT_S)}
        try:
            subscription = await self._client.subscribe(reply, cb=inbox.put)
            ask = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
            self._client.asked()
            await self._client.publish(ask, json.dumps(request).encode(), reply=reply)
            try:
                message = await self._first(inbox, [stop, self._renewed], durable)
                return None if message is None else Delivery(message, self._client)
            finally:
                await _quietly(subscription.unsubscribe())
                while not inbox.empty():  # came as we turned away: back to the queue at once
                    await Delivery(inbox.get_nowait(), self._client).hand_back()
        except nats.errors.Error as error:
            log.get().warning("pull_failed", stream=stream, error=repr(error))
            await asyncio.sleep(RETRY_PAUSE_S)
            return None

    async def _first(self, inbox: asyncio.Queue[Msg], ends: list[asyncio.Event], durable: str) -> Msg | None:
        """Return the first message of the consumer in a pull's inbox.

        None once one of `ends` is set, after a refusal, when the pull has run out, or without the broker's heartbeat.
        After a refusal it pauses first, unless `ends[0]` is set.
        """
        waits = [asyncio.ensure_future(end.wait()) for end in ends]
        try:
            while not any(end.is_set() for end in ends):
                arrival = asyncio.ensure_future(inbox.get())
                await asyncio.wait([arrival, *waits], timeout=PULL_SILENCE_S, return_when=asyncio.FIRST_COMPLETED)
                if not arrival.done():
                    arrival.cancel()
                    return None
                message = arrival.result()
                if message.reply.startswith(OF_A_DELIVERY):  # whatever headers its publisher has given it
                    self._client.answered()
                    self._pauses.pop(durable, None)
                    return message
                status = (message.headers or {}).get("Status")
                if status != NO_RESPONDERS:
                    self._client.answered()
                if status in ("100", "408"):
                    self._pauses.pop(durable, None)
                match status:
                    case "100":
                        continue
                    case "408":
                        return None
                    case _:
                        await self._pause_after_refusal(durable, message, ends[0])
                        return None
            return None
        finally:
            for wait in waits:
                wait.cancel()

    async def _pause_after_refusal(self, durable: str, message: Msg, stop: asyncio.Event) -> None:
        """Log the first refusal of an outage, and wait, longer each time, or until `stop`: it may be a long one.

        The pauses double from `RETRY_PAUSE_S` to `PULL_PAUSE_S_MAX`.
        """
        pause_s = self._pauses.get(durable, RETRY_PAUSE_S)
        if durable not in self._pauses:
            log.get().warning("pull_refused", durable=durable, reason=message.headers)
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


def _now() -> float:
    return asyncio.get_running_loop().time()


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


async def _quietly(closing: Awaitable[None]) -> None:
    """Close or answer through a connection that may be closed already."""
    with suppress(nats.errors.Error, OSError):
        await closing
