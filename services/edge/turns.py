"""Turns: how much of something costly may be in hand at once, and how much of that for one owner.

Admission control with fair shares: waiting is bounded in time and in number, and ends as `Overloaded`. Knows nothing
of what the turns are for.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from services.edge.errors import Overloaded


class Turns:
    """Gives `most` turns at once in the order of asking, `share` of them to one owner. One for the process.

    Whoever waits for an owner whose share is taken lets the others go ahead. `waiting_max` bounds how many may wait for
    one owner, `within_s` how long.
    """

    def __init__(self, *, most: int, share: int, waiting_max: int, within_s: float) -> None:
        self._most, self._share = most, share
        self._waiting_max, self._within_s = waiting_max, within_s
        self._taken: Counter[str] = Counter()
        self._waiting: dict[asyncio.Future[None], str] = {}

    @asynccontextmanager
    async def turn(self, owner: str = "") -> AsyncGenerator[None, None]:
        """Hold a turn for the length of the block. Raises `Overloaded`."""
        if self._is_free(owner):
            self._taken[owner] += 1
        else:
            await self._wait(owner)
        try:
            yield
        finally:
            self._give_back(owner)

    def _is_free(self, owner: str) -> bool:
        return self._taken[owner] < self._share and self._taken.total() < self._most

    async def _wait(self, owner: str) -> None:
        """Return once a turn was taken for this owner."""
        if sum(1 for other in self._waiting.values() if other == owner) >= self._waiting_max:
            raise Overloaded
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[granted] = owner
        try:
            await asyncio.wait([granted], timeout=self._within_s)
        except asyncio.CancelledError:
            if granted.done():
                self._give_back(owner)
            raise
        finally:
            self._waiting.pop(granted, None)
        if not granted.done():
            raise Overloaded

    def _give_back(self, owner: str) -> None:
        self._taken[owner] -= 1
        if not self._taken[owner]:
            del self._taken[owner]
        for granted, waiter in list(self._waiting.items()):
            if self._is_free(waiter):
                self._taken[waiter] += 1
                del self._waiting[granted]
                granted.set_result(None)
