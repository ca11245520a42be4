"""A budget of bytes that requests share: admission control for memory. A wait for a share that is too long fails.

`bodies` claims a share for each large body that is read, and for each image that is published.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from services.edge.errors import Overloaded

SMALL_PARTS = 32
"""A claim of no more than one such part of a budget is small."""


class Budget:
    """Gives shares in the order of the claims, except that a small claim never waits behind a large one.

    One for the process. A wait lasts `within_s` at most.
    """

    def __init__(self, bytes_max: int, *, within_s: float) -> None:
        self._bytes_max, self._within_s = bytes_max, within_s
        self._small_max = bytes_max // SMALL_PARTS
        self._free_bytes = bytes_max
        self._waiting: dict[asyncio.Future[None], int] = {}

    @asynccontextmanager
    async def claim(self, size_bytes: int) -> AsyncGenerator[None, None]:
        """Hold this many bytes for the length of the block; a claim over the whole budget holds all of it.

        Raises `Overloaded` after `within_s`.
        """
        size_bytes = min(size_bytes, self._bytes_max)
        if size_bytes > self._free_bytes or (self._waiting and size_bytes > self._small_max):
            await self._wait(size_bytes)
        else:
            self._free_bytes -= size_bytes
        try:
            yield
        finally:
            self._give_back(size_bytes)

    async def _wait(self, size_bytes: int) -> None:
        """Wait until this many bytes were taken for the caller. Raises `Overloaded` after `within_s`."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[granted] = size_bytes
        try:
            await asyncio.wait([granted], timeout=self._within_s)
        except asyncio.CancelledError:
            if granted.done():
                self._give_back(size_bytes)
            raise
        finally:
            if self._waiting.pop(granted, None) is not None:
                self._give_back(0)  # this claim may have kept smaller ones waiting
        if not granted.done():
            raise Overloaded

    def _give_back(self, size_bytes: int) -> None:
        """Free so many bytes, and grant the waiting claims that fit now."""
        self._free_bytes += size_bytes
        is_held_up = False
        for granted, wanted in list(self._waiting.items()):
            if wanted > self._free_bytes or (is_held_up and wanted > self._small_max):
                is_held_up = True
                continue
            self._free_bytes -= wanted
            del self._waiting[granted]
            granted.set_result(None)
