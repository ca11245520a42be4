"""Faults of what lies around the processes: replaced weights, stores without hard links, newer neighbours."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec.structs import replace
from safetensors.torch import load_file, save_file

from contracts import subjects, wire
from contracts.events import EndingUnknown, JobStarted, JobSubmitted
from contracts.job import Job, input_name, video_name
from contracts.record import video_record_name
from tests.chaos.faults import checker
from tests.chaos.faults.service import Service, alive
from tests.chaos.faults.trial import Trial, in_phase, key, undisturbed
from tests.kit import no_links
from tests.kit.builders import succeeded
from tests.kit.edge import post
from tests.kit.waiting import eventually

DECLINED_WITHIN_S = 60.0
STARTED_WITHIN_S = 120.0
CLEAN_UPS_S = 6.0
"""Some clean-ups of state, by the drills' interval."""
FINE_TUNED = 1.02


def weights_replaced() -> Trial:
    """A job is half-way under one set of weights when the folder becomes another one of the same name and shapes."""

    async def run(service: Service) -> float:
        folder, before = service.folder / "tiny", service.folder / "tiny before"
        other = await asyncio.to_thread(fine_tuned, folder, service.folder / "tiny after")

        async def fault(go_on: Callable[[], None]) -> None:
            await killed(service)
            folder.rename(before)
            other.rename(folder)
            service.paused.discard("cluster")
            go_on()

        try:
            took_s = await in_phase(service, "denoising", fault, same=False)
            async with service.link() as link:
                stored = await link.read(subjects.EVENTS_STREAM, "video.events.*.started")
                last = wire.decode_event(stored[-1].data)
                assert isinstance(last, JobStarted)
                assert (last.attempt, last.resumed_from_step) == (2, 0), "it went on under other weights"
                made = await digest_of(service, last.job_id)
                job_id = await service.submit(key())
                await checker.check(service, job_id, made=made)
        finally:
            await killed(service)
            if before.exists():
                await asyncio.to_thread(shutil.rmtree, folder)
                before.rename(folder)
            service.paused.discard("cluster")
            await service.at_rest()
        await undisturbed(service)
        return took_s

    return Trial("weights replaced by others of the same name", "denoising", run)


async def killed(service: Service) -> None:
    """No rank is left, and none is started until the cluster is no longer paused."""
    service.paused.add("cluster")
    for pid in service.pids("cluster") if service.processes["cluster"].alive else ():
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not service.cluster_parts() and not service.processes["cluster"].alive)


def fine_tuned(folder: Path, target: Path) -> Path:
    """A copy whose transformer has other values, and the same headers."""
    shutil.copytree(folder, target)
    for file in (target / "transformer").glob("*.safetensors"):
        save_file({name: tensor * FINE_TUNED for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    return target


async def digest_of(service: Service, job_id: str) -> str:
    record = wire.decode_record((service.videos / video_record_name(job_id)).read_bytes())
    return getattr(record.ending, "sha256", "")


def without_links(role: str) -> Trial:
    """The file system of the videos takes no hard links any more when a process starts again."""

    async def run(service: Service) -> float:
        library = no_links.compiled(service.folder)
        if library is None:
            print("NOT RUN: a store without hard links is made with a C compiler, and there is none")
            return 0.0
        service.paused.add(role)
        await asyncio.to_thread(service.processes[role].stop)
        refused = service.process(role, **no_links.below(service.videos, library))
        refused.log.unlink(missing_ok=True)
        refused.start()
        await eventually(lambda: not refused.alive, within_s=STARTED_WITHIN_S)
        assert "VIDEO_STORE_URL" in refused.text, "it does not say which store"
        service.paused.discard(role)
        await eventually(lambda: service.processes[role].alive)
        await service.at_rest()
        await undisturbed(service)
        return 0.0

    return Trial("video store without hard links", f"start of {role}", run)


def newer_neighbours() -> Trial:
    """A newer edge and a newer cluster are at work beside these: a job and an ending of theirs, and their files."""

    async def run(service: Service) -> float:
        waiting, done = f"{os.urandom(16).hex()}", f"{os.urandom(16).hex()}"
        job = Job(prompt="a boat at sea", num_frames=25, seed=1)
        submitted = JobSubmitted(job_id=waiting, created_at=time.time(), job=job)
        files = [
            service.videos / video_name(done),
            service.videos / video_record_name(done),
            service.scratch / input_name(done),
        ]
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"a newer version made it")
        async with service.link() as link:
            newer = wire.encode(submitted).replace(b'"unipc"', b'"a_newer_solver"')
            await link.publish(subjects.job(waiting), newer, message_id=waiting, within_s=5)
            ending = wire.encode(replace(succeeded(1, time.time()), job_id=done)).replace(b'"width"', b'"frame_width"')
            await link.publish(f"video.events.{done}.finished.succeeded", ending, within_s=5)
            assert isinstance(wire.ending_in((await link.read(subjects.EVENTS_STREAM, subjects.endings_of(done)))[0]),
                              EndingUnknown)  # fmt: skip
            await eventually(
                lambda: link.last(subjects.EVENTS_STREAM, subjects.declined(waiting)), within_s=DECLINED_WITHIN_S
            )
        await undisturbed(service)
        await asyncio.sleep(CLEAN_UPS_S)
        assert [file.name for file in files if not file.exists()] == [], "a newer version's files are gone"
        status = await service.status(waiting)
        assert status is not None
        assert status.status == "InQueue", "a newer version's job was not left to it"
        code, _ = await post(service.client, f"{service.url}/video/cancel", {"requestId": waiting})
        assert code == 200
        for file in files:
            file.unlink()
        await service.at_rest()
        return 0.0

    return Trial("neighbours of a newer version", "all of it", run)


def surroundings() -> Iterator[Trial]:
    yield weights_replaced()
    yield from (without_links(role) for role in ("edge", "state", "cluster"))
    yield newer_neighbours()
