"""Three brokers that are one, from `ops/nats/cluster.conf`: on loopback, or each in a network namespace of its own."""

import asyncio
import json
import signal
import urllib.request
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from ops.nats import keys
from tests.kit import auth
from tests.kit.broker import TEST_USER, NatsServer
from tests.kit.machine import NATS_SERVER, free_port
from tests.kit.waiting import eventually

NODES = 3
ROUTE_PASSWORD = "between-brokers"
TOGETHER_WITHIN_S = 60.0
MONITOR_ANSWERS_WITHIN_S = 2


class Place(Struct, frozen=True):
    """Where one broker listens. `prefix` is the command that a process is started under to be in its network."""

    client: str
    cluster: str
    monitor: str
    prefix: tuple[str, ...] = ()


def on_loopback() -> list[Place]:
    def address() -> str:
        return f"127.0.0.1:{free_port()}"

    return [Place(address(), address(), address()) for _ in range(NODES)]


class Node(NatsServer):
    """One of them, which can be frozen, or killed and started again."""

    def __init__(self, name: str, folder: Path, place: Place, routes: list[str], conf: Path) -> None:
        self.name, self.place, self._conf = name, place, conf
        self.address, self.monitor_url = f"nats://{place.client}", f"http://{place.monitor}"
        self.url = f"nats://{TEST_USER}:{TEST_USER}@{place.client}"
        self._environment = {
            "NATS_NAME": name,
            "NATS_LISTEN": place.client,
            "NATS_MONITOR": place.monitor,
            "NATS_STORE": json.dumps(str(folder / name)),
            "NATS_CLUSTER": place.cluster,
            "NATS_CLUSTER_PASSWORD": ROUTE_PASSWORD,
            "NATS_ROUTES": json.dumps(routes),
        }

    def start(self) -> None:
        self.launch([*self.place.prefix, NATS_SERVER, "-c", str(self._conf)], self._environment)

    @contextmanager
    def frozen(self) -> Generator[None, None, None]:
        """SIGSTOP for the length of the block: its sockets stay open, and nobody answers there."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def says(self, what: str) -> dict[str, Any]:
        """The monitor's answer; nothing where it does not answer."""
        try:
            with urllib.request.urlopen(self.monitor_url + f"/{what}", timeout=MONITOR_ANSWERS_WITHIN_S) as answer:  # noqa: S310
                return json.load(answer)
        except OSError:
            return {}

    def peers(self) -> int:
        """How many servers the meta group has, as this one sees it; 0 without a leader."""
        meta = self.says("jsz").get("meta_cluster") or {}
        return meta.get("cluster_size", 0) if meta.get("leader") else 0

    def clients(self) -> list[str]:
        """The names of the connections that it has."""
        return [each.get("name", "") for each in self.says("connz").get("connections") or []]


class Brokers:
    """The three of them. `url` is that of a user who may do anything; `environment` is for processes under test."""

    def __init__(self, folder: Path, places: list[Place] | None = None) -> None:
        places = places or on_loopback()
        routes = [f"nats://wanjet:{ROUTE_PASSWORD}@{place.cluster}" for place in places]
        self.keys = folder / "keys"
        conf = keys.make(self.keys, passwords={TEST_USER: TEST_USER}) / "cluster.conf"
        self.nodes = [Node(f"n{number}", folder, place, routes, conf) for number, place in enumerate(places, start=1)]
        self.url = ",".join(node.url for node in self.nodes)
        self.environment = {
            "NATS_URL": ",".join(node.address for node in self.nodes),
            "NATS_KEYS": str(self.keys),
            "AUTH": auth.AUTH,
        }
        self.monitor_urls = tuple(node.monitor_url for node in self.nodes)

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
async def three_brokers(folder: Path, places: list[Place] | None = None) -> AsyncGenerator[Brokers, None]:
    brokers = Brokers(folder, places)
    try:
        await brokers.start()
        yield brokers
    finally:
        brokers.kill()
