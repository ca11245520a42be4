"""One of three brokers freezes while two edges are asked: `tests.chaos.soak.partition` in short, on loopback."""

import asyncio
import time
from pathlib import Path

import pytest

from contracts.broker import bus
from ops import provision
from tests.chaos.soak.brokers import NODES, three_brokers
from tests.chaos.soak.load import load, readiness
from tests.chaos.soak.partition import GRACE_S
from tests.kit import auth
from tests.kit.machine import free_port
from tests.kit.process import Process
from tests.kit.waiting import eventually

FROZEN_S = 20.0
NOT_READY_S_MAX = 15.0
EDGES = ("a", "b")


@pytest.mark.timeout(180)
async def test_edges_answer_statuses_and_take_jobs_while_one_of_three_brokers_is_frozen(tmp_path: Path) -> None:
    async with three_brokers(tmp_path / "brokers") as brokers:
        settings = provision.Settings(nats_url=brokers.url, nats_replicas=NODES, max_concurrent_tasks=1000)
        async with bus.connect(brokers.url, name="provision") as link:
            await provision.provision(link, settings)
            await auth.make_key(link)
        shared = {
            **brokers.environment,
            "VIDEO_STORE_URL": str(tmp_path / "videos"),
            "SCRATCH_STORE_URL": str(tmp_path / "scratch"),
        }
        ports = {edge: free_port() for edge in EDGES}
        urls = {edge: f"http://127.0.0.1:{port}" for edge, port in ports.items()}
        processes = [Process(["-m", "services.state"], tmp_path / "state.log", **shared).start()]
        for edge, port in ports.items():
            where = {"SERVER_HOST": "127.0.0.1", "SERVER_PORT": str(port)}
            processes.append(Process(["-m", "services.edge"], tmp_path / f"{edge}.log", **shared, **where).start())
        try:
            await eventually(lambda: readiness(urls, EDGES), within_s=60)
            frozen = next(node for node in brokers.nodes if "edge" in node.clients())
            async with load(urls) as running:
                await eventually(lambda: running.accepted, within_s=30)
                with frozen.frozen():
                    began = time.time()
                    await asyncio.sleep(FROZEN_S)  # as long as the fault lasts
                    thawed = time.time()
        finally:
            for process in processes:
                process.kill()
    for what in ("submission", "status"):
        codes = running.codes(what, EDGES, began + GRACE_S, thawed)
        assert set(codes) == {200 if what == "status" else 202}, codes
    assert running.longest_not_ready_s(EDGES) <= NOT_READY_S_MAX
