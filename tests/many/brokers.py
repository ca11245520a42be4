"""Three brokers that are one, from `ops/nats/cluster.conf`, on loopback."""

import asyncio
import json
import subprocess
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.conftest import NATS_SERVER, REPOSITORY, eventually, free_port

NODES = 3
TOGETHER_WITHIN_S = 60.0


class Node:
    """One of them, which can be killed and started again."""

    def __init__(self, name: str, folder: Path, routes: list[str], cluster_port: int) -> None:
        self.name = name
        self.port, self.monitor_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {
            "NATS_NAME": name,
            "NATS_LISTEN": f"127.0.0.1:{self.port}",
            "NATS_MONITOR": f"127.0.0.1:{self.monitor_port}",
            "NATS_STORE": json.dumps(str(folder / name)),
            "NATS_CLUSTER": f"127.0.0.1:{cluster_port}",
            "NATS_ROUTES": json.dumps(routes),
        }

    def start(self) -> None:
        self._process = subprocess.Popen(
            [NATS_SERVER, "-c", "ops/nats/cluster.conf"],
            cwd=REPOSITORY,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def peers(self) -> int:
        """How many servers the meta group has, as this one sees it; 0 without a leader."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor_port}/jsz", timeout=2) as answer:
                meta = json.load(answer).get("meta_cluster") or {}
        except OSError:
            return 0
        return meta.get("cluster_size", 0) if meta.get("leader") else 0


class Brokers:
    def __init__(self, folder: Path) -> None:
        ports = [free_port() for _ in range(NODES)]
        routes = [f"nats://127.0.0.1:{port}" for port in ports]
        self.nodes = [Node(f"n{number}", folder, routes, port) for number, port in enumerate(ports, start=1)]
        self.url = ",".join(f"nats://127.0.0.1:{node.port}" for node in self.nodes)
        self.monitor_urls = tuple(f"http://127.0.0.1:{node.monitor_port}" for node in self.nodes)

    async def start(self) -> None:
        for node in self.nodes:
            node.start()
        await self.together()

    async def together(self) -> None:
        async def formed() -> bool:
            peers = [await asyncio.to_thread(node.peers) for node in self.nodes]
            return peers == [NODES] * NODES

        await eventually(formed, within_s=TOGETHER_WITHIN_S)

    def kill(self) -> None:
        for node in self.nodes:
            if node.alive:
                node.kill()


@asynccontextmanager
async def three_brokers(folder: Path) -> AsyncGenerator[Brokers, None]:
    brokers = Brokers(folder)
    try:
        await brokers.start()
        yield brokers
    finally:
        brokers.kill()
