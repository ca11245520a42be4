"""The shutdown of an edge: whole answers for requests in flight, and a bounded end whatever clients do."""

import asyncio
import json
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from contracts import subjects
from contracts.broker import Bus
from tests.kit.broker import Broker
from tests.kit.edge import Edge, submit
from tests.kit.machine import free_port
from tests.kit.waiting import eventually
from tests.services.edge.corpus import PNG
from tests.services.edge.talk import (
    CUT_WITHIN_S,
    Impatient,
    alive,
    get,
    parsed,
    post,
    talk,
)


class Pictures:
    """An image server that answers when it is told to."""

    def __init__(self) -> None:
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def serve(self, _: web.Request) -> web.Response:
        self.asked.set()
        await self.may_answer.wait()
        return web.Response(body=PNG, content_type="image/webp")


@asynccontextmanager
async def pictures(port: int) -> AsyncGenerator[Pictures, None]:
    held = Pictures()
    server = web.Application()
    server.router.add_get("/a.webp", held.serve)
    runner = web.AppRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield held
    finally:
        await runner.cleanup()


async def refuses(edge: Edge) -> bool:
    """Return whether the edge accepts no new connections."""
    try:
        async with talk(edge):
            return False
    except OSError:
        return True


async def test_at_sigterm_an_edge_is_not_ready_and_gives_what_it_owes_their_whole_answers(
    edges: Callable[..., Edge], client: aiohttp.ClientSession, link: Bus
) -> None:
    port = free_port()
    edge = edges(OUTBOUND_ALLOWED_NETWORKS="127.0.0.0/8", OUTBOUND_ALLOWED_PORTS=str(port))
    await edge.ready(client)
    async with pictures(port) as held, talk(edge) as probe, talk(edge) as halfway:
        submitting = asyncio.create_task(submit(client, edge, image_url=f"http://127.0.0.1:{port}/a.webp"))
        body = json.dumps({"requestId": "0" * 32}).encode()
        await halfway.say(post("/video/status", f"Content-Length: {len(body)}") + body[:5])
        await probe.say(get("/readyz"))
        assert (await probe.answer())[0] == 200
        await held.asked.wait()
        edge.send(signal.SIGTERM)
        await eventually(lambda: refuses(edge))

        await probe.say(get("/readyz"))
        heard = await probe.rest()
        assert parsed(heard) == (503, {"error": "UNAVAILABLE", "message": "this edge is stopping"})
        assert b"connection: close" in heard.lower()
        await halfway.say(body[5:])
        assert parsed(await halfway.rest())[0] == 404
        assert not submitting.done() and edge.alive
        held.may_answer.set()
        code, accepted = await submitting
    assert code == 202
    assert await link.last(subjects.JOBS_STREAM, subjects.job(accepted["requestId"])) is not None
    assert await eventually(lambda: not edge.alive)
    assert edge.wait(0) == 0


async def test_neither_idle_connections_nor_requests_without_end_keep_an_edge_from_ending(tmp_path: Path) -> None:
    edge = Impatient(tmp_path, Broker(tmp_path))
    edge.start()
    await eventually(lambda: alive(edge), within_s=20)
    async with talk(edge) as idle, talk(edge) as endless:
        await idle.say(get("/livez"))
        assert (await idle.answer())[0] == 200
        await endless.say(post("/video/status", "Content-Length: 100") + b"{")
        began = asyncio.get_running_loop().time()
        assert await asyncio.to_thread(edge.stop) == 0
        assert asyncio.get_running_loop().time() - began < CUT_WITHIN_S
        assert await idle.rest() == b""
