"""The whole road for tests, with nothing replaced but the model's size. Imports torch."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from contracts.status import ENDED
from inference.pocket.build import build
from inference.wan.checkpoint.model_card import ModelCard
from tests.kit.broker import Broker
from tests.kit.edge import PROMPT, Edge, picture, post
from tests.kit.forked import Forked
from tests.kit.machine import REPOSITORY, free_port
from tests.kit.process import Process, environment
from tests.kit.tiny import TINY
from tests.kit.waiting import eventually

RANKS = 2
SIZE = "64*48"
MODEL = replace(TINY, card=ModelCard(name="tiny", sizes=[SIZE, "128*96", "256*144"], default_size=SIZE))
LONG = {"image_size": "128*96", "infer_steps": 100, "num_frames": 41}
"""Fields of a job that takes long enough to be interrupted."""


class Road:
    """Broker, state, cluster of `RANKS` ranks and edge, each a real process, in one folder.

    Starts what it is told to start; `stop` ends everything that was started. `variables` are for all of them.
    """

    def __init__(self, folder: Path, broker: Broker | None = None, /, **variables: str) -> None:
        self.folder = folder
        self.broker = broker or Broker(folder / "jetstream")
        self.edge = Edge(folder, self.broker, TMPDIR=str(folder), **variables)
        self.videos = self.edge.videos
        self.variables = {
            **self.broker.environment,
            "VIDEO_STORE_URL": str(self.edge.videos),
            "SCRATCH_STORE_URL": str(self.edge.scratch),
            "MODEL_CKPT_DIR": str(folder / "tiny"),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(folder),
            **variables,
        }
        self.metrics_port = free_port()
        self.state = Process(
            ["-m", "services.state"],
            folder / "state.log",
            **self.variables,
            METRICS_HOST="127.0.0.1",
            METRICS_PORT=str(self.metrics_port),
        )
        self.cluster = self.new_cluster()
        self._started: list[Process] = []

    def new_cluster(self, module: str = "inference.cluster", **variables: str) -> Process:
        log = self.folder / f"cluster-{os.urandom(3).hex()}.log"
        return Forked(["-m", module, str(RANKS)], log, **{**self.variables, **variables})

    def start(self, *processes: Process) -> None:
        for process in processes:
            process.start()
            self._started.append(process)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one of our commands to its end; CalledProcessError if its exit code is not 0."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            env=environment(**{**self.variables, **variables}),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )

    def stop(self) -> None:
        for process in reversed(self._started):
            if process.alive:
                process.send(signal.SIGCONT)
                process.stop()
        self.broker.kill()

    @contextmanager
    def running(self, **provision: str) -> Generator["Road", None, None]:
        """Run all of it for the length of the block; `provision` are variables of the provisioning."""
        build(self.folder / "tiny", MODEL)
        self.broker.start()
        try:
            self.run("-m", "ops.provision", **provision)
            self.start(self.state, self.cluster, self.edge)
            yield self
        finally:
            self.stop()

    async def replace_cluster(self, **variables: str) -> None:
        if self.cluster.alive:
            await asyncio.to_thread(self.cluster.stop)
        self.cluster = self.new_cluster(**variables)
        self.start(self.cluster)

    async def submit(self, client: aiohttp.ClientSession, **fields: Any) -> str:
        body = {"prompt": PROMPT, "image_url": picture(), "num_frames": 25, "infer_steps": 20, "image_size": SIZE}
        code, answer = await post(client, f"{self.edge.url}/video/submit", {**body, **fields})
        assert code == 202, answer
        return answer["requestId"]

    async def status(self, client: aiohttp.ClientSession, job_id: str) -> Any:
        async with client.get(f"{self.edge.url}/video/status/{job_id}") as answer:
            return await answer.json()

    async def ended(self, client: aiohttp.ClientSession, job_id: str, *, within_s: float = 60) -> Any:
        async def ended() -> Any:
            status = await self.status(client, job_id)
            return status if status["status"] in ENDED else None

        return await eventually(ended, within_s=within_s)

    async def at_step(self, client: aiohttp.ClientSession, job_id: str, step: int) -> None:
        async def there() -> bool:
            status = await self.status(client, job_id)
            return status["status"] == "InProgress" and status["step"] >= step

        await eventually(there, within_s=60)

    async def live(self, client: aiohttp.ClientSession, clusters: int = 1) -> None:
        async def live() -> bool:
            assert all(process.alive for process in (self.state, self.cluster, self.edge)), self.cluster.text
            async with client.get(f"{self.edge.url}/health") as answer:
                return len((await answer.json())["clusters"]) == clusters

        await eventually(live, within_s=180)
