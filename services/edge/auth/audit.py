"""Log which keys were refused, and what was changed with which key. No line holds a key; its id names it. For `gate`.

Lines about refused keys are limited, so that a flood of them cannot fill a disk; the next line says how many were left
out.
"""

import time
from collections.abc import Callable

from contracts.process import log
from services.edge.auth.key_table import BadKey
from services.edge.auth.rights import Action

REFUSED_LINES_MAX = 20
REFUSED_LINES_EVERY_S = 60.0
"""So many lines about refused keys are written in so many seconds."""


class Audit:
    """The audit lines of one edge. `now` is a monotonic clock, in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._began, self._lines, self._left_out = now(), 0, 0

    def refused(self, error: BadKey, action: Action | None, client: str) -> None:
        """Log that a key is refused, unless too many lines say so already."""
        now = self._now()
        if now - self._began >= REFUSED_LINES_EVERY_S:
            self._began, self._lines = now, 0
        if self._lines >= REFUSED_LINES_MAX:
            self._left_out += 1
            return
        self._lines += 1
        left_out, self._left_out = self._left_out, 0
        log.get().warning(
            "key_refused",
            why=error.fault.value,
            key_id=error.key_id,
            action=_word(action),
            client=client,
            left_out=left_out,
        )

    def changed(self, action: Action, status: int) -> None:
        """Log that a key was used for a change, and the status of the answer. Key, tenant and job are bound already."""
        log.get().info("key_used", action=_word(action), outcome=status)


def _word(action: Action | None) -> str:
    return "read" if action is None else action.value
