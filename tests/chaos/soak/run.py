"""Many of everything, and something killed every ten seconds: `python -m tests.chaos.soak.run [JOBS] [SECONDS] [SEED]`.

Three brokers, two edges, two states and three clusters of one rank, all kept alive as a supervisor would. Every job has
to succeed, once; prints how it went, and for how long nothing moved at the longest.
"""

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import aiohttp

from contracts import subjects, wire
from contracts.broker import Bus, Unavailable, bus
from contracts.events import AnyEvent, Ending, JobStarted, JobSubmitted, JobSucceeded
from inference.pocket.build import build
from ops import provision
from tests.chaos.soak.brokers import NODES, Brokers, three_brokers
from tests.kit import auth
from tests.kit.edge import PROMPT, picture, post
from tests.kit.machine import free_port
from tests.kit.process import Process
from tests.kit.road import MODEL
from tests.kit.waiting import eventually

EDGES, STATES, CLUSTERS = 2, 2, 3
ADMITTED = 30
ACK_WAIT_S = 5.0
KILL_EVERY_S = 10.0
KEEPER_POLL_S = 0.2
ENDED_WITHIN_S = 900.0
SUBMITTED_WITHIN_S = 900.0
RETRY_S = 0.5
CLIENTS = 8
JOB = {"prompt": PROMPT, "image_url": picture(), "image_size": "128*96", "num_frames": 25, "infer_steps": 30}


class Lasting(Protocol):
    @property
    def alive(self) -> bool: ...
    @property
    def pid(self) -> int: ...
    def start(self) -> object: ...


class Fleet:
    def __init__(self, folder: Path, brokers: Brokers) -> None:
        self.folder, self.brokers = folder, brokers
        self.ports = [free_port() for _ in range(EDGES)]
        shared = {
            **brokers.environment,
            "VIDEO_STORE_URL": str(folder / "videos"),
            "SCRATCH_STORE_URL": str(folder / "scratch"),
            "MODEL_CKPT_DIR": str(folder / "tiny"),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(folder),
            "CHECKPOINT_INTERVAL": "0",
            "TASK_RETENTION": "7200",
            "MAX_ATTEMPTS": "20",
        }

        def process(name: str, *arguments: str, **variables: str) -> Process:
            return Process(["-m", *arguments], folder / f"{name}.log", **{**shared, **variables})

        self.lasting: dict[str, Lasting] = {
            **{
                f"edge {n}": process(f"edge-{n}", "services.edge", SERVER_HOST="127.0.0.1", SERVER_PORT=str(port))
                for n, port in enumerate(self.ports)
            },
            **{f"state {n}": process(f"state-{n}", "services.state") for n in range(STATES)},
            **{
                f"cluster {n}": process(f"cluster-{n}", "inference.cluster", "1", CLUSTER_NAME=f"c{n}")
                for n in range(CLUSTERS)
            },
            **{f"broker {node.name}": node for node in brokers.nodes},
        }
        self.killed: Counter[str] = Counter()

    async def keep(self, over: asyncio.Event) -> None:
        while not over.is_set():
            for each in self.lasting.values():
                if not each.alive:
                    each.start()
            await asyncio.sleep(KEEPER_POLL_S)

    async def kill(self, seconds: float, seed: int) -> None:
        """One after the other; of the brokers never a second one while the first is not back with the others."""
        draw = random.Random(seed)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            name = draw.choice(list(self.lasting))
            if name.startswith("broker"):
                await self.brokers.together()
            await eventually(lambda name=name: self.lasting[name].alive)
            os.kill(self.lasting[name].pid, signal.SIGKILL)
            self.killed[name.split()[0]] += 1
            await asyncio.sleep(KILL_EVERY_S)

    def stop(self) -> None:
        for each in self.lasting.values():
            if isinstance(each, Process) and each.alive:
                each.kill()


class Client:
    """Repeats what was not answered, at whichever edge, under the same key."""

    def __init__(self, session: aiohttp.ClientSession, ports: Sequence[int]) -> None:
        self._session, self._ports = session, ports

    async def submit(self, seed: int) -> str:
        body = {**JOB, "seed": seed}
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        deadline = time.monotonic() + SUBMITTED_WITHIN_S
        for turn in range(sys.maxsize):
            url = f"http://127.0.0.1:{self._ports[turn % len(self._ports)]}/video/submit"
            try:
                code, answer = await post(self._session, url, body, headers)
            except (aiohttp.ClientError, TimeoutError):
                code, answer = 0, {}
            if code == 202:
                return answer["requestId"]
            assert code in (0, 400, 429, 500, 502, 503), (code, answer)
            assert time.monotonic() < deadline, (code, answer)
            await asyncio.sleep(RETRY_S)
        raise AssertionError

    async def submit_all(self, count: int) -> list[str]:
        gate = asyncio.Semaphore(CLIENTS)

        async def one(seed: int) -> str:
            async with gate:
                return await self.submit(seed)

        return await asyncio.gather(*(one(seed) for seed in range(count)))


async def logs(link: Bus) -> list[tuple[float, AnyEvent]]:
    """Everything that the log holds, and when it came there."""
    stored = await link.read(subjects.EVENTS_STREAM, subjects.ALL_EVENTS)
    at = {each.sequence: each.at for each in stored}
    return [(at[each.sequence], event) for each in stored for event in wire.readable_events([each])]


async def run(fleet: Fleet, count: int, seconds: float, seed: int) -> None:
    over = asyncio.Event()
    async with auth.client_session(timeout=aiohttp.ClientTimeout(20)) as session, asyncio.TaskGroup() as tasks:
        tasks.create_task(fleet.keep(over))
        client = Client(session, fleet.ports)
        jobs = tasks.create_task(client.submit_all(count))
        await fleet.kill(seconds, seed)
        calm = time.time()
        job_ids = await jobs
        async with bus.connect(fleet.brokers.url, name="checker") as link:
            await eventually(lambda: all_ended(link, set(job_ids)), within_s=ENDED_WITHIN_S)
            log = await logs(link)
        over.set()
    judge(log, job_ids, fleet.folder / "videos")
    after_s = max(at for at, event in log if isinstance(event, Ending)) - calm
    attempts = sum(isinstance(event, JobStarted) for _, event in log)
    print(f"{count} jobs succeeded, once each, in {attempts} attempts; killed: {dict(fleet.killed)}")
    print(f"the last one ended {after_s:.0f} s after the last kill's ten seconds")
    print(f"nothing moved for {longest_stall_s(log):.1f} s at the longest")


async def all_ended(link: Bus, job_ids: set[str]) -> bool:
    try:
        endings = await link.read(subjects.EVENTS_STREAM, subjects.ALL_ENDINGS)
    except Unavailable:
        return False
    return job_ids <= {subjects.job_id_of(ending.subject) for ending in endings}


def judge(log: Sequence[tuple[float, AnyEvent]], job_ids: Sequence[str], videos: Path) -> None:
    assert len(set(job_ids)) == len(job_ids)
    endings = [event for _, event in log if isinstance(event, Ending)]
    submissions = Counter(event.job_id for _, event in log if isinstance(event, JobSubmitted))
    failed = [ending for ending in endings if not isinstance(ending, JobSucceeded)]
    assert not failed, failed
    assert Counter(ending.job_id for ending in endings) == Counter(job_ids), "lost or doubled"
    assert set(submissions) >= set(job_ids)
    missing = [job_id for job_id in job_ids if not (videos / f"{job_id}.mp4").exists()]
    assert not missing, missing


def longest_stall_s(log: Sequence[tuple[float, AnyEvent]]) -> float:
    times = sorted(at for at, _ in log)
    return max((after - before for before, after in pairwise(times)), default=0.0)


async def main(count: int, seconds: float, seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder / "tiny", MODEL)
        async with three_brokers(folder / "brokers") as brokers:
            settings = provision.Settings(
                nats_url=brokers.url, nats_replicas=NODES, max_concurrent_tasks=ADMITTED, ack_wait=ACK_WAIT_S
            )
            async with bus.connect(brokers.url, name="provision") as link:
                await provision.provision(link, settings)
                await auth.make_key(link)
            fleet = Fleet(folder, brokers)
            try:
                await run(fleet, count, seconds, seed)
            finally:
                fleet.stop()


if __name__ == "__main__":
    numbers = [float(argument) for argument in [*sys.argv[1:], *("200", "300", "1")[len(sys.argv) - 1 :]]]
    asyncio.run(main(int(numbers[0]), numbers[1], int(numbers[2])))
