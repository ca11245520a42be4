"""The whole service under test: a broker, an edge, a state and a cluster of two ranks, each behind a proxy of its own.

A keeper starts again what ends, as supervisord does. Every process can be held where a phase of a job's life is.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from contracts import subjects, wire
from contracts.broker import Bus, bus
from contracts.events import AnyEvent
from contracts.status import JobStatus
from inference.pocket.build import build
from ops import provision
from tests.kit import auth
from tests.kit.broker import Broker, provision_settings
from tests.kit.edge import PROMPT, picture, post
from tests.kit.forked import Forked
from tests.kit.machine import free_port
from tests.kit.process import Process, environment, parts_by_log
from tests.kit.proxy import Proxy
from tests.kit.road import MODEL, RANKS
from tests.kit.waiting import eventually

ACK_WAIT_S = 2.0
LEFTOVER_S = 15.0
UNWELL_S_MAX = 3.0
KEEPER_POLL_S = 0.2
POLL_S = 0.05
BOUND_S = 120.0
"""Within which every job ends, whatever has happened to it, once the fault is over."""
JOB = {
    "prompt": PROMPT, "image_url": picture(), "num_frames": 25, "infer_steps": 20, "image_size": "64*48", "seed": 5,
}  # fmt: skip
PHASES = (
    "request read", "input stored", "not answered", "waiting", "delivered", "input read", "previewing",
    "denoising", "decoding", "no pictures", "no ending", "not acknowledged", "not folded",
)  # fmt: skip
DELETION_PHASES = ("tombstone written", "files not removed")
"""Of the deletion of a job, which a client asks for."""
ROLES = ("edge", "state", "cluster")
KILLABLE = ("edge", "state", "rank 0", "rank 1", "torchrun", "launcher", "broker")


@dataclass
class Submitted:
    """A submission that a client repeats, under one key, until it knows."""

    key: str
    job_id: str | None = None
    answered: asyncio.Event = field(default_factory=asyncio.Event)


class Lost(AssertionError):
    """A job that was taken has no ending, or not what belongs to it."""


class Doubled(AssertionError):
    """Something happened twice that must happen once."""


class NeedsAHand(AssertionError):
    """The service does not come to rest by itself."""


class KeptBroker(Broker):
    """As supervisord runs it: who keeps it ends it once it has been unwell for too long."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "ops.local.liveness", f"{self.monitor_url}/healthz", *super().command]

    @property
    def variables(self) -> dict[str, str]:
        return environment(UNWELL_MAX=f"{UNWELL_S_MAX:g}")

    @property
    def pid(self) -> int:
        """Of the broker itself, as soon as there is one."""
        keeper = super().pid
        deadline = time.monotonic() + BOUND_S
        while self.alive and time.monotonic() < deadline:
            for child in Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split():
                if Path(f"/proc/{child}/comm").read_text().strip() == "nats-server":
                    return int(child)
            time.sleep(POLL_S)
        raise ProcessLookupError("the broker has ended, or does not start")

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        with suppress(OSError):  # it ends by itself
            self.send(signal.SIGKILL)
        self.wait()


class Service:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held = folder / "held"
        self.held.mkdir(parents=True)
        self.broker = KeptBroker(folder / "jetstream")
        self.proxies = {role: Proxy(self.broker.port) for role in ROLES}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.videos, self.scratch = folder / "videos", folder / "scratch"
        self.processes: dict[str, Process] = {}
        self.paused: set[str] = set()
        """What the keeper leaves as it is; `broker` among it."""
        self._stop = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._client: aiohttp.ClientSession | None = None

    # -- starting and keeping --------------------------------------------------------------------------------------

    async def start(self) -> None:
        build(self.folder / "tiny", MODEL)
        for proxy in self.proxies.values():
            await proxy.start()
        self.processes = {role: self.process(role) for role in ROLES}
        self._client = auth.client_session(timeout=aiohttp.ClientTimeout(20))
        self.broker.start()
        await self.provision()
        self._keeper = asyncio.create_task(self._keep())
        await self.at_rest()

    def process(self, role: str, **variables: str) -> Process:
        shared = {
            **self.broker.environment,
            "NATS_URL": f"nats://127.0.0.1:{self.proxies[role].port}",
            "VIDEO_STORE_URL": str(self.videos),
            "SCRATCH_STORE_URL": str(self.scratch),
            "HELD_FOLDER": str(self.held),
            "SERVER_HOST": "127.0.0.1",
            "SERVER_PORT": str(self.port),
            "MODEL_CKPT_DIR": str(self.folder / "tiny"),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(self.folder),
            "CHECKPOINT_INTERVAL": "0",
            "CLEANUP_INTERVAL": "2",
            "LEFTOVER_MIN_AGE": f"{LEFTOVER_S:g}",
            "VIDEO_MIN_AGE": "0",
            "MAX_ATTEMPTS": "10",
            "MIN_FREE_SPACE": "0",
        }
        # The libraries of a cluster take seconds to import. A process with variables of its own is started as it is in
        # production, since the linker reads some of them.
        kind = Forked if role == "cluster" and not variables else Process
        return kind(["-m", "tests.chaos.faults.pausable", role], self.folder / f"{role}.log", **{**shared, **variables})

    async def provision(self) -> None:
        settings = provision_settings(self.broker, max_concurrent_tasks=20, ack_wait=ACK_WAIT_S)
        async with self.link() as link:
            await provision.provision(link, settings)
            await auth.make_key(link)

    async def _keep(self) -> None:
        while not self._stop.is_set():
            for role, process in self.processes.items():
                if role not in self.paused and not process.alive:
                    process.start()
            if "broker" not in self.paused and not self.broker.alive:
                self.broker.start()
            await asyncio.sleep(KEEPER_POLL_S)

    async def stop(self) -> None:
        self._stop.set()
        if self._keeper is not None:
            await self._keeper
        for role in ("edge", "cluster", "state"):
            process = self.processes.get(role)
            if process is not None and process.alive:
                process.send(signal.SIGCONT)
                await asyncio.to_thread(process.stop)
        if self.broker.alive:
            self.broker.send(signal.SIGCONT)
            self.broker.kill()
        for proxy in self.proxies.values():
            await proxy.stop()
        if self._client is not None:
            await self._client.close()

    @asynccontextmanager
    async def link(self) -> AsyncGenerator[Bus, None]:
        async with bus.connect(self.broker.url, name="checker") as link:
            yield link

    async def at_rest(self) -> None:
        """Everything runs, there are as many ranks as there should be, and a job would be taken."""

        async def well() -> bool:
            return (
                len(self.cluster_parts()) == 1 + RANKS
                and await self.get("/readyz") == 200
                and await self.clusters() == 1
            )

        try:
            await eventually(well, within_s=BOUND_S)
        except AssertionError as error:
            raise NeedsAHand("not all of it runs again") from error

    async def clusters(self) -> int:
        body = await self.json("/health")
        return len(body["clusters"]) if body else 0

    async def undo(self) -> None:
        """Whatever a trial that broke off has left in the way of the next one."""
        for phase in (*PHASES, *DELETION_PHASES):
            self.release(phase)
        for role in ROLES:
            self.shift_the_clock(role, 0)
        for proxy in self.proxies.values():
            proxy.set("pass")
        self.paused.clear()
        if self.broker.alive:
            self.broker.send(signal.SIGCONT)
        for role in ROLES:
            for pid in self.pids(role) if self.processes[role].alive else ():
                os.kill(pid, signal.SIGCONT)
        await self.at_rest()

    # -- processes -------------------------------------------------------------------------------------------------

    def cluster_parts(self) -> dict[str, int]:
        """The pids of the ranks and of torchrun's agent, wherever they hang."""
        return parts_by_log(self.processes["cluster"])

    def pids(self, name: str) -> list[int]:
        """Of a process, or of all of a cluster."""
        match name:
            case "rank 0" | "rank 1" | "torchrun":
                return [self.cluster_parts()[name]]
            case "cluster":
                return [self.processes["cluster"].pid, *self.cluster_parts().values()]
            case "launcher":
                return [self.processes["cluster"].pid]
            case "broker":
                return [self.broker.pid]
            case _:
                return [self.processes[name].pid]

    # -- phases ----------------------------------------------------------------------------------------------------

    def hold(self, point: str) -> None:
        (self.held / f"at {point}").unlink(missing_ok=True)
        (self.held / f"hold {point}").touch()

    def release(self, point: str) -> None:
        (self.held / f"hold {point}").unlink(missing_ok=True)

    def shift_the_clock(self, role: str, seconds: float) -> None:
        """Set what the role's processes take for the time of day that much ahead; 0 for the true time."""
        (self.held / f"clock {role}").write_text(f"{seconds:g}")

    async def reached(self, point: str) -> None:
        await eventually((self.held / f"at {point}").exists, within_s=BOUND_S)

    # -- a client --------------------------------------------------------------------------------------------------

    async def submit(self, submitted: Submitted, **fields: Any) -> str:
        """As a client should: again and again under the same key, until the answer is 202."""
        deadline = time.monotonic() + BOUND_S
        while True:
            try:
                code, answer = await post(
                    self.client, f"{self.url}/video/submit", {**JOB, **fields}, {"Idempotency-Key": submitted.key}
                )
            except (aiohttp.ClientError, TimeoutError):
                code, answer = 0, {}
            if code == 202:
                submitted.job_id = answer["requestId"]
                submitted.answered.set()
                return answer["requestId"]
            assert code in (0, 429, 500, 502, 503), (code, answer)
            assert time.monotonic() < deadline, f"never accepted: {code} {answer}"
            await asyncio.sleep(POLL_S)

    @property
    def client(self) -> aiohttp.ClientSession:
        assert self._client is not None
        return self._client

    async def get(self, path: str) -> int:
        """The status; 0 where nobody answers."""
        try:
            async with self.client.get(f"{self.url}{path}") as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return 0

    async def json(self, path: str) -> Any:
        try:
            async with self.client.get(f"{self.url}{path}") as answer:
                return await answer.json()
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def status(self, job_id: str) -> JobStatus | None:
        body = await self.bytes(f"/video/status/{job_id}")
        return None if body is None else wire.decode_status(body)

    async def bytes(self, path: str) -> bytes | None:
        try:
            async with self.client.get(f"{self.url}{path}") as answer:
                return await answer.read() if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def ended(self, job_id: str) -> JobStatus:
        async def look() -> JobStatus | None:
            status = await self.status(job_id)
            return status if status is not None and status.ended else None

        try:
            found = await eventually(look, within_s=BOUND_S)
        except AssertionError as error:
            raise Lost(f"no ending: {await self.status(job_id)}") from error
        assert found is not None
        return found

    async def log(self, link: Bus, job_id: str) -> list[AnyEvent]:
        stored = await link.read(subjects.EVENTS_STREAM, subjects.events_of(job_id))
        return list(wire.readable_events(stored))


def alive(pid: int) -> bool:
    """Not ended, and not a zombie either."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@asynccontextmanager
async def running(folder: Path) -> AsyncGenerator[Service, None]:
    service = Service(folder)
    try:
        await service.start()
        yield service
    finally:
        await service.stop()
