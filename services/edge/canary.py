"""A failure detector for the broker: each edge publishes a canary message every two seconds, and readiness is its ack.

A broker without a quorum still answers stream info and direct gets, and for a while reads; only a write shows that a
submission could be accepted. The edge's other writes count too, because the canary's stream may have a leader while
another stream has none. `/readyz` and `/health` report the `objection` that is known here, and ask the broker nothing.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from nats.js.errors import APIError, NotFoundError

from contracts import subjects
from contracts.broker import Bus, Refused, Unavailable
from contracts.process import lifetime

EVERY_S = 2.0
PUBLISH_WITHIN_S = 4.0
INFO_WITHIN_S = 2.0
FAILING_AFTER_S = 8.0
ASK_AFTER_S = 4.0

STREAMS = (
    subjects.JOBS_STREAM,
    subjects.EVENTS_STREAM,
    subjects.CANARY_STREAM,
    subjects.bucket_stream(subjects.STATUS_BUCKET),
)


class Canary:
    """The canary of one edge, whose id is `instance`. It is published for as long as the block of `canary` lasts."""

    def __init__(self, broker: Bus, instance: str) -> None:
        self._broker = broker
        self._subject = subjects.canary(instance)
        self._own = (subjects.job(instance), subjects.cancellation_of(instance))
        """One subject in each stream that this edge writes to. Nothing is ever stored under these subjects."""
        self._provisioned = False

    @property
    def lasting(self) -> str | None:
        """Return why the broker cannot serve this edge until an operator acts; None if it can, or if unknown."""
        if self._broker.begun and (why := self._broker.server.objection) is not None:
            return why
        if self._broker.complaints.refusal is not None:
            return "the broker refuses this edge's credentials (NATS_URL, NATS_CREDS)"
        if self._broker.complaints.no_tls is not None:
            return "the broker and this edge agree on no TLS (NATS_URL, NATS_CA, NATS_CERT)"
        return None

    @property
    def objection(self) -> str | None:
        """Return why the broker would not take a submission now; None if it would, as far as is known."""
        if (why := self.lasting) is not None:
            return why
        canaries = self._broker.acknowledgements(self._subject)
        if not (self._provisioned and canaries.ever_answered):
            if self._broker.connected and self._broker.complaints.denied is not None:
                return "the broker denies this edge's user a right (NATS_URL, NATS_CREDS)"
            return "the broker does not answer, or is not provisioned"
        if max(self._broker.acknowledgements(each).lasts_s for each in (self._subject, *self._own)) >= FAILING_AFTER_S:
            return "the broker takes no writes"
        return None

    async def publish_until(self, stop: asyncio.Event) -> None:
        """Publish a canary every `EVERY_S`, and look for the streams, until `stop`: `objection` goes by the results.

        A single slow write is retried, and is no failure yet.
        """
        while not stop.is_set():
            with suppress(Unavailable, Refused):
                await self._broker.publish(self._subject, b"", within_s=PUBLISH_WITHIN_S)
            await self._look_for_streams()
            await self._ask_for_own()
            await lifetime.wait_until_set(stop, within_s=EVERY_S)

    async def _look_for_streams(self) -> None:
        """Note whether all `STREAMS` exist, for `objection`. If the broker does not answer, the last answer stands."""
        try:
            await asyncio.gather(*(self._broker.stream(name, within_s=INFO_WITHIN_S) for name in STREAMS))
            self._provisioned = True
        except NotFoundError:
            self._provisioned = False
        except (Unavailable, APIError):
            return

    async def _ask_for_own(self) -> None:
        """Provoke a refusal from a stream in which the edge's last write was not acknowledged, to see it answer again.

        Otherwise an edge that gets no submissions because it is not ready would never become ready again.
        """
        for subject in self._own:
            if self._broker.acknowledgements(subject).lasts_s >= ASK_AFTER_S:
                await self._broker.have_refused(subject)


@asynccontextmanager
async def canary(broker: Bus, instance: str) -> AsyncGenerator[Canary, None]:
    """Publish a canary for the length of the block, and give the block the `Canary`. `instance` is this edge's id."""
    made = Canary(broker, instance)
    async with lifetime.beside(made.publish_until):
        yield made
