"""Runs a real service for the benchmark: broker, state and edge of a checkout, each pinned to its cores.

A `Tree` is this checkout or another one, such as that of an older commit, whose own environment and code then run. The
broker has the product's configuration, but for the time in which it is filled.
"""

import asyncio
import json
import signal
import urllib.request
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from contracts.broker import Bus
from contracts.process.settings import TASKS_MAX
from ops import broker
from ops.bench.service.processes import Cores, Process
from ops.local.paths import REPOSITORY
from ops.local.ports import free_ports
from ops.nats import keys

T = TypeVar("T")

DURABLE = "sync_interval: always"
FAST = "sync_interval: 10m"
USER = "bench"
"""The user, and its password, that the benchmark has at the broker: it may do anything."""
ACK_WAIT_S = 3600
"""Longer than any part: jobs that a part has pulled stay running."""


class Tree(Struct, frozen=True):
    """A checkout of this project with its `.venv`, and the name under which its figures stand."""

    name: str
    folder: Path

    @property
    def python(self) -> str:
        return str(self.folder / ".venv" / "bin" / "python")


class Service:
    """A service in a folder of its own, on free ports. `running` starts and stops it.

    `variables` are set in the environment of every process of ours.
    """

    def __init__(self, tree: Tree, folder: Path, cores: Cores, *, edge_cores: str = "", **variables: str) -> None:
        folder.mkdir(parents=True)
        self.tree, self.folder, self.cores = tree, folder, cores
        self.nats_port, self.monitor_port, self.port = free_ports(3)
        self.nats_url = f"nats://{USER}:{USER}@127.0.0.1:{self.nats_port}"
        self.videos, self.scratch = folder / "videos", folder / "scratch"
        self._edge_cores, self._own = edge_cores or cores.service, variables
        self.broker = self._broker(durable=True)
        self.state = self.process("state", "services.state", cores.service)
        self.edge = self.process("edge", "services.edge", self._edge_cores)

    @property
    def variables(self) -> dict[str, str]:
        """Return the environment of every process of ours."""
        return {
            "NATS_URL": f"nats://127.0.0.1:{self.nats_port}",
            "NATS_KEYS": str(self.folder / "keys"),
            "NATS_MONITOR_URLS": f"http://127.0.0.1:{self.monitor_port}",
            "VIDEO_STORE_URL": str(self.videos),
            "SCRATCH_STORE_URL": str(self.scratch),
            "SERVER_HOST": "127.0.0.1",
            "SERVER_PORT": str(self.port),
            "MAX_CONCURRENT_TASKS": str(TASKS_MAX),
            "ACK_WAIT": str(ACK_WAIT_S),
            "CLEANUP_INTERVAL": "86400",
            "TASK_RETENTION": "86400",
            "TMPDIR": str(self.folder),
            **self._own,
        }

    def process(self, name: str, module: str, cores: str, **variables: str) -> Process:
        """Return a further process of the service, not started: `python -m module`, with its log under this name."""
        command = [self.tree.python, "-m", module]
        log = self.folder / f"{name}.log"
        return Process(command, log, cores=cores, folder=self.tree.folder, **{**self.variables, **variables})

    def _broker(self, *, durable: bool) -> Process:
        """Return the broker, not started: with the product's configuration, or without its fsync."""
        text = (self.tree.folder / "ops" / "nats" / "nats-server.conf").read_text()
        assert DURABLE in text
        beside = keys.make(self.folder / "keys", passwords={USER: USER})
        conf = beside / f"nats-{'durable' if durable else 'fast'}.conf"
        conf.write_text(text if durable else text.replace(DURABLE, FAST))
        command = [str(Path(self.tree.python).parent / "nats-server"), "-c", str(conf)]
        listen = {
            "NATS_LISTEN": f"127.0.0.1:{self.nats_port}",
            "NATS_MONITOR": f"127.0.0.1:{self.monitor_port}",
            "NATS_STORE": str(self.folder / "jetstream"),
        }
        return Process(command, self.folder / "broker.log", cores=self.cores.rest, folder=REPOSITORY, **listen)

    def start_broker(self, *, durable: bool = True) -> None:
        """Start the broker, on what it holds already, and wait until it is well."""
        self.broker = self._broker(durable=durable).start()
        self.broker.wait_for(lambda: answers(self.monitor_port, "/healthz"))

    @contextmanager
    def running(
        self, *, state: bool = True, edge: bool = True, fill: Callable[["Service"], None] | None = None
    ) -> Generator["Service", None, None]:
        """Run the service for the length of the block. `fill` is called before, with a broker without fsync."""
        try:
            self.start_broker()
            self.process("provision", "ops.provision", self.cores.rest).start().wait()
            if fill is not None:
                self.broker.stop()
                self.start_broker(durable=False)
                fill(self)
                self.broker.stop()
                self.start_broker()
            if state:
                self.start_state()
            if edge:
                self.start_edge()
            yield self
        finally:
            for process in (self.edge, self.state, self.broker):
                process.stop(signal.SIGTERM)

    def start_state(self) -> float:
        """Start the state service and return the seconds until it is ready."""
        said = self.state.text.count("state_ready")
        return self.state.start().wait_for(lambda: self.state.text.count("state_ready") > said)

    def start_edge(self) -> float:
        """Start the edge and return the seconds until it would take a submission."""
        return self.edge.start().wait_for(lambda: answers(self.port, "/readyz"))

    def ask(self, question: Callable[[Bus], Awaitable[T]]) -> T:
        """Return what a coroutine function returns that is given a connection to the broker."""

        async def asked() -> T:
            async with broker.connected(broker.Settings(self.nats_url), name="bench") as bus:
                return await question(bus)

        return asyncio.run(asked())


def this_tree() -> Tree:
    """Return this checkout as a tree."""
    return Tree("ours", REPOSITORY)


def answers(port: int, path: str) -> bool:
    """Return whether a server of this machine answers at this path, and with 200."""
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.status == 200
    return False


def submitted(port: int, body: bytes) -> str:
    """Submit a job and return its id. Raises `OSError` if it is refused."""
    headers = {"Content-Type": "application/json"}
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/video/submit", body, headers)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.load(answer)["requestId"]
