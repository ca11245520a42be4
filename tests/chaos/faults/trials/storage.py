"""Faults of files: stores without room, and a flipped byte in a video or a job's checkpoint."""

import asyncio
import os
import shutil
import signal
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import aiohttp

from contracts import subjects, wire
from contracts.broker import Bus, Unavailable
from contracts.events import JobStarted
from tests.chaos.faults import checker
from tests.chaos.faults.service import Service
from tests.chaos.faults.trial import Reference, Trial, in_phase, undisturbed
from tests.kit.waiting import eventually


def store_full(options: str, what: str) -> Trial:
    """A file system without room, or that cannot be written to, lies over the videos for a while."""

    async def run(service: Service) -> float:
        async def fault(go_on: Callable[[], None]) -> None:
            await command("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(service.videos))
            try:
                go_on()
                await eventually(lambda: "video_not_stored" in service.processes["cluster"].text, within_s=60)
            finally:
                await command("umount", str(service.videos))

        return await in_phase(service, "decoding", fault, endings=("Failed", "Succeed"), same=False)

    return Trial(what, "decoding", run)


async def command(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(*words)
    assert await process.wait() == 0, words


def broker_store_full(phase: str) -> Trial:
    """Its file system has no room for a while: it refuses what is published, and is started again by itself."""

    async def run(service: Service) -> float:
        store, aside = service.broker.store, service.folder / f"aside-{uuid.uuid4().hex}"

        async def fault(go_on: Callable[[], None]) -> None:
            fill(store / "filler")
            go_on()
            async with service.link() as link:
                await eventually(lambda: refuses(service, link), within_s=60)
            (store / "filler").unlink()

        await copied(service, store, aside)
        await command("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(store))
        try:
            await copied(service, aside, store)
            return await in_phase(service, phase, fault)
        finally:
            await copied(service, store, aside)
            await command("umount", str(store))
            await asyncio.to_thread(shutil.rmtree, store)
            await copied(service, aside, store)

    return Trial("broker store full", phase, run)


async def copied(service: Service, source: Path, target: Path) -> None:
    """Whatever the broker has stored, while it is down."""
    service.paused.add("broker")
    service.broker.kill()
    await asyncio.to_thread(shutil.copytree, source, target, dirs_exist_ok=True)
    if target == service.broker.store:
        service.paused.discard("broker")
        await service.at_rest()


def fill(file: Path) -> None:
    """Until there is no room left."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    try:
        with suppress(OSError):
            while True:
                os.write(descriptor, bytes(4096))
    finally:
        os.close(descriptor)


async def refuses(service: Service, link: Bus) -> bool:
    """Whether the broker says that it had no room; what it stores meanwhile uses up the last of it."""
    with suppress(Unavailable):
        await link.publish("video.events.filler.step", bytes(16 * 1024), within_s=0.5)
    try:
        async with service.client.get(f"{service.broker.monitor_url}/healthz") as answer:
            return "no space left" in await answer.text()
    except aiohttp.ClientError:
        return False


def flipped_checkpoint(part: str) -> Trial:
    async def run(service: Service) -> float:
        async def fault(go_on: Callable[[], None]) -> None:
            service.paused.add("cluster")
            told = service.processes["cluster"].text.count("checkpoint_unusable")
            for pid in service.pids("cluster"):
                os.kill(pid, signal.SIGKILL)
            await eventually(lambda: not service.cluster_parts())
            files = list(service.scratch.glob("checkpoints/*"))
            chosen = next(file for file in files if ("conditions" in file.name) == (part == "conditions"))
            flip(chosen)
            service.paused.discard("cluster")
            go_on()
            await eventually(lambda: service.processes["cluster"].text.count("checkpoint_unusable") > told, within_s=60)

        took_s = await in_phase(service, "denoising", fault)
        async with service.link() as link:
            stored = await link.read(subjects.EVENTS_STREAM, "video.events.*.started")
        last = wire.decode_event(stored[-1].data)
        assert isinstance(last, JobStarted)
        assert (last.attempt, last.resumed_from_step) == (2, 0), "it did not start over"
        return took_s

    return Trial(f"a byte of the checkpoint's {part} flipped", "denoising", run)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x01
    file.write_bytes(content)


def damaged_video(damage: Callable[[Path], None], what: str) -> Trial:
    async def run(service: Service) -> float:
        job_id = await undisturbed(service)
        file = service.videos / f"{job_id}.mp4"
        whole = file.read_bytes()
        damage(file)
        assert await service.get(f"/videos/{job_id}.mp4") == 500, "damage was hidden"
        file.write_bytes(whole)
        await checker.check(service, job_id, made=Reference.made)
        return 0.0

    return Trial(f"a byte of the mp4 {what}", "ended", run)


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])
