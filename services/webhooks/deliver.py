"""Deliver webhooks that are due: record → place → POST → record, by compare-and-set → next schedule → acknowledge.

The broker keeps the schedule. A due message says only whose turn it is; a crash after any step brings it again, and the
record tells what was done. A try that finds no place of its target (`targets`) goes back to the broker's schedule.
"""

import random
from typing import NamedTuple

from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus, Schedule
from contracts.job_log import JobLog
from contracts.outbound.overloaded import Overloaded
from contracts.process import log
from contracts.webhook import PUT_OFF_MAX, WebhookDelivery, WebhookDue
from services.webhooks.deliveries import Deliveries, Kept
from services.webhooks.letter import Letter, letter_for
from services.webhooks.numbers import WebhookNumbers
from services.webhooks.post import Poster
from services.webhooks.schedule import Outcome, after_try, gives_up_at, put_off_s
from services.webhooks.sign import signed_headers
from services.webhooks.targets import Targets

EARLY_S = 1.0
"""How much earlier than its time, by our estimate of the broker's clock, a due message is taken as due."""
UNSEEN_PUT_OFF_MAX = 8
"""How often in a row a try is put off without a look at its record: some four minutes in all."""
PUBLISH_WITHIN_S = 5.0


class Options(NamedTuple):
    """The settings of deliveries: secrets to sign with, the scale of all pauses, and the edge's public URL."""

    secrets: tuple[bytes, ...]
    pauses_scale: float = 1.0
    public_url: str | None = None


class Courier:
    """Makes the tries of deliveries. One for the process; any number of processes share the work.

    Every method raises `Unavailable` if the broker does not answer, and `Refused` if it has no room.
    """

    def __init__(self, broker: Bus, job_log: JobLog, deliveries: Deliveries, poster: Poster, options: Options) -> None:
        self._broker, self._log, self._deliveries = broker, job_log, deliveries
        self._poster, self._options = poster, options
        self._targets = Targets()
        self.numbers = WebhookNumbers(self._targets)

    async def deliver(self, job_id: str, due: WebhookDue) -> None:
        """Make the try that is due, record it, and schedule the next; nothing if the record says that it was made.

        A try whose target has its share of places is put off, at first without a look at anything.
        """
        now = await self._broker.now()
        known = due.target is not None and due.put_off <= UNSEEN_PUT_OFF_MAX
        if known and not self._targets.has_place(due.target or ""):
            self.numbers.put_off()
            await self._schedule(job_id, now + put_off_s(due.put_off, _draw()), _once_more(due))
            return
        try:
            kept = await self._deliveries.find(job_id)
        except wire.Undecodable as error:
            log.get().error("webhook_record_unreadable", job_id=job_id, error=str(error))
            return
        if kept is None or kept.delivery.next_at is None:
            return  # the job was deleted, or its delivery is over
        if kept.delivery.next_at > now + EARLY_S:  # the try was recorded, and a crash kept the next from its schedule
            await self._schedule(job_id, kept.delivery.next_at, WebhookDue(target=due.target))
            return
        if (letter := await letter_for(self._log, job_id, self._options.public_url)) is None:
            await self._give_up(kept, "the log has forgotten the job")
            return
        with self._targets.place(letter.target) as found:
            if not found or not await self._try(kept, letter, now):
                await self._put_off(kept, WebhookDue(target=letter.target, put_off=due.put_off), now)

    async def _try(self, kept: Kept, letter: Letter, now: float) -> bool:
        """Post, record what became of it, and schedule what follows. Return False if nothing could be posted now."""
        headers = signed_headers(
            self._options.secrets, kept.delivery.webhook_id or kept.delivery.job_id, int(now), letter.body
        )
        try:
            outcome = await self._poster.post(letter.url, letter.body, headers)
        except Overloaded:
            return False
        self._targets.note(letter.target, is_well=outcome.failure is None)
        after = after_try(
            kept.delivery,
            outcome,
            began_at=now,
            now=await self._broker.now(),
            scale=self._options.pauses_scale,
            draw=_draw(),
        )
        self.numbers.tried(outcome.failure, outcome.duration_s)
        written = await self._deliveries.write(after, over=kept.revision)
        _log_try(after, outcome)
        if written is not None:
            self.numbers.recorded(after.state)
        if written is not None and after.next_at is not None:
            await self._schedule(after.job_id, after.next_at, WebhookDue(target=letter.target))
        return True

    async def _put_off(self, kept: Kept, due: WebhookDue, now: float) -> None:
        """Give a try back to the schedule, for longer each time; give up once the delivery's time is over."""
        until = gives_up_at(kept.delivery, self._options.pauses_scale)
        if now >= until:
            await self._give_up(kept, "the target had no place free")
            return
        self.numbers.put_off()
        at = min(now + put_off_s(due.put_off, _draw()), until)
        await self._schedule(kept.delivery.job_id, at, _once_more(due))

    async def _give_up(self, kept: Kept, why: str) -> None:
        """Record that no further try follows, without one now."""
        after = replace(kept.delivery, state="given_up", next_at=None)
        if await self._deliveries.write(after, over=kept.revision) is not None:
            self.numbers.recorded(after.state)
            log.get().warning(
                "webhook_given_up", job_id=after.job_id, host=after.host, tries=len(after.tries), error=why
            )

    async def _schedule(self, job_id: str, at: float, due: WebhookDue) -> None:
        """Have the broker say at a time that a job's webhook is due, in place of what it was to say before."""
        await self._broker.publish(
            subjects.webhook_scheduled(job_id),
            wire.encode(due),
            schedule=Schedule(at, subjects.webhook_due(job_id)),
            within_s=PUBLISH_WITHIN_S,
        )


def _once_more(due: WebhookDue) -> WebhookDue:
    """Return the message of a try that was put off once more."""
    return WebhookDue(target=due.target, put_off=min(due.put_off + 1, PUT_OFF_MAX))


def _draw() -> float:
    """Return a random number from 0 to 1, for jitter."""
    return random.random()  # noqa: S311


def _log_try(after: WebhookDelivery, outcome: Outcome) -> None:
    """Log one try: the host alone, since a webhook's address may hold a secret."""
    job_id, host, tries = after.job_id, after.host, len(after.tries)
    code, ms = outcome.code, round(1000 * outcome.duration_s, 1)
    if after.state == "delivered":
        log.get().info("webhook_delivered", job_id=job_id, host=host, number=tries, code=code, ms=ms)
        return
    log.get().info(
        "webhook_failed",
        job_id=job_id,
        host=host,
        number=tries,
        code=code,
        ms=ms,
        failure=outcome.failure,
        error=outcome.why,
        allowed_by=outcome.allowed_by,
    )
    if after.state != "pending":
        log.get().warning("webhook_given_up", job_id=job_id, host=host, tries=tries, error=outcome.failure)
