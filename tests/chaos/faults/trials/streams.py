"""Faults of the broker's streams: a flipped byte on its disk, a deleted bucket, events repeated."""

import asyncio
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

from contracts import subjects
from contracts.broker import Stored
from contracts.subjects import bucket_stream
from tests.chaos.faults.service import Service
from tests.chaos.faults.trial import Trial, in_phase, undisturbed
from tests.kit.broker import all_folded
from tests.kit.waiting import eventually


def flipped_block(stream: str, kind: str, phase: str, *, number: int, kills: str | None = None) -> Trial:
    """A byte of the job's message of that kind, on the broker's disk, while it is down; SIGTERM trusts its index.

    `kills` is whose death makes somebody ask for that message.
    """

    async def run(service: Service) -> float:
        async def fault(go_on: Callable[[], None]) -> None:
            async with service.link() as link:
                stored = await link.read(stream, f"video.{kind}")
            chosen = stored[-1]
            before = service.broker.pid
            service.paused.add("broker")
            service.broker.send(number)
            service.broker.wait()
            flip_message(service.broker.store, stream, chosen)
            for pid in service.pids(kills) if kills else ():
                os.kill(pid, signal.SIGKILL)
            service.paused.discard("broker")
            await eventually(lambda: service.broker.alive and service.broker.pid != before)
            async with service.link() as link:
                found = await link.read(stream, chosen.subject)
            assert chosen.sequence not in [each.sequence for each in found], "the broker did not lose it"
            go_on()

        return await in_phase(service, phase, fault)

    how = signal.Signals(number).name
    return Trial(f"a byte of {stream} flipped, broker ended by {how}", f"{phase}, {kind}", run)


def flip_message(store: Path, stream: str, message: Stored) -> None:
    """One byte of its content, in the block that holds it."""
    for block in store.glob(f"**/streams/{stream}/msgs/*.blk"):
        content = bytearray(block.read_bytes())
        begins = content.rfind(message.data, content.find(message.subject.encode()))
        if begins >= 0:
            content[begins + len(message.data) // 2] ^= 0x01
            block.write_bytes(content)
            return
    raise AssertionError("no block holds the message")


def deleted(what: str, phase: str) -> Trial:
    """By hand; the fault lasts until the broker is provisioned again."""

    async def run(service: Service) -> float:
        async def fault(go_on: Callable[[], None]) -> None:
            async with service.link() as link:
                if what == "bucket":
                    await link.admin.delete_stream(bucket_stream(subjects.STATUS_BUCKET))
                else:
                    await link.admin.delete_consumer(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE)
            go_on()
            await asyncio.sleep(1)
            await service.provision()

        return await in_phase(service, phase, fault)

    return Trial(f"the {what} deleted", phase, run)


def events_again() -> Trial:
    """All of a job's events once more, twice, in any order; and some that nobody knows."""

    async def run(service: Service) -> float:
        job_id = await undisturbed(service)
        before = await service.status(job_id)
        async with service.link() as link:
            stored = await link.read(subjects.EVENTS_STREAM, subjects.events_of(job_id))
            again = [each for each in stored if not subjects.is_ending(each.subject)] * 2
            random.Random(0).shuffle(again)
            for number, each in enumerate(again):
                await link.publish(each.subject, each.data, message_id=f"{job_id}.again.{number}", within_s=5)
            unknown = [b"\x00\xff", b'{"type":"JobTeleported"}', b'{"type":"StepCompleted","version":9}', b"[" * 50_000]
            for content in unknown:
                await link.publish(f"video.events.{job_id}.step", content, within_s=5)
            await eventually(lambda: caught_up(service), within_s=60)
        assert await service.status(job_id) == before
        await undisturbed(service)
        return 0.0

    return Trial("events repeated, out of order, unknown", "ended", run)


async def caught_up(service: Service) -> bool:
    async with service.link() as link:
        return await all_folded(link)
