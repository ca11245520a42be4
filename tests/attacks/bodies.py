"""What attacks by single requests share: bodies, and ways to send them."""

import asyncio
import base64
import functools
import io
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

import numpy as np
from PIL import Image

from tests.attacks.pressure import Pressure
from tests.services.edge.talk import post

PROMPT = "a small boat sails over a calm sea"
PAUSE_S = 0.2
"""After a request that failed."""


def document(image_url: str) -> bytes:
    return json.dumps({"prompt": PROMPT, "image_url": image_url, "num_frames": 25, "infer_steps": 20}).encode()


def inline(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


@functools.cache
def large_picture() -> bytes:
    """Some 20 MB of PNG that cannot be made smaller, drawn from one seed."""
    pixels = np.random.default_rng(1).integers(0, 256, (2500, 2600, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    return file.getvalue()


def submission(body: bytes) -> bytes:
    return post("/video/submit", "Connection: close", f"Content-Length: {len(body)}") + body


async def exchange(pressure: Pressure, request: bytes) -> bytes:
    """Send a request and return what is answered; an edge that ends the connection is no error."""
    heard = b""
    with suppress(OSError):
        reader, writer = await pressure.connect()
        try:
            writer.write(request)
            heard = await reader.read(-1)
        finally:
            writer.transport.abort()
    return heard


async def press_on(pressure: Pressure, count: int, request: Callable[[], bytes]) -> None:
    """So many clients send one request after the other; the attack stands once each has connected."""

    async def client() -> None:
        while True:
            if not await exchange(pressure, request()):
                await asyncio.sleep(PAUSE_S)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(client())
        await asyncio.sleep(0)
        pressure.stands()


Press = Callable[[Pressure], Awaitable[None]]
