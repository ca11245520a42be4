"""Limit unfinished uploads in number and in slowness, against slow POST (a slow loris that trickles its body).

`limited_protocol` reports each body that does not come together with its head, and counts the bytes in an `Upload`. An
upload that is too slow, or the slowest one if a new upload needs room, is ended.
"""

import asyncio
from dataclasses import dataclass
from typing import Protocol

UPLOADS_MAX = 200
UPLOAD_GRACE_S = 30.0  # 600 bytes come within it on any link
UPLOAD_WINDOW_S = 10.0
UPLOAD_BYTES_S_MIN = 500.0
"""The least mean speed over each window that follows the grace period, in bytes a second."""
UPLOAD_BYTES_S_SAFE = 10_000.0
"""From this mean speed on an upload is never ended to make room for another, in bytes a second."""
HEAD_START_BYTES = 4096
"""Granted to every upload when speeds are compared, so that an upload which has just begun is not the slowest."""
JUDGED_EVERY_S = 1.0


@dataclass
class Upload:
    """The body of one request while it comes in. Sizes are in bytes, times by the event loop's clock.

    `received` is what has come so far, `marked` what had come when the present window began, at `marked_at`.
    """

    began: float
    marked_at: float = 0.0
    marked: int = 0
    received: int = 0

    def speed(self, now: float) -> float:
        """Return the mean speed since the body began, in bytes a second, with `HEAD_START_BYTES` granted."""
        return (self.received + HEAD_START_BYTES) / max(now - self.began, 0.001)

    def mark(self, now: float) -> None:
        """Begin a window at this time."""
        self.marked_at, self.marked = now, self.received

    def is_too_slow(self, now: float) -> bool:
        """Return whether a window after the grace is over in which too little came. Begins the next window then."""
        if now - self.began < UPLOAD_GRACE_S:
            self.mark(now)
        if now - self.marked_at < UPLOAD_WINDOW_S:
            return False
        came = self.received - self.marked
        self.mark(now)
        return came < UPLOAD_BYTES_S_MIN * UPLOAD_WINDOW_S


class Uploader(Protocol):
    """A connection with an upload, as this module sees it."""

    @property
    def is_held_up(self) -> bool:
        """Return whether the edge has paused reading, so that the client cannot send."""
        ...

    def end_upload(self) -> None:
        """Answer that the upload is too slow, and close."""
        ...


class Uploads:
    """The unfinished uploads of one edge. A timer judges them once a second while there are any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._of: dict[Uploader, Upload] = {}
        self._clock: asyncio.TimerHandle | None = None

    def __contains__(self, uploader: Uploader) -> bool:
        return uploader in self._of

    def begin(self, uploader: Uploader, upload: Upload) -> None:
        """Count an upload, for which `make_room` has made room, and judge it once a second from now on."""
        self._of[uploader] = upload
        if self._clock is None:
            self._clock = self._loop.call_later(JUDGED_EVERY_S, self._judge)

    def end(self, uploader: Uploader) -> None:
        """Count the connection's upload no longer, if it was counted."""
        self._of.pop(uploader, None)

    def make_room(self) -> bool:
        """Return whether one more upload may begin. At the limit, end the slowest one, unless all are fast."""
        if len(self._of) < UPLOADS_MAX:
            return True
        now = self._loop.time()
        speeds = {one: upload.speed(now) for one, upload in self._of.items() if not one.is_held_up}
        slowest = min(speeds, key=lambda one: speeds[one], default=None)
        if slowest is None or speeds[slowest] >= UPLOAD_BYTES_S_SAFE:
            return False
        del self._of[slowest]
        slowest.end_upload()
        return True

    def _judge(self) -> None:
        """End the uploads that are too slow, and judge the others again in `JUDGED_EVERY_S`, if any are left."""
        self._clock = None
        now = self._loop.time()
        for one, upload in list(self._of.items()):
            if one.is_held_up:
                upload.mark(now)
            elif upload.is_too_slow(now):
                self.end(one)
                one.end_upload()
        if self._of:
            self._clock = self._loop.call_later(JUDGED_EVERY_S, self._judge)
