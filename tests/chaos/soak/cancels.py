"""Cancels on three brokers at the moment when a cluster stores the video: `python -m tests.chaos.soak.cancels [COUNT]`.

Real edges, a state and a cluster on R3 streams; first undisturbed, then with the leaders of log and queue stepping down
every second. A cancel that was answered 200 must hold: no status other than Cancelled from then on, and neither video
nor record of a success in the store a few seconds later. Prints a line for each.
"""

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from contracts import subjects, wire
from contracts.broker import Bus, bus
from contracts.events import StageStarted
from contracts.job import video_name
from contracts.process import lifetime
from contracts.record import video_record_name
from contracts.status import ENDED
from inference.pocket.build import build
from ops import provision
from tests.chaos.soak.brokers import NODES, Brokers, three_brokers
from tests.chaos.soak.partition import stepping_down
from tests.kit import auth
from tests.kit.edge import PROMPT, picture, post
from tests.kit.forked import Forked
from tests.kit.machine import free_port
from tests.kit.process import Process
from tests.kit.road import MODEL
from tests.kit.waiting import eventually

EDGES = 2
ACK_WAIT_S = 10.0
GONE_WITHIN_S = 5.0
DELAY_S_MAX = 0.05
"""Of a cancel after the cluster has begun to store: so that it meets each of the moments that follow."""
STORING_WITHIN_S = 120.0
STARTED_WITHIN_S = 120.0
ANSWERED_WITHIN_S = 60.0
POLL_S = 0.2
JOB = {"prompt": PROMPT, "image_url": picture(), "image_size": "64*48", "num_frames": 25, "infer_steps": 20}


@dataclass
class Seen:
    """What became of the cancels: how they were answered, and the lies and leftovers among those answered 200."""

    answers: Counter[int] = field(default_factory=Counter[int])
    lies: list[str] = field(default_factory=list[str])
    left: list[str] = field(default_factory=list[str])


class Drill:
    """Services on three brokers, a client of theirs, and an ear for their events."""

    def __init__(self, folder: Path, brokers: Brokers, client: aiohttp.ClientSession, link: Bus) -> None:
        self.client, self.link, self.brokers = client, link, brokers
        self.videos = folder / "videos"
        self.ports = [free_port() for _ in range(EDGES)]
        self._storing: dict[str, asyncio.Event] = {}
        shared = {
            **brokers.environment,
            "VIDEO_STORE_URL": str(self.videos),
            "SCRATCH_STORE_URL": str(folder / "scratch"),
            "MODEL_CKPT_DIR": str(folder / "tiny"),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(folder),
            "CLEANUP_INTERVAL": "3600",  # so that it tidies up nothing behind the others
        }
        self.processes = [
            Process(["-m", "services.state"], folder / "state.log", **shared),
            Forked(["-m", "inference.cluster", "1"], folder / "cluster.log", **shared),
            *(
                Process(
                    ["-m", "services.edge"],
                    folder / f"edge-{port}.log",
                    SERVER_HOST="127.0.0.1",
                    SERVER_PORT=str(port),
                    **shared,
                )
                for port in self.ports
            ),
        ]

    async def ready(self) -> None:
        await self.link.listen("video.live.*.stage", self._on_stage)

        async def well() -> bool:
            assert all(process.alive for process in self.processes)
            answers = [await self.get(port, "/health") for port in self.ports]
            return all(answer and len(answer["clusters"]) == 1 for answer in answers)

        await eventually(well, within_s=STARTED_WITHIN_S)

    async def _on_stage(self, _subject: str, payload: bytes) -> None:
        event = wire.decode_event(payload)
        if isinstance(event, StageStarted) and event.stage == "store":
            self._storing.setdefault(event.job_id, asyncio.Event()).set()

    async def get(self, port: int, path: str) -> Any:
        """The body of a 200; None for any other answer."""
        try:
            async with self.client.get(f"http://127.0.0.1:{port}{path}") as answer:
                return await answer.json() if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def submit(self, number: int) -> str:
        deadline = time.monotonic() + ANSWERED_WITHIN_S
        while True:
            url = f"http://127.0.0.1:{self.ports[number % EDGES]}/video/submit"
            code, answer = await post(self.client, url, JOB)
            if code == 202:
                return answer["requestId"]
            assert code in (429, 503), (code, answer)
            assert time.monotonic() < deadline, (code, answer)
            await asyncio.sleep(POLL_S)

    async def cancel(self, number: int, seen: Seen) -> None:
        """Cancel a job at the moment when it is being stored, and watch whether that holds."""
        job_id = await self.submit(number)
        await self._at_the_store(number, job_id)
        await asyncio.sleep(random.uniform(0, DELAY_S_MAX))
        body = {"requestId": job_id}
        code, answer = await post(self.client, f"http://127.0.0.1:{self.ports[number % EDGES]}/video/cancel", body)
        assert code in (200, 409, 503), (code, answer)
        seen.answers[code] += 1
        if code == 200:
            await self._watch(job_id, seen)

    async def _at_the_store(self, number: int, job_id: str) -> None:
        """Return as the job is being stored; or, if that event was lost on its way, once the job is seen beyond it."""
        storing = self._storing.setdefault(job_id, asyncio.Event())
        deadline = time.monotonic() + STORING_WITHIN_S
        while not await lifetime.wait_until_set(storing, within_s=POLL_S):
            status = await self.get(self.ports[number % EDGES], f"/video/status/{job_id}")
            if status is not None and (status["stage"] == "store" or status["status"] in ENDED):
                return
            assert time.monotonic() < deadline, status

    async def _watch(self, job_id: str, seen: Seen) -> None:
        until = time.monotonic() + GONE_WITHIN_S
        while time.monotonic() < until:
            for port in self.ports:
                status = await self.get(port, f"/video/status/{job_id}")
                if status is not None and status["status"] != "Cancelled":
                    seen.lies.append(f"{job_id} is {status['status']}")
            await asyncio.sleep(POLL_S)
        for name in (video_name(job_id), video_record_name(job_id)):
            if (self.videos / name).exists():
                seen.left.append(name)


@asynccontextmanager
async def drill(folder: Path) -> AsyncGenerator[Drill, None]:
    """The services, ready, for the length of the block."""
    build(folder / "tiny", MODEL)
    async with AsyncExitStack() as stack:
        brokers = await stack.enter_async_context(three_brokers(folder / "brokers"))
        link = await stack.enter_async_context(bus.connect(brokers.url, name="drill"))
        await provision.provision(
            link, provision.Settings(nats_url=brokers.url, nats_replicas=NODES, ack_wait=ACK_WAIT_S)
        )
        await auth.make_key(link)
        timeout = aiohttp.ClientTimeout(ANSWERED_WITHIN_S)
        client = await stack.enter_async_context(auth.client_session(timeout=timeout))
        under = Drill(folder, brokers, client, link)
        try:
            for process in under.processes:
                process.start()
            await under.ready()
            yield under
        finally:
            for process in under.processes:
                if process.alive:
                    await asyncio.to_thread(process.stop)


async def cancels(under: Drill, count: int, *, disturbed: bool) -> Seen:
    """So many cancels, two jobs in hand at a time; `disturbed` by leaders that step down every second."""
    seen = Seen()
    in_hand = asyncio.Semaphore(2)

    async def one(number: int) -> None:
        async with in_hand:
            await under.cancel(number, seen)

    async with AsyncExitStack() as stack:
        if disturbed:
            await stack.enter_async_context(stepping_down(under.brokers.url))
        await asyncio.gather(*(one(number) for number in range(count)))
    return seen


async def endings_by_job(link: Bus) -> Counter[str]:
    stored = await link.read(subjects.EVENTS_STREAM, subjects.ALL_ENDINGS)
    return Counter(subjects.job_id_of(each.subject) for each in stored)


async def main(count: int) -> int:
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        async with drill(Path(name)) as under:
            for disturbed in (False, True):
                seen = await cancels(under, count, disturbed=disturbed)
                how = "leaders stepping down every second" if disturbed else "undisturbed"
                print(
                    f"{count} cancels as the video is stored, {how}: answered {dict(seen.answers)}; of those with 200 "
                    f"{len(seen.lies)} were not kept, {len(seen.left)} files left after {GONE_WITHIN_S:g} s",
                    flush=True,
                )
                print("\n".join([*seen.lies, *seen.left]))
                wrong += len(seen.lies) + len(seen.left)
            doubled = [job_id for job_id, number in (await endings_by_job(under.link)).items() if number != 1]
            print(f"jobs with more than one ending: {len(doubled)}")
            wrong += len(doubled)
    return wrong


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int((sys.argv[1:] or ["100"])[0]))) > 0)
