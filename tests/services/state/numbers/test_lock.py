"""At most one process holds the lock, and another has it within seconds of the first one's death."""

import asyncio
import time

from contracts import subjects
from contracts.broker import Bus, bus
from services.state.numbers.lock import MARGIN_S, TRY_EVERY_S, TTL_S, Lock
from tests.kit.broker import Broker
from tests.kit.waiting import eventually

TAKEN_OVER_WITHIN_S = TTL_S + 2 * TRY_EVERY_S + 1.5
"""The lease, a look of each candidate, and the broker's own second."""


class Candidate:
    """A process that wants the lock, with a connection of its own."""

    def __init__(self, link: Bus, name: str) -> None:
        self.stop = asyncio.Event()
        self.lock = Lock(link, subjects.NUMBERS_BUCKET, subjects.NUMBERS_HOLDER, name)
        self.task = asyncio.create_task(self.lock.keep(self.stop))

    async def die(self) -> None:
        """End as if by kill -9: without a word to the broker."""
        self.task.cancel()
        await asyncio.wait([self.task])

    async def end(self) -> None:
        self.stop.set()
        await self.task


async def test_one_holds_it_for_longer_than_a_lease_and_gives_it_up_at_once(link: Bus, broker: Broker) -> None:
    async with bus.connect(broker.url, name="other") as other:
        one, two = Candidate(link, "one"), Candidate(other, "two")
        await eventually(lambda: one.lock.held or two.lock.held)
        holder, waiting = (one, two) if one.lock.held else (two, one)
        until = time.monotonic() + TTL_S + 2
        async with asyncio.timeout(TTL_S + 10):
            while time.monotonic() < until:
                assert holder.lock.held and holder.lock.taken.is_set()
                assert not waiting.lock.held and waiting.lock.lost.is_set()
                await asyncio.sleep(0.05)
        await holder.end()
        assert not holder.lock.held and holder.lock.lost.is_set()
        await eventually(lambda: waiting.lock.held, within_s=2 * TRY_EVERY_S)
        await waiting.end()


async def test_another_takes_over_from_a_dead_one_and_never_before_its_lease_is_over(link: Bus, broker: Broker) -> None:
    async with bus.connect(broker.url, name="other") as other:
        dead = Candidate(link, "dead")
        await eventually(lambda: dead.lock.held)
        heir = Candidate(other, "heir")
        await dead.die()

        def handed_over() -> bool:
            assert not (dead.lock.held and heir.lock.held)
            return heir.lock.held

        await eventually(handed_over, within_s=TAKEN_OVER_WITHIN_S)
        await heir.end()


async def test_a_holder_that_cannot_write_stops_being_one_before_the_broker_drops_its_key(
    link: Bus, broker: Broker
) -> None:
    holder = Candidate(link, "cut off")
    await eventually(lambda: holder.lock.held)
    broker.kill()
    await eventually(lambda: not holder.lock.held, within_s=TTL_S - MARGIN_S + 0.5)
    await eventually(holder.lock.lost.is_set)
    broker.start()
    await eventually(lambda: holder.lock.held, within_s=TAKEN_OVER_WITHIN_S)
    await holder.end()


async def test_a_key_that_somebody_else_has_written_over_means_the_lock_is_lost(link: Bus) -> None:
    holder = Candidate(link, "first")
    await eventually(lambda: holder.lock.held)
    await link.put_last(subjects.NUMBERS_BUCKET, subjects.NUMBERS_HOLDER, b"thief")
    await eventually(lambda: not holder.lock.held, within_s=TTL_S)
    await holder.end()
