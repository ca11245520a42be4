"""Fetch images with libraries that are imported once the edge is ready: HTTP client and resolver, a third of a start.

`app` opens a `LateFetcher`, and `submit` calls it as it would an `ImageFetcher`, which does the work.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from contracts.process import garbage, lifetime
from services.edge.resources.spool import Spool

if TYPE_CHECKING:
    from services.edge.image.fetch import ImageFetcher

LOAD_AFTER_S = 1.0
"""When the libraries are imported if no fetch has needed them before, in seconds after the edge's start."""

BeforeRequest = Callable[[], Awaitable[None]]


class LateFetcher:
    """Opens an `ImageFetcher` soon after the beginning of its block, and closes it at the end.

    `options` are those of `ImageFetcher`.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._wanted = asyncio.Event()
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._opening = asyncio.create_task(self._open())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opening.cancel()
        await asyncio.wait([self._opening])
        await self._opened.aclose()

    async def _open(self) -> "ImageFetcher":
        """Import the libraries in a thread, so that other requests are answered meanwhile, and open the fetcher."""
        await lifetime.wait_until_set(self._wanted, within_s=LOAD_AFTER_S)
        module = await asyncio.to_thread(import_module, "services.edge.image.fetch")
        fetcher = await self._opened.enter_async_context(module.ImageFetcher(**self._options))
        garbage.freeze()
        return fetcher

    async def fetch(self, url: str, picture: Spool, before_work: BeforeRequest | None = None) -> None:
        """Do and raise what `ImageFetcher.fetch` does; the first fetch may wait for the libraries.

        Raises `OSError` if the libraries cannot be read now, as without free descriptors; the next fetch tries again.
        """
        self._wanted.set()
        if self._opening.done() and self._opening.exception() is not None:
            self._opening = asyncio.create_task(self._open())
        fetcher = await asyncio.shield(self._opening)
        await fetcher.fetch(url, picture, before_work)
