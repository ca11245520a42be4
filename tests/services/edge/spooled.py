"""Functions on bytes that wrap those on spools, for tests."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from services.edge.image.fetch import BeforeRequest, ImageFetcher
from services.edge.image.normalise import Normaliser
from services.edge.resources.sandbox import Sandbox
from services.edge.resources.spool import Disk, Spool


@asynccontextmanager
async def normaliser(sandbox: Sandbox | None = None, **limits: float) -> AsyncGenerator[Normaliser, None]:
    """A normaliser with that sandbox, or with one of its own."""
    if sandbox is not None:
        yield Normaliser(sandbox, **limits)
        return
    async with Sandbox() as own:
        yield Normaliser(own, **limits)


async def normalise(data: bytes, *, by: Normaliser | None = None, is_inline: bool = False) -> bytes:
    """Return a picture as PNG."""
    if by is None:
        async with normaliser() as own:
            return await normalise(data, by=own, is_inline=is_inline)
    disk = Disk()
    with Spool(disk) as picture, Spool(disk) as png:
        await picture.add(data)
        await by.normalise(picture, png, is_inline=is_inline)
        with png.mapped() as pixels:
            return bytes(pixels)


async def fetch(fetcher: ImageFetcher, url: str, before_work: BeforeRequest | None = None) -> bytes:
    """Return the body behind a URL."""
    with Spool(Disk()) as picture:
        await fetcher.fetch(url, picture, before_work)
        await picture.file()
        with picture.mapped() as body:
            return bytes(body)


def lowest_free_descriptor() -> int:
    """Return the lowest free descriptor: as the limit of descriptors, it lets no further one be opened."""
    with Path(os.devnull).open("rb") as file:
        return file.fileno()
