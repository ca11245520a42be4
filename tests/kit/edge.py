"""A real edge on a free port, and the requests that tests make of it."""

import base64
import io
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from PIL import Image

from tests.kit import auth
from tests.kit.machine import free_port
from tests.kit.process import PLANTED, Process
from tests.kit.waiting import eventually

PROMPT = f"a small boat sails over a calm sea, {PLANTED}"


def picture(width: int = 64, height: int = 48, *, color: str = "teal") -> str:
    """Return a PNG of one colour as a `data:` URI."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


class Reached(Protocol):
    """What an edge needs to know of a broker: variables for its process, and the address for the test's own."""

    @property
    def environment(self) -> dict[str, str]: ...
    @property
    def url(self) -> str: ...


class Edge(Process):
    """A real edge on a free port, with folders of its own as its stores. Whoever starts an edge stops it."""

    def __init__(self, folder: Path, broker: Reached, **variables: str) -> None:
        self.port = free_port()
        self._broker = None if "AUTH" in variables else broker
        self.url = f"{'https' if 'TLS_CERT' in variables else 'http'}://127.0.0.1:{self.port}"
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
        """Wait until a submission would be taken of whoever shows the key of the tests."""

        async def ready() -> bool:
            assert self.alive, self.text
            return await self.answers(client, "/readyz")

        await eventually(ready, within_s=60)
        if self._broker is not None:
            await auth.let_in(client, self.url, self._broker.url)

    async def logged(self, client: aiohttp.ClientSession) -> list[dict[str, Any]]:
        """Return the log's JSON lines, with those of every request that was answered before.

        An edge writes the lines of a turn of its event loop by the end of that turn, after some of its answers.
        """
        assert await self.answers(client, "/livez")
        return self.lines

    async def answers(self, client: aiohttp.ClientSession, path: str) -> bool:
        """Return whether the edge answers at this path, and with 200."""
        try:
            async with client.get(self.url + path) as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


async def post(
    client: aiohttp.ClientSession, url: str, body: Any, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    async with client.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def submit(client: aiohttp.ClientSession, edge: Edge, **fields: Any) -> tuple[int, Any]:
    body = {"prompt": PROMPT, "image_url": picture(), "num_frames": 25, "infer_steps": 20, **fields}
    return await post(client, f"{edge.url}/video/submit", body)
