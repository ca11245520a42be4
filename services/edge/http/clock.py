"""A time limit that can be set, set anew and taken back."""

import asyncio
from collections.abc import Callable


class Clock:
    """Calls once, when its time is over; for the life of a connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, when_over: Callable[[], None]) -> None:
        self._loop, self._when_over = loop, when_over
        self._handle: asyncio.TimerHandle | None = None

    @property
    def runs(self) -> bool:
        return self._handle is not None

    def set(self, within_s: float) -> None:
        self.stop()
        self._handle = self._loop.call_later(within_s, self._ring)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self) -> None:
        self._handle = None
        self._when_over()
