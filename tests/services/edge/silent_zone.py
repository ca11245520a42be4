"""A zone whose name server is silent, and an edge: `unshare --net --mount python -m …silent_zone`.

Whoever runs this has a fresh, empty network. Clients ask for pictures in the silent zone again and again; meanwhile
others ask for pictures elsewhere, and then the edge is ended. Prints one JSON line of what was seen.
"""

import asyncio
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from contracts.broker import bus
from ops import provision
from tests.kit import auth
from tests.kit.broker import Broker
from tests.kit.edge import Edge, submit
from tests.kit.waiting import eventually
from tests.services.edge.apart import run_apart
from tests.services.edge.corpus import PUBLIC, Internet, serve_case
from tests.services.edge.name_server import SILENT, NameServer
from tests.services.edge.namespace import NAME_SERVER, prepare_network

CLIENTS = 12
GOOD = 8


async def run(folder: Path, broker: Broker) -> dict[str, Any]:
    web, loop = Internet(), asyncio.get_running_loop()
    web.port = 80
    zones = {"img.test": [PUBLIC], "slow.test": SILENT}
    await loop.create_datagram_endpoint(lambda: NameServer(zones), local_addr=(NAME_SERVER, 53))
    server = await asyncio.start_server(serve_case(web), PUBLIC, 80)
    edge = Edge(folder, broker, OUTBOUND_ALLOWED_NETWORKS=f"{PUBLIC}/32")
    edge.start()
    try:
        async with (
            auth.client_session(trust_env=False, connector=aiohttp.TCPConnector(limit=0)) as client,
            bus.connect(broker.url, name="test") as link,
        ):
            settings = provision.Settings(nats_url=broker.url, max_concurrent_tasks=500)
            await provision.provision(link, settings)
            await edge.ready(client)
            return await attacked(client, edge)
    finally:
        if edge.alive:
            edge.kill()
        server.close()


async def attacked(client: aiohttp.ClientSession, edge: Edge) -> dict[str, Any]:
    hostile, good, seconds, slowest = Counter[str](), Counter[str](), list[float](), [0.0]

    async def press() -> None:
        while True:
            try:
                status, _ = await submit(client, edge, image_url=f"http://{random.getrandbits(40):x}.slow.test/x.png")
            except aiohttp.ClientError:
                return  # the edge has ended
            hostile[str(status)] += 1

    async def watch() -> None:
        while True:
            began = time.monotonic()
            async with client.get(f"{edge.url}/video/status/{'0' * 32}") as answer:
                assert answer.status == 404
            slowest[0] = max(slowest[0], time.monotonic() - began)
            await asyncio.sleep(0.05)

    watching, pressing = asyncio.create_task(watch()), [asyncio.create_task(press()) for _ in range(CLIENTS)]
    await asyncio.sleep(1)
    for _ in range(GOOD):
        began = time.monotonic()
        status, _ = await submit(client, edge, image_url="http://img.test/ok.png")
        good[str(status)] += 1
        seconds.append(time.monotonic() - began)
    missing, _ = await submit(client, edge, image_url="http://missing.test/ok.png")
    watching.cancel()
    began = time.monotonic()
    edge.send(signal.SIGTERM)
    await eventually(lambda: not edge.alive, within_s=60)
    end_s = time.monotonic() - began
    await asyncio.wait(pressing)
    return {
        "good": good, "slowest_good_s": max(seconds), "hostile": hostile, "missing": missing,
        "slowest_status_s": slowest[0], "end_s": end_s,
    }  # fmt: skip


if __name__ == "__main__":
    prepare_network()
    run_apart(run)
