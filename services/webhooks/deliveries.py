"""The bucket of deliveries as the webhook service writes it: one record a job, by compare-and-set.

The record is the truth about a delivery, and the messages of the schedule only say when to look at it. So everything
may happen twice: whoever finds a try recorded does not make it again.
"""

from msgspec import Struct

from contracts import subjects, wire
from contracts.broker import Bus, WrongSequence
from contracts.process import log
from contracts.webhook import WebhookDelivery


class Kept(Struct, frozen=True):
    """A delivery in the bucket and its revision."""

    delivery: WebhookDelivery
    revision: int


class Deliveries:
    """The deliveries in the bucket. One for the process. Every method raises `Unavailable` without the broker."""

    def __init__(self, broker: Bus) -> None:
        self._broker = broker

    async def find(self, job_id: str) -> Kept | None:
        """Return a job's delivery by the broker's leader; None if there is none, or it was removed.

        Raises `wire.Undecodable` for one that this version cannot read.
        """
        stream, key = subjects.bucket_stream(subjects.DELIVERIES_BUCKET), _key(job_id)
        stored = await self._broker.last(stream, key)
        return Kept(wire.decode_delivery(stored.data), stored.sequence) if stored and stored.data else None

    async def write(self, delivery: WebhookDelivery, *, over: int) -> int | None:
        """Write a delivery over this revision (0 for none), and return its own; None if another was written meanwhile.

        A write whose answer was lost counts as written.
        """
        value = wire.encode(delivery)
        try:
            return await self._broker.put(subjects.DELIVERIES_BUCKET, delivery.job_id, value, revision=over)
        except WrongSequence:
            stream, key = subjects.bucket_stream(subjects.DELIVERIES_BUCKET), _key(delivery.job_id)
            there = await self._broker.last(stream, key)
            if there is not None and there.data == value:
                return there.sequence
            log.get().info("webhook_overtaken", job_id=delivery.job_id)
            return None

    async def remove(self, job_id: str) -> bool:
        """Remove a job's delivery, and return whether it had one. The write of a try in hand does not bring it back."""
        stored = await self._broker.last(subjects.bucket_stream(subjects.DELIVERIES_BUCKET), _key(job_id))
        if stored is None or not stored.data:
            return False
        await self._broker.put_last(subjects.DELIVERIES_BUCKET, job_id, b"")
        return True


def _key(job_id: str) -> str:
    return subjects.bucket_key(subjects.DELIVERIES_BUCKET, job_id)
