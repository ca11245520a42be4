"""Enlist the endings of jobs that have a `webhook_url`: ending → delivery record → first due message → acknowledge.

A durable of its own brings every ending, so that none is missed over any crash. A job without `webhook_url` costs one
look at its submission. An ending that came back from a record (`just rebuild`) is old: nothing is sent for it, unless
its delivery had begun.
"""

import asyncio
from collections.abc import Sequence

from contracts import message_ids, subjects, wire
from contracts.answers import is_answer
from contracts.broker import Bus, Delivery, Refused, Schedule, Unavailable
from contracts.events import JobCancelled, JobFailed, JobSucceeded
from contracts.job_log import JobLog
from contracts.process import lifetime, log
from contracts.webhook import WebhookDelivery, WebhookDue
from services.webhooks.deliveries import Deliveries
from services.webhooks.post import target_of

ENDINGS_HELD_MAX = 64
DELETED = "deleted"
"""The kind of ending by which a client has deleted a job: nothing of it is to stay."""
PUBLISH_WITHIN_S = 5.0
RETRY_PAUSE_S = 0.5


class Enlisting:
    """Enlists endings. One for the process."""

    def __init__(self, broker: Bus, job_log: JobLog, deliveries: Deliveries) -> None:
        self._broker, self._log, self._deliveries = broker, job_log, deliveries

    async def serve(self, stop: asyncio.Event) -> None:
        """Enlist endings as they come, until `stop` is set. What fails for want of the broker is delivered again."""
        while not stop.is_set():
            async with self._broker.pulling(
                subjects.EVENTS_STREAM, subjects.WEBHOOKS_DURABLE, limit=ENDINGS_HELD_MAX, stop=stop
            ) as pull:
                while batch := await pull.take():
                    if not await self._enlist_all(batch):
                        await lifetime.wait_until_set(stop, within_s=RETRY_PAUSE_S)

    async def _enlist_all(self, batch: Sequence[Delivery]) -> bool:
        """Enlist a batch of endings at once, acknowledge those that are done, and return whether all are."""
        results = await asyncio.gather(*(self.enlist(ending) for ending in batch), return_exceptions=True)
        done = [ending for ending, failure in zip(batch, results, strict=True) if failure is None]
        await self._broker.acknowledge_all(done)
        for failure in results:
            if isinstance(failure, Unavailable | Refused):
                log.get().warning("endings_not_enlisted", error=str(failure), batch=len(batch) - len(done))
                return False
            if failure is not None:
                raise failure
        return True

    async def enlist(self, ending: Delivery) -> None:
        """Begin the delivery of an ending if its job has a `webhook_url`; the same again changes nothing.

        The delivery of a job that was deleted is removed, whatever has become of it.

        The record is written first: a crash after it finds a record without a try, and says again that it is due.
        Raises `Unavailable`, or `Refused` if the broker has no room.
        """
        if is_answer(ending):
            return  # the state service logs and deletes it
        job_id = subjects.job_id_of(ending.subject)
        if subjects.kind_of_ending(ending.subject) == DELETED:
            await self._forget(job_id)
            return
        head = await self._head(job_id)
        if head is None or head.webhook_url is None:
            return
        parts = target_of(head.webhook_url)
        if not await self._begin(ending, "" if parts is None else parts.hostname):
            return
        due = wire.encode(WebhookDue(target=None if parts is None else parts.origin))
        await self._broker.publish(subjects.webhook_due(job_id), due, within_s=PUBLISH_WITHIN_S)

    async def _forget(self, job_id: str) -> None:
        """Remove the delivery of a job that was deleted, and write over its schedule, which names the host."""
        if await self._deliveries.remove(job_id):
            now = Schedule(await self._broker.now(), subjects.webhook_due(job_id))
            scheduled = subjects.webhook_scheduled(job_id)
            await self._broker.publish(scheduled, wire.encode(WebhookDue()), schedule=now, within_s=PUBLISH_WITHIN_S)

    async def _begin(self, ending: Delivery, host: str) -> bool:
        """Record that a delivery begins, and return whether its first try is due; False if one was made before."""
        job_id = subjects.job_id_of(ending.subject)
        why = _objection(ending)
        if why is None and await self._deliveries.write(_begun(ending, host, await self._broker.now()), over=0):
            return True
        try:
            kept = await self._deliveries.find(job_id)
        except wire.Undecodable:
            kept, why = None, "this version cannot read the delivery"
        if kept is None:
            log.get().warning("webhook_not_sent", job_id=job_id, why=why or "the delivery was removed")
            return False
        return kept.delivery.state == "pending" and not kept.delivery.tries

    async def _head(self, job_id: str) -> wire.SubmissionHead | None:
        """Return the part of a job's submission that tells its webhook; None if it is forgotten or damaged."""
        try:
            return await self._log.submission_head(job_id)
        except wire.Undecodable:
            return None


def _begun(ending: Delivery, host: str, now: float) -> WebhookDelivery:
    """Return the delivery of an ending before its first try. Its id is the same whatever published the ending."""
    job_id = subjects.job_id_of(ending.subject)
    return WebhookDelivery(
        job_id=job_id,
        webhook_id=f"{job_id}_{subjects.kind_of_ending(ending.subject)}",
        host=host,
        created_at=now,
        next_at=now,
    )


def _objection(ending: Delivery) -> str | None:
    """Return why no delivery is begun for an ending; None if one is."""
    if not isinstance(wire.ending_in(ending), JobSucceeded | JobFailed | JobCancelled):
        return "the ending is of another kind, or cannot be read"
    return "the ending came back from a record" if message_ids.is_restored(ending.message_id) else None
