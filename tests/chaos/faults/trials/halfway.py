"""Faults in the middle of a client's request: an upload that is half there, and a job that is half deleted."""

import asyncio
import io
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import aiohttp

from tests.chaos.faults import checker
from tests.chaos.faults.service import BOUND_S, Service, alive
from tests.chaos.faults.trial import Reference, Trial, key
from tests.kit.waiting import eventually
from tests.services.edge import talk
from tests.services.edge.body.forms import FIELDS, form, kind, noise


def upload_cut() -> Trial:
    """The edge is killed with a half of an upload on its disk, while another job runs; the client sends it again."""

    async def run(service: Service) -> float:
        body, submitted = form(**FIELDS, image_size="64*48", image=noise()), key()
        headers = {**kind(), "Idempotency-Key": submitted.key}
        other = await service.submit(key())
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        lines = (f"Idempotency-Key: {submitted.key}", f"Content-Length: {len(body)}")
        writer.write(talk.post("/video/submit", *lines, content_type=headers["Content-Type"]) + body[: len(body) // 2])
        await writer.drain()
        await eventually(lambda: spooled(service), within_s=BOUND_S)
        await killed(service, "edge")
        writer.transport.abort()
        over = time.time()

        async def accepted() -> str | None:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with service.client.post(
                    f"{service.url}/video/submit", data=io.BytesIO(body), headers=headers
                ) as answer:
                    return (await answer.json())["requestId"] if answer.status == 202 else None
            return None

        job_ids = {await eventually(accepted, within_s=BOUND_S) for _ in range(2)}
        took_s = time.time() - over
        assert len(job_ids) == 1
        await checker.check(service, other, made=Reference.made)
        await checker.check(service, job_ids.pop() or "", made=None)
        await service.at_rest()
        return took_s

    return Trial("kill -9 of edge", "upload half done", run)


def spooled(service: Service) -> bool:
    """Return whether the edge has a file without a name open, which is where it puts a large body."""
    links: list[str] = []
    for descriptor in Path(f"/proc/{service.pids('edge')[0]}/fd").iterdir():
        with suppress(OSError):
            links.append(str(descriptor.readlink()))
    return any(link.startswith("/") and link.endswith("(deleted)") for link in links)


async def killed(service: Service, name: str) -> None:
    pids = service.pids(name)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not any(alive(pid) for pid in pids))


def half_deleted(name: str, phase: str, *, ended: bool) -> Trial:
    """A process is killed at a phase of the deletion of a job that has ended, or that runs."""

    async def run(service: Service) -> float:
        submitted = key()
        if not ended:
            service.hold("denoising")
        job_id = await service.submit(submitted)
        if ended:
            await checker.check(service, job_id, made=Reference.made)
        else:
            await service.reached("denoising")
        service.hold(phase)
        async with asyncio.TaskGroup() as tasks:
            client = tasks.create_task(delete(service, job_id))
            try:
                await service.reached(phase)
                await killed(service, name)
            finally:
                service.release(phase)
                service.release("denoising")
            over = time.time()
            assert await client in (0, 200, 503)
        await checker.check_deleted(service, job_id, submitted.key)
        return time.time() - over

    return Trial(f"kill -9 of {name}", f"{phase}, {'of an ended job' if ended else 'of a running job'}", run)


async def delete(service: Service, job_id: str) -> int:
    """Delete a job, and return the status of the answer; 0 without an answer."""
    try:
        async with service.client.delete(f"{service.url}/v1/videos/video_{job_id}") as answer:
            return answer.status
    except (aiohttp.ClientError, TimeoutError):
        return 0
