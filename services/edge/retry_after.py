"""Estimate when a place for another job will be free, for the `Retry-After` of a full queue (backpressure).

A place is freed by the end of a running job. The speed of a job is measured by its own progress since its start; until
the progress is large enough, the duration of the latest success counts. `jobs` asks for each refusal, and the broker is
asked at most once in `KEPT_S`.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import islice

from nats.js.errors import APIError

from contracts import subjects, wire
from contracts.broker import Bus, Unavailable
from contracts.cluster import ClusterStatus
from contracts.events import JobStarted, JobSucceeded
from contracts.job_log import JobLog
from services.edge.payloads import RETRY_AFTER_S

KEPT_S = 2.0
ESTIMATED_WITHIN_S = 1.0
RUNNING_ASKED_MAX = 8
MEASURED_PROGRESS_MIN = 0.05
"""The share of a job that an attempt must have done before the attempt's speed counts as known."""
NOBODY_WORKS_S = 60
RETRY_AFTER_S_MIN, RETRY_AFTER_S_MAX = 2, 600


class RetryAfter:
    """Keeps the latest estimate for `KEPT_S`. One for the process. `clusters` looks up the live clusters."""

    def __init__(self, broker: Bus, log: JobLog, clusters: Callable[[], Awaitable[list[ClusterStatus]]]) -> None:
        self._broker, self._log, self._clusters = broker, log, clusters
        self._kept_until, self._seconds = 0.0, RETRY_AFTER_S

    async def seconds(self) -> int:
        """Return in how many whole seconds a place may be free, between `RETRY_AFTER_S_MIN` and `RETRY_AFTER_S_MAX`.

        The broker is asked if the estimate is older than `KEPT_S`. If no answer comes within `ESTIMATED_WITHIN_S`, the
        last estimate stands, and `RETRY_AFTER_S` before the first one.
        """
        if time.monotonic() < self._kept_until:
            return self._seconds
        self._kept_until = time.monotonic() + KEPT_S  # set first, so that no other request asks too
        with suppress(Unavailable, APIError, TimeoutError):
            async with asyncio.timeout(ESTIMATED_WITHIN_S):
                seconds = await self._estimated()
                self._seconds = min(max(math.ceil(seconds), RETRY_AFTER_S_MIN), RETRY_AFTER_S_MAX)
        return self._seconds

    async def _estimated(self) -> float:
        """Return the seconds until the first of up to `RUNNING_ASKED_MAX` running jobs ends.

        Without clusters that is `NOBODY_WORKS_S`. If the end of no job is known, it is the time of a whole job, or
        `RETRY_AFTER_S`. Raises `Unavailable` or `APIError`.
        """
        clusters = await self._clusters()
        if not clusters:
            return NOBODY_WORKS_S
        running = islice((job_id for cluster in clusters for job_id in cluster.current_jobs), RUNNING_ASKED_MAX)
        usual_s = await self._usual_s()
        left = await asyncio.gather(*(self._left_s(job_id, usual_s) for job_id in running))
        known = [seconds for seconds in left if seconds is not None]
        return min(known, default=RETRY_AFTER_S if usual_s is None else usual_s)

    async def _left_s(self, job_id: str, usual_s: float | None) -> float | None:
        """Return the seconds until a running job ends; None if it has ended, or if too little is known.

        `usual_s` is the time of a whole job, or None: it is returned for a job whose start or status cannot be read,
        and less what is done for one that is below `MEASURED_PROGRESS_MIN`.
        """
        started = await self._log.stored_start(job_id)
        stored = await self._broker.get(subjects.STATUS_BUCKET, job_id)
        if started is None or stored is None:
            return usual_s
        try:
            status, start = wire.status_in(stored), wire.event_in(started)
        except wire.Undecodable:
            return usual_s
        if status.ended or not isinstance(start, JobStarted):
            return None
        running_s = max(0.0, await self._log.now() - started.at)
        done = status.progress - start.progress if status.attempt == start.attempt else 0.0
        if done >= MEASURED_PROGRESS_MIN:
            return running_s * (1 - status.progress) / done
        return None if usual_s is None else max(0.0, usual_s * (1 - start.progress) - running_s)

    async def _usual_s(self) -> float | None:
        """Return the seconds that the latest successful attempt took; None if none is in the log, or has no times."""
        stored = await self._log.last_success()
        if stored is None:
            return None
        with suppress(wire.Undecodable):
            ending = wire.event_in(stored)
            if isinstance(ending, JobSucceeded) and ending.timings is not None:
                taken = ending.timings
                return taken.load + taken.encode + taken.denoise + taken.decode + taken.mux + taken.store
        return None
