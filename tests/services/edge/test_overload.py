import asyncio
from collections.abc import AsyncGenerator, Callable

import aiohttp
import pytest

from contracts import subjects
from contracts.broker import Bus
from services.edge.image.fetch import HOST_SHARE, HOST_WAITING_MAX
from tests.kit import auth
from tests.kit.edge import PROMPT, Edge, submit


@pytest.fixture
async def silent_port() -> AsyncGenerator[int, None]:
    """A server on loopback that accepts connections and says nothing."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_a_refusal_for_load_says_when_to_come_again_stores_nothing_and_concerns_nobody_else(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], link: Bus, silent_port: int
) -> None:
    edge = edges(OUTBOUND_ALLOWED_NETWORKS="127.0.0.0/8", OUTBOUND_ALLOWED_PORTS=str(silent_port))
    await edge.ready(client)
    body = {"prompt": PROMPT, "image_url": f"http://127.0.0.1:{silent_port}/x.png"}

    async def ask() -> tuple[int, str | None, str]:
        async with many.post(f"{edge.url}/video/submit", json=body) as answer:
            return answer.status, answer.headers.get("Retry-After"), (await answer.json())["error"]

    async with auth.client_session(connector=aiohttp.TCPConnector(limit=0)) as many:
        asking = [asyncio.create_task(ask()) for _ in range(HOST_SHARE + HOST_WAITING_MAX + 1)]
        done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        status, retry_after, error = done.pop().result()
        assert (status, error) == (503, "OVERLOADED")
        assert int(retry_after or 0) > 0
        assert (await link.stream(subjects.JOBS_STREAM)).state.messages == 0
        assert list(edge.scratch.glob("inputs/*")) == []
        assert (await submit(client, edge))[0] == 202
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
