"""What is attacked: a real edge on a real broker, with one job that waits, and what the kernel says of that edge."""

import math
import os
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts.broker import bus
from ops import provision
from tests.kit import auth
from tests.kit.broker import Broker, provision_settings
from tests.kit.edge import Edge, submit
from tests.kit.waiting import eventually

UNFINISHED_MAX = 100_000
END_WITHIN_S = 60.0


@dataclass
class Target:
    """An edge under attack."""

    edge: Edge
    job_id: str

    @property
    def port(self) -> int:
        return self.edge.port

    @property
    def rss_mb(self) -> float:
        return self._kilobytes("VmRSS:") / 1000

    @property
    def peak_mb(self) -> float:
        """The most main memory that the edge itself ever held, its children not counted."""
        return self._kilobytes("VmHWM:") / 1000

    @property
    def descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.edge.pid}/fd").iterdir())

    def _kilobytes(self, name: str) -> int:
        status = Path(f"/proc/{self.edge.pid}/status").read_text()
        return int(status.partition(name)[2].split()[0])

    @property
    def cpu_s(self) -> float:
        """The CPU time that the edge itself has used, which is the same on a busy machine."""
        fields = Path(f"/proc/{self.edge.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def end(self) -> float:
        """Send SIGTERM, and return how many seconds the edge took to be gone: `inf` if it is still there after
        `END_WITHIN_S`, and then killed."""
        began = time.monotonic()
        self.edge.send(signal.SIGTERM)
        try:
            await eventually(lambda: not self.edge.alive, within_s=END_WITHIN_S)
        except AssertionError:
            self.edge.kill()
            return math.inf
        return time.monotonic() - began


@asynccontextmanager
async def target(folder: Path, variables: dict[str, str]) -> AsyncGenerator[Target, None]:
    """An edge, ready, for the length of the block. No cluster takes its jobs."""
    broker = Broker(folder / "jetstream")
    broker.start()
    edge = Edge(folder, broker, **variables)
    try:
        async with bus.connect(broker.url, name="attacks") as link:
            await provision.provision(link, provision_settings(broker, max_concurrent_tasks=UNFINISHED_MAX))
        edge.start()
        async with auth.client_session() as client:
            await edge.ready(client)
            code, accepted = await submit(client, edge)
            assert code == 202, accepted
        yield Target(edge, accepted["requestId"])
    finally:
        if edge.alive:
            edge.kill()
        broker.kill()
