"""One of three brokers frozen or cut off, four edges asked: `python -m tests.chaos.soak.partition [SECONDS] [FAULT…]`.

Each broker is in a network of its own. The faulty one is that at which the cluster is; of the edges, `a` is there too,
and `d` is in its network, so that it reaches no other broker when that one is cut off. Prints a row for each fault.
"""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext, suppress
from itertools import pairwise
from pathlib import Path

import nats
import nats.errors
from msgspec import Struct

from contracts import subjects
from contracts.broker import bus
from inference.pocket.build import build
from ops import provision
from ops.local.signals import exit_on_signals
from tests.chaos.soak.brokers import NODES, Brokers, Node, three_brokers
from tests.chaos.soak.load import Load, load, readiness
from tests.chaos.soak.network import HOST, Network, network, unavailable
from tests.kit import auth
from tests.kit.machine import free_port
from tests.kit.process import Process
from tests.kit.road import MODEL
from tests.kit.waiting import eventually

STEPPING = "leaders step down"
FAULTS = ("frozen", "isolated", "not heard", "hears nothing", "packets dropped", STEPPING)
REACHED_BY_ALL = ("frozen", STEPPING)
EDGES = ("a", "b", "c", "d")
ADMITTED = 5000
SECONDS = 45.0
CALM_BEFORE_S, CALM_AFTER_S = 5.0, 20.0
GRACE_S = 10.0
STARTED_WITHIN_S = 180.0
PLACED_WITHIN_TRIES = 40
STEP_DOWN_EVERY_S = 1.0


class Row(Struct, frozen=True):
    """What one fault did. `reaching` are the edges that can reach the majority."""

    fault: str
    reaching: str
    submissions: str
    statuses: str
    slowest_s: float
    afterwards_503: str
    broken_not_ready_s: float | None
    elsewhere_not_ready_s: float
    cluster_still_s: float
    unknown: int

    def __str__(self) -> str:
        broken = "-" if self.broken_not_ready_s is None else f"{self.broken_not_ready_s:.1f}"
        return (
            f"| {self.fault} | {self.reaching} | {self.submissions} | {self.statuses} | {self.slowest_s:.1f} | "
            f"{self.afterwards_503} | {broken} | {self.elsewhere_not_ready_s:.1f} | {self.cluster_still_s:.1f} | "
            f"{self.unknown} |"
        )


COLUMNS = (
    "fault",
    "edges that reach the majority",
    "submissions there: first 10 s; after",
    "statuses there: first 10 s; after",
    "slowest, s",
    "503 in the 20 s after healing: there; at the broken edge",
    "broken edge not ready after, s",
    "longest not ready elsewhere, s",
    "cluster still for at most, s",
    "accepted and unknown",
)


class Fleet:
    """State, a cluster and four edges on three brokers in a network."""

    def __init__(self, folder: Path, brokers: Brokers, net: Network) -> None:
        self.brokers, self.net, self._folder = brokers, net, folder
        self._shared = {
            **brokers.environment,
            "VIDEO_STORE_URL": str(folder / "videos"),
            "SCRATCH_STORE_URL": str(folder / "scratch"),
            "MODEL_CKPT_DIR": str(folder / "tiny"),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(folder),
        }
        self._state = self._process("state", "services.state")
        self._cluster = self._process("cluster", "inference.cluster", "1")
        self._edges: dict[str, Process] = {}
        self.urls: dict[str, str] = {}

    def _process(self, name: str, *arguments: str, **variables: str) -> Process:
        return Process(["-m", *arguments], self._folder / f"{name}.log", **{**self._shared, **variables})

    def start(self) -> None:
        self._state.start()
        self._cluster.start()

    def _start_edge(self, name: str, member: int = HOST) -> None:
        if name in self._edges and self._edges[name].alive:
            self._edges[name].kill()
        port = free_port()
        self._edges[name] = edge = self._process(
            f"edge-{name}", "services.edge", SERVER_HOST="0.0.0.0", SERVER_PORT=str(port)
        )
        edge.prefix = () if member == HOST else self.net.prefix(member)
        self.urls[name] = f"http://{self.net.watched_at(member)}:{port}"
        edge.start()

    async def place(self) -> tuple[Node, int]:
        """Start the edges where they have to be. Returns the broker at which the cluster is, and its number."""
        node = await eventually(self._node_of_cluster, within_s=STARTED_WITHIN_S)
        assert node is not None
        member = self.net.members[self.brokers.nodes.index(node)]
        for name in ("b", "c"):
            if name not in self._edges:
                self._start_edge(name)
        self._start_edge("d", member)
        for _ in range(PLACED_WITHIN_TRIES):
            if "a" in self._edges:
                self._edges["a"].kill()
            await self.all_ready(("b", "c", "d"))
            await eventually(lambda: self._edges_at(*self.brokers.nodes) == len(EDGES) - 1)
            others = self._edges_at(node)
            self._start_edge("a")
            await self.all_ready(("a",))
            if self._edges_at(node) > others:
                return node, member
        at = {each.name: each.clients() for each in self.brokers.nodes}
        raise AssertionError(f"edge a was never at {node.name}: {at}")

    @staticmethod
    def _edges_at(*nodes: Node) -> int:
        return sum(node.clients().count("edge") for node in nodes)

    def _node_of_cluster(self) -> Node | None:
        assert self._cluster.alive, self._cluster.text
        return next((node for node in self.brokers.nodes if "inference" in node.clients()), None)

    async def all_ready(self, names: tuple[str, ...] = EDGES) -> None:
        await eventually(lambda: readiness(self.urls, names), within_s=60)

    def stop(self) -> None:
        for process in (*self._edges.values(), self._cluster, self._state):
            if process.alive:
                process.kill()


@contextmanager
def faulty(fault: str, fleet: Fleet, node: Node, member: int) -> Generator[None, None, None]:
    """The fault for the length of the block."""
    others = [each for each in fleet.net.members if each != member]
    cuts = {
        "isolated": [([member], others), (others, [member])],
        "not heard": [([member], others)],
        "hears nothing": [(others, [member])],
        "packets dropped": [([member], [HOST, *others]), ([HOST, *others], [member])],
    }
    with ExitStack() as faults:
        if fault == "frozen":
            faults.enter_context(node.frozen())
        for senders, receivers in cuts.get(fault, []):
            faults.enter_context(fleet.net.cut(senders, receivers))
        yield


@asynccontextmanager
async def stepping_down(url: str) -> AsyncGenerator[None, None]:
    """For the length of the block, the leaders of the log and of the queue step down every second."""
    over = asyncio.Event()
    client = await nats.connect(url.split(","), name="stepper", max_reconnect_attempts=-1)

    async def step_down() -> None:
        while not over.is_set():
            for stream in (subjects.EVENTS_STREAM, subjects.JOBS_STREAM):
                with suppress(nats.errors.Error):  # there may be none to step down
                    await client.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", timeout=STEP_DOWN_EVERY_S)
            await asyncio.sleep(STEP_DOWN_EVERY_S)

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(step_down())
            try:
                yield
            finally:
                over.set()
    finally:
        await client.close()


async def drill(fault: str, fleet: Fleet, seconds: float) -> Row:
    """One fault, under load: before, while it lasts, and after it is healed."""
    node, member = await fleet.place()
    async with load(fleet.urls) as running:
        await asyncio.sleep(CALM_BEFORE_S)
        async with stepping_down(fleet.brokers.url) if fault == STEPPING else nullcontext():
            with faulty(fault, fleet, node, member):
                began = time.time()
                await asyncio.sleep(seconds)
            healed = time.time()
        await asyncio.sleep(CALM_AFTER_S)
    await fleet.brokers.together()
    await fleet.all_ready()
    reaching = EDGES if fault in REACHED_BY_ALL else EDGES[:3]

    def answers(what: str) -> str:
        parts = [(began, began + GRACE_S), (began + GRACE_S, healed)]
        return "; ".join(_counted(running.codes(what, reaching, *part)) for part in parts)

    def afterwards(edges: Sequence[str]) -> int:
        return sum(running.codes(what, edges, healed, time.time())[503] for what in ("submission", "status"))

    broken = [edge for edge in EDGES if edge not in reaching]
    return Row(
        fault=fault,
        reaching=" ".join(reaching),
        submissions=answers("submission"),
        statuses=answers("status"),
        slowest_s=max(running.longest_s(what, reaching) for what in ("submission", "status")),
        afterwards_503=f"{afterwards(reaching)}; {afterwards(broken) if broken else '-'}",
        broken_not_ready_s=None if not broken else running.not_ready_after_s("d", began),
        elsewhere_not_ready_s=running.longest_not_ready_s(reaching),
        cluster_still_s=await longest_still_s(fleet.brokers.url, began, healed),
        unknown=await unknown(running, fleet.urls["b"]),
    )


def _counted(codes: Counter[int]) -> str:
    return ", ".join(f"{count} x {code or 'none'}" for code, count in sorted(codes.items())) or "none"


async def longest_still_s(url: str, began: float, healed: float) -> float:
    """The longest time during the fault in which the log had no news from the cluster."""
    async with bus.connect(url, name="checker") as link:
        stored = await link.read(subjects.EVENTS_STREAM, subjects.ALL_EVENTS)
    times = [each.at for each in stored if not each.subject.endswith(".submitted") and began < each.at < healed]
    return max(after - before for before, after in pairwise([began, *times, healed]))


async def unknown(running: Load, url: str) -> int:
    """How many of the accepted jobs nothing is known of."""
    lost = 0
    async with auth.client_session() as session:
        for job_id in running.accepted:
            async with session.get(f"{url}/video/status/{job_id}") as answer:
                lost += answer.status != 200
    return lost


async def main(seconds: float, faults: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as name, network() as net:
        folder = Path(name)
        build(folder / "tiny", MODEL)
        async with three_brokers(folder / "brokers", net.places()) as brokers:
            settings = provision.Settings(nats_url=brokers.url, nats_replicas=NODES, max_concurrent_tasks=ADMITTED)
            async with bus.connect(brokers.url, name="provision") as link:
                await provision.provision(link, settings)
                await auth.make_key(link)
            fleet = Fleet(folder, brokers, net)
            try:
                fleet.start()
                print(f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", sep="\n")
                for fault in faults:
                    print(await drill(fault, fleet, seconds), flush=True)
            finally:
                fleet.stop()


if __name__ == "__main__":
    if (reason := unavailable()) is not None:
        sys.exit(f"SKIPPED: NO BROKER WAS CUT OFF: {reason}")
    asked = sys.argv[2:] or FAULTS
    assert set(asked) <= set(FAULTS), f"faults are: {', '.join(FAULTS)}"
    exit_on_signals()
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS, asked))
