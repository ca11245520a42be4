"""Hear the live copies of a stream's messages, which the broker republishes as plain NATS. Mixed into `bus.Bus`.

A live message may be missed: in an outage, or before a cluster of brokers knows of the subscription. Each carries its
sequence in the stream, by which whoever hears it notices a gap and reads the stream itself.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import nats.errors

from contracts.broker.connection import RETRY_PAUSE_S, Connection
from contracts.broker.direct_get import Stored, republished
from contracts.broker.errors import Unavailable
from contracts.process import log


class LiveMessages(Connection):
    """The part of the bus that hears republished messages."""

    @property
    def renewed(self) -> asyncio.Event:
        """Return the Event that the next reconnect sets; live messages from before it may have been missed."""
        return self._renewed

    async def hear(self, subject: str, call: Callable[[Stored], None], *, stop: asyncio.Event) -> None:
        """Have `call` called with every message republished on a subject, until the connection ends.

        Returns once the server knows of the subscription, or `stop` is set; waits for a connection. `call` is called by
        the connection's own reader, so nothing is queued, and it must neither wait nor raise. Messages on the subject
        that no stream has republished are dropped.
        """

        def on_message(headers: bytes, data: bytes) -> None:
            message = republished(headers, data)
            if message is None:
                return
            try:
                call(message)
            except Exception as error:  # noqa: BLE001  # it would end the connection's reader
                log.get().error("live_message_failed", subject=message.subject, exc_info=error)

        while not stop.is_set():
            with suppress(nats.errors.Error, OSError, TimeoutError, Unavailable):
                self._check_begun()
                self._check_connected()
                await self._client.tap(subject, on_message)
                return
            await asyncio.sleep(RETRY_PAUSE_S)
