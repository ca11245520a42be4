"""A real run under Prometheus: edges, states, webhooks and a cluster; jobs that end in every way, processes killed.

`test_scraped` asks what Prometheus saw of it. `python -m tests.flow.scraped` draws the dashboard over such a run, into
`ops/dashboards/run.svg`, in some two minutes.
"""

import asyncio
import json
import re
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from contracts import subjects
from contracts.broker import bus
from inference.pocket.build import build
from tests.kit import auth, queries
from tests.kit.drawing import drawn
from tests.kit.edge import Edge, picture, post
from tests.kit.machine import free_port
from tests.kit.process import Process
from tests.kit.prometheus import Prometheus, Series
from tests.kit.road import LONG, MODEL, SIZE, Road
from tests.kit.scrape import scrape
from tests.kit.waiting import eventually
from tests.services.webhooks.jobs import Service
from tests.services.webhooks.targets import Loopback, loopback, says, status

EDGES, STATES = 3, 2
ROOM = 6
PICTURE = queries.FOLDER / "run.svg"
INTERVAL = "30s"
"""Stands for Grafana's interval in queries: long enough for a rate at one scrape a second."""
WEBHOOK_PAUSES_SCALE = "0.2"
PROMPT = "a small boat sails over a calm sea"


class Run:
    """What was started and submitted; `submitted` and `ended` are what the sums have to be."""

    def __init__(self, folder: Path, web: Loopback) -> None:
        self.road, self._web = Road(folder), web
        self.urls: list[str] = []
        """The targets of webhooks: one that takes all, and one that refuses once."""
        self.ports = {"edge": _ports(EDGES), "state": _ports(STATES), "inference": _ports(1), "webhooks": _ports(1)}
        measured = {"METRICS_HOST": "127.0.0.1", "TMPDIR": str(folder)}
        common = {**self.road.variables, **measured, "CLEANUP_INTERVAL": "5"}
        self.edges = [
            Edge(folder, self.road.broker, **measured, **web.environment, METRICS_PORT=str(port))
            for port in self.ports["edge"]
        ]
        self.webhooks = Service(
            self.road.broker,
            folder / "webhooks.log",
            **measured,
            **web.environment,
            METRICS_PORT=str(self.ports["webhooks"][0]),
            WEBHOOK_PAUSES_SCALE=WEBHOOK_PAUSES_SCALE,
        )
        self.states = [
            Process(["-m", "services.state"], folder / f"state-{port}.log", **common, METRICS_PORT=str(port))
            for port in self.ports["state"]
        ]
        (port,) = self.ports["inference"]
        self.road.cluster = self.road.new_cluster(METRICS_HOST="127.0.0.1", METRICS_PORT=str(port))
        self.prometheus = Prometheus(
            folder / "prometheus", {f"wanjet-{name}": ports for name, ports in self.ports.items()}
        )
        self.submitted = 0
        self.ended = {"succeeded": 0, "failed": 0, "cancelled": 0}

    async def submit(self, client: aiohttp.ClientSession, **fields: object) -> str:
        """Submit a job to one edge after the other, and return its id."""
        edge, url = self.edges[self.submitted % EDGES], self.urls[self.submitted % len(self.urls)]
        body = {"prompt": PROMPT, "image_url": picture(), "num_frames": 25, "infer_steps": 20, "image_size": SIZE}
        code, answer = await post(client, f"{edge.url}/video/submit", {**body, "webhook_url": url, **fields})
        assert code == 202, answer
        self.submitted += 1
        return answer["requestId"]

    async def succeed(self, client: aiohttp.ClientSession, jobs: int) -> None:
        """Have so many jobs make their videos."""
        ids = [await self.submit(client) for _ in range(jobs)]
        for job_id in ids:
            status = await self.status(client, job_id)
            assert status == "Succeed"
        self.ended["succeeded"] += jobs

    async def status(self, client: aiohttp.ClientSession, job_id: str) -> str:
        """Wait for a job's end, and return its status."""

        async def ended() -> str | None:
            async with client.get(f"{self.edges[0].url}/video/status/{job_id}") as answer:
                status = (await answer.json())["status"]
            return None if status in ("InQueue", "InProgress") else status

        return await eventually(ended, within_s=90) or ""

    async def cancel(self, client: aiohttp.ClientSession) -> None:
        job_id = await self.submit(client, **LONG)
        code, _ = await post(client, f"{self.edges[1].url}/video/cancel", {"requestId": job_id})
        assert code == 200
        self.ended["cancelled"] += 1

    async def be_refused(self, client: aiohttp.ClientSession) -> None:
        """Fill the queue until a submission is refused, be refused for a field, and empty the queue again."""
        ids = [await self.submit(client, **LONG) for _ in range(ROOM)]
        body = {"prompt": PROMPT, "image_url": picture(), "image_size": SIZE}
        for expected, fields in ((429, {}), (400, {"num_frames": 7})):
            code, _ = await post(client, f"{self.edges[2].url}/video/submit", {**body, **fields})
            assert code == expected
        for job_id in ids:
            code, _ = await post(client, f"{self.edges[0].url}/video/cancel", {"requestId": job_id})
            assert code == 200
        self.ended["cancelled"] += ROOM

    async def holder(self, client: aiohttp.ClientSession) -> Process:
        """Return the state that serves the numbers of the whole service."""

        async def one() -> Process | None:
            for state, port in zip(self.states, self.ports["state"], strict=True):
                scraped = await scrape(client, port) if state.alive else None
                if scraped is not None and scraped.has("wanjet_jobs_limit"):
                    return state
            return None

        found = await eventually(one, within_s=30)
        assert found is not None
        return found

    async def holders_known(self, client: aiohttp.ClientSession, count: int) -> None:
        """Wait until so many states, one after the other, have served Prometheus the numbers of the whole service."""

        async def known() -> bool:
            found = await self.prometheus.over_time(client, "wanjet_jobs_limit")
            return len({json.loads(labels)["instance"] for labels in found}) >= count

        await eventually(known, within_s=60)

    async def take_webhooks(self) -> None:
        """Open the targets of webhooks, and wait until edges know that there is a webhook service."""
        for answer in (says(status(200)), says(status(500), status(200))):
            self.urls.append((await self._web.target(answer)).url)
        async with bus.connect(self.road.broker.url, name="test") as link:

            async def known() -> bool:
                return await link.get(subjects.WEBHOOKS_BUCKET, subjects.WEBHOOKS_SERVICE) is not None

            await eventually(known, within_s=60)

    async def live_through(self, client: aiohttp.ClientSession) -> None:
        """Submit, cancel, refuse; kill the state that counts, and the cluster as it works; and let all jobs end."""
        await self.succeed(client, 3)
        await self.cancel(client)
        await self.be_refused(client)
        holder = await self.holder(client)
        await self.holders_known(client, 1)
        holder.kill()
        await self.holder(client)
        await self.holders_known(client, 2)
        holder.start()
        killed = await self.submit(client, **{**LONG, "infer_steps": 40})
        await self.road.at_step(client, killed, 2)
        self.road.cluster.kill()
        self.road.cluster.start()
        assert await self.status(client, killed) == "Succeed"
        self.ended["succeeded"] += 1
        await self.succeed(client, 3)


def _ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]


@asynccontextmanager
async def running(folder: Path) -> AsyncGenerator[tuple[Run, aiohttp.ClientSession], None]:
    """Run all of it for the length of the block, which begins when a job could be made."""
    build(folder / "tiny", MODEL)
    async with auth.client_session(timeout=aiohttp.ClientTimeout(30)) as client, loopback() as web:
        run = Run(folder, web)
        road = run.road
        road.broker.start()
        try:
            road.run("-m", "ops.provision", MAX_CONCURRENT_TASKS=str(ROOM), ACK_WAIT="5")
            road.start(*run.states, *run.edges, run.webhooks, road.cluster)
            run.prometheus.start()
            try:
                await run.prometheus.ready(client)
                for edge in run.edges:
                    await edge.ready(client)
                road.edge = run.edges[0]
                road.state = run.states[0]
                await road.live(client)
                await run.take_webhooks()
                yield run, client
            finally:
                await asyncio.to_thread(run.prometheus.stop)
        finally:
            await asyncio.to_thread(road.stop)


def named(legend: str, labels: str) -> str:
    """Return the name of a line, as Grafana makes it of a panel's legend and the labels of a series."""
    known = json.loads(labels)
    return re.sub(r"\{\{(\w+)\}\}", lambda found: str(known.get(found[1], "")), legend)


async def draw(folder: Path) -> str:
    """Return the dashboard over a run, as an SVG."""
    async with running(folder) as (run, client):
        began = time.time()
        await run.live_through(client)
        await asyncio.sleep(5)  # for the last scrapes
        ended = time.time()
        panels: list[tuple[str, dict[str, Series]]] = []
        for panel in queries.panels():
            lines: dict[str, Series] = {}
            for target in panel["targets"]:
                query = target["expr"].replace(queries.RATE_INTERVAL, INTERVAL)
                for labels, series in (await run.prometheus.over_time(client, query)).items():
                    within = [(at, value) for at, value in series if began <= at <= ended]
                    if within:
                        name = named(target["legendFormat"], labels)
                        lines[name] = sorted([*lines.get(name, []), *within])
            panels.append((panel["title"], lines))
    return drawn(panels, began, ended)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="wanjet-scraped-") as scratch:
        PICTURE.write_text(asyncio.run(draw(Path(scratch))))
    sys.stdout.write(f"{PICTURE}\n")
