"""Take due webhooks from the broker, a bounded number at once, and have each delivered by `deliver`.

A due message in hand is this process's until `WEBHOOKS_ACK_WAIT_S` passes without a sign of life (at-least-once).
"""

import asyncio

from contracts import subjects, wire
from contracts.broker import Bus, Delivery, Refused, Unavailable, extending_ack_waits
from contracts.process import lifetime, log
from contracts.webhook import WebhookDue
from services.webhooks.deliver import Courier
from services.webhooks.targets import HELD_MAX

BUSY_PAUSE_S = 1.0
FINISH_WITHIN_S = 5.0
"""The time that tries in hand have to end once the process is to stop; others make them again after that."""


class DueWebhooks:
    """The due webhooks in the hand of this process. One for the process."""

    def __init__(self, broker: Bus, courier: Courier) -> None:
        self._broker, self._courier = broker, courier
        self._held: dict[str, Delivery] = {}
        """The due messages in hand, by job."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()

    async def serve(self, stop: asyncio.Event) -> None:
        """Have what is due delivered until `stop` is set; then finish for up to `FINISH_WITHIN_S`, and hand back."""
        async with extending_ack_waits(lambda: list(self._held.values())), asyncio.TaskGroup() as group:
            while not stop.is_set():
                await self._wait_for_room(stop)
                async with self._broker.pulling(
                    subjects.WEBHOOKS_STREAM, subjects.DUE_DURABLE, limit=HELD_MAX - len(self._tasks), stop=stop
                ) as pull:
                    while batch := await pull.take():
                        for due in batch:
                            task = group.create_task(self._handle(due))
                            self._tasks.add(task)
                            task.add_done_callback(self._done)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=FINISH_WITHIN_S)
            for task in self._tasks:
                task.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.set()

    async def _wait_for_room(self, stop: asyncio.Event) -> None:
        """Wait until fewer than `HELD_MAX` messages are in hand, or `stop` is set."""
        while len(self._tasks) >= HELD_MAX and not stop.is_set():
            self._room.clear()
            await lifetime.wait_for_first(self._room, stop)

    async def _handle(self, due: Delivery) -> None:
        """Have a due webhook delivered and acknowledge it, or hand it back if that cannot be done now."""
        job_id = subjects.job_id_of(due.subject)
        if job_id in self._held:  # an earlier message of this job is still being worked on
            await due.hand_back(after_s=BUSY_PAUSE_S)
            return
        self._held[job_id] = due
        try:
            await self._courier.deliver(job_id, _message_in(due))
            await self._broker.acknowledge_all([due])
        except (Unavailable, Refused) as error:
            log.get().warning("webhook_left", job_id=job_id, error=str(error))
            await due.hand_back(after_s=BUSY_PAUSE_S)
        except asyncio.CancelledError:
            await due.hand_back()
            raise
        finally:
            del self._held[job_id]


def _message_in(due: Delivery) -> WebhookDue:
    """Return the message in a delivery; one that cannot be read says no more than that the job's webhook is due."""
    try:
        return wire.decode_due(due.data)
    except wire.Undecodable:
        return WebhookDue()
