"""Messages that a durable consumer has given this process to work on: keep, acknowledge, hand back. For `pull`.

At-least-once: a delivery is this process's until `ack_wait` passes without a sign of life, and comes again, to anybody,
unless it is acknowledged.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress

import nats.errors
from nats.aio.msg import Msg

from contracts.broker.client import FailoverClient
from contracts.broker.connection import REQUEST_TIMEOUT_S, REQUEST_WITHIN_S, RETRY_PAUSE_S
from contracts.broker.errors import Unavailable
from contracts.process import tracing

FLUSH_TIMEOUT_S = 1


class Delivery:
    """A message that a durable consumer gave us to work on: ours until `ack_wait` passes without a sign of life."""

    def __init__(self, message: Msg, client: FailoverClient) -> None:
        self.message, self._client = message, client
        self.subject, self.data = message.subject, message.data
        metadata = message.metadata
        self.at = metadata.timestamp.timestamp()  # when it was stored
        self.sequence, self.place = metadata.sequence.stream, metadata.sequence.consumer
        """Its sequence in the stream, and its place among all that the consumer has ever given to anybody."""
        self.is_repeated = metadata.num_delivered > 1
        self.traceparent = (message.headers or {}).get(tracing.HEADER)

    @property
    def message_id(self) -> str | None:
        """Return the `Nats-Msg-Id` under which the message was published; None without one."""
        return (self.message.headers or {}).get("Nats-Msg-Id")

    @property
    def read_out_of(self) -> str | None:
        """Return the stream that the message's own headers name; None without. The broker names it in what it copies
        from a stream or reads out."""
        return (self.message.headers or {}).get("Nats-Stream")

    async def extend_ack_wait(self) -> None:
        """Tell the broker that the work goes on, so that `ack_wait` starts again. Not confirmed; never raises."""
        await quietly(self.message.in_progress())

    async def acknowledge(self) -> None:
        """Tell the broker that the work is done, and wait until it has stored that.

        Raises `Unavailable` if it does not confirm within `REQUEST_WITHIN_S`; the message may then come again.
        """
        deadline = _now() + REQUEST_WITHIN_S
        while _now() < deadline:
            with suppress(nats.errors.Error, TimeoutError, OSError):
                await self.message.ack_sync(timeout=REQUEST_TIMEOUT_S)
                return
            await asyncio.sleep(RETRY_PAUSE_S)
        raise Unavailable(f"acknowledging {self.subject}")

    async def hand_back(self, *, after_s: float = 0.0) -> None:
        """Give the message back undone, to the next process that pulls, at once or after a pause.

        The request is on its way when this returns: the process may end. Not confirmed; never raises.
        """
        await quietly(self.message.nak(delay=after_s or None))
        await flushed(self._client)


async def acknowledge_all(messages: Sequence[Msg], client: FailoverClient) -> None:
    """Tell the broker that the work on these messages is done.

    The broker has been told when this returns, if it answers within `FLUSH_TIMEOUT_S`. Not confirmed, since a broker
    answers no acknowledgement of a message that is not delivered any more, as after `just replay`. What is lost comes
    again after `ack_wait`. Never raises.
    """
    for message in messages:
        await quietly(message.ack())
    if messages:
        await flushed(client)


async def hand_back_all(messages: Sequence[Msg], client: FailoverClient) -> None:
    """Give these messages back undone, as `Delivery.hand_back` does with one."""
    for message in messages:
        await quietly(message.nak())
    if messages:
        await flushed(client)


async def flushed(client: FailoverClient) -> None:
    """Wait until the server has what the client was given to send, or for `FLUSH_TIMEOUT_S`. Never raises."""
    with suppress(nats.errors.Error, TimeoutError, OSError):
        await client.flush(timeout=FLUSH_TIMEOUT_S)


async def quietly(closing: Awaitable[None]) -> None:
    """Close or answer through a connection that may be closed already."""
    with suppress(nats.errors.Error, OSError):
        await closing


def _now() -> float:
    return asyncio.get_running_loop().time()
