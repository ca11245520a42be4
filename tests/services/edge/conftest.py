"""A real edge on a free port, and a client for it."""

import base64
import io
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from contracts.broker import Bus
from tests.conftest import PLANTED, Broker, Process, eventually, free_port

PROMPT = f"a small boat sails over a calm sea, {PLANTED}"


def picture(width: int = 64, height: int = 48, *, color: str = "teal") -> str:
    """An image as a `data:` URI."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


class Edge(Process):
    def __init__(self, folder: Path, broker: Broker, **variables: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.videos, self.scratch = folder / "videos", folder / "scratch"
        super().__init__(
            ["-m", "services.edge"],
            folder / f"edge-{self.port}.log",
            SERVER_HOST="127.0.0.1",
            SERVER_PORT=str(self.port),
            **{
                **broker.environment,
                "VIDEO_STORE_URL": str(self.videos),
                "SCRATCH_STORE_URL": str(self.scratch),
                **variables,
            },
        )

    async def ready(self, client: aiohttp.ClientSession) -> None:
        async def answers() -> bool:
            assert self.alive, self.text
            try:
                async with client.get(f"{self.url}/readyz") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        await eventually(answers, within_s=60)


@pytest.fixture
async def client() -> AsyncGenerator[aiohttp.ClientSession, None]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as client:
        yield client


@pytest.fixture
def edges(tmp_path: Path, broker: Broker) -> Generator[Callable[..., Edge], None, None]:
    """Starts edges on one broker and one store."""
    started: list[Edge] = []

    def start(**variables: str) -> Edge:
        edge = Edge(tmp_path, broker, **variables)
        edge.start()
        started.append(edge)
        return edge

    yield start
    for edge in started:
        if edge.alive:
            assert edge.stop() == 0, edge.text


@pytest.fixture
async def edge(edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession) -> Edge:
    """One ready edge, on a provisioned broker."""
    edge = edges()
    await edge.ready(client)
    return edge


async def post(
    client: aiohttp.ClientSession, url: str, body: Any, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    async with client.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def submit(client: aiohttp.ClientSession, edge: Edge, **fields: Any) -> tuple[int, Any]:
    body = {"prompt": PROMPT, "image_url": picture(), "num_frames": 25, "infer_steps": 20, **fields}
    return await post(client, f"{edge.url}/video/submit", body)
