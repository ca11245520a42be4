"""A semaphore with fair shares: limit how many costly things run at once, and how many of them for one owner.

Fetches, DNS look-ups and decoders take turns. Waits are bounded in time and in number (backpressure): beyond the bounds
a turn raises `Overloaded`.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from contracts.outbound.overloaded import Overloaded


class Turns:
    """Gives `most` turns at once in the order of the requests, and at most `share` of them to one owner.

    A request whose owner has its share lets later ones of other owners pass. At most `waiting_max` requests wait for
    one owner, each for `within_s`. One for the process and each kind of work.
    """

    def __init__(self, *, most: int, share: int, waiting_max: int, within_s: float) -> None:
        self._share, self._waiting_max, self._within_s = share, waiting_max, within_s
        self._free = most
        self._taken: Counter[str] = Counter()
        self._waiting: dict[asyncio.Future[None], tuple[str, ...]] = {}

    @asynccontextmanager
    async def turn(self, *owners: str) -> AsyncGenerator[None, None]:
        """Hold a turn for the length of the block. The turn counts for each of its owners.

        Raises `Overloaded` at once if too many wait for one of the owners, or after `within_s`.
        """
        if self._may_go(owners):
            self._take(owners)
        else:
            await self._wait(owners)
        try:
            yield
        finally:
            self._give_back(owners)

    def _may_go(self, owners: tuple[str, ...]) -> bool:
        """Return whether a turn and a share of each owner are free."""
        return self._free > 0 and all(self._taken[owner] < self._share for owner in owners)

    def _take(self, owners: tuple[str, ...]) -> None:
        self._free -= 1
        self._taken.update(owners)

    async def _wait(self, owners: tuple[str, ...]) -> None:
        """Wait until a turn was taken for these owners. Raises `Overloaded`, as `turn` does."""
        waiting = Counter(owner for others in self._waiting.values() for owner in others)
        if any(waiting[owner] >= self._waiting_max for owner in owners):
            raise Overloaded
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[granted] = owners
        try:
            await asyncio.wait([granted], timeout=self._within_s)
        except asyncio.CancelledError:
            if granted.done():
                self._give_back(owners)
            raise
        finally:
            self._waiting.pop(granted, None)
        if not granted.done():
            raise Overloaded

    def _give_back(self, owners: tuple[str, ...]) -> None:
        """Free a turn of these owners, and grant the waiting requests that may go now."""
        self._free += 1
        self._taken -= Counter(owners)  # which drops owners without a turn
        for granted, waiters in list(self._waiting.items()):
            if self._may_go(waiters):
                self._take(waiters)
                del self._waiting[granted]
                granted.set_result(None)
