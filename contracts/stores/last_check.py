"""Share the check of a store among all who ask for it, and log when the store breaks and when it is usable again.

`folder` and `s3` make their checks through it, so that many requests at once cost a single probe.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

from contracts.process import log
from contracts.stores.trouble import Trouble

CHECK_AGAIN_S = 1.0


class LastCheck:
    """The last check of a store, shared by all who asked while it ran.

    A good result is shared for `CHECK_AGAIN_S` longer. A bad one is not, so that a store that comes right is seen at
    once. One instance lives as long as its store.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._holds_until = -math.inf
        self._found: Trouble | None = None

    async def found(self, check: Callable[[], Awaitable[Trouble | None]]) -> Trouble | None:
        """Return the result of the last check, or of `check` now if the last one no longer holds; None for no trouble.

        Logs a trouble that is new, another or over. What `check` raises goes to the caller, and nothing is remembered.
        """
        asked_at = time.monotonic()
        async with self._lock:
            if asked_at > self._holds_until:
                before, self._found = self._found, await check()
                self._holds_until = time.monotonic() + (CHECK_AGAIN_S if self._found is None else 0)
                _log_change(before, self._found)
            return self._found


def _log_change(before: Trouble | None, found: Trouble | None) -> None:
    """Log a trouble that is new or another, and the end of a trouble."""
    if found is not None and (before is None or found.plain != before.plain):
        log.get().error("store_unusable", **found.fields)
    elif found is None and before is not None:
        log.get().info("store_usable_again", store=before.setting, path=before.path)
