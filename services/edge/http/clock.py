"""A timer for the limits of a connection, which can be set, set anew, and stopped. `limited_protocol` has two."""

import asyncio
from collections.abc import Callable


class Clock:
    """Calls `when_over` once its time is over. Two for each connection, for the life of the connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, when_over: Callable[[], None]) -> None:
        self._loop, self._when_over = loop, when_over
        self._handle: asyncio.TimerHandle | None = None

    @property
    def runs(self) -> bool:
        """Return whether a time is set and not over."""
        return self._handle is not None

    def set(self, within_s: float) -> None:
        """Let the time be over in so many seconds from now, in place of any time that was set before."""
        self.stop()
        self._handle = self._loop.call_later(within_s, self._ring)

    def stop(self) -> None:
        """Take back the time that was set, if one was."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self) -> None:
        """Note that the time is over, and call `when_over`."""
        self._handle = None
        self._when_over()
