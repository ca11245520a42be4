"""Forecast when running and waiting jobs end, from the clusters' heartbeats and the jobs that wait ahead.

`job_status` asks for a waiting job's `eta_seconds`, `retry_after` when the next place is free (backpressure). The
broker is asked at most once in `FRESH_S`, however many ask here, and once in `KEPT_S` unless there are new jobs.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from msgspec import Struct
from nats.js.errors import APIError

from contracts import subjects, wire
from contracts.broker import Bus, Stored, Unavailable
from contracts.cluster import ClusterStatus
from contracts.events import JobStarted, JobSubmitted, JobSucceeded
from contracts.job import Job
from contracts.job_log import JobLog
from contracts.process import log
from contracts.shared_answers import SharedAnswers
from services.edge.queue_ahead import Ahead, Server, look_ahead

KEPT_S = 2.0
FRESH_S = 0.5
"""How old a forecast may be for a job that was not there when it was made."""
OLD_S = 30.0
"""How old a forecast may be that a status is answered with, while the next one is being made."""
MADE_WITHIN_S = 1.0
RUNNING_ASKED_MAX = 8
LOOKED_AT_MAX = 128
"""Of how many unfinished jobs, the oldest, the work is looked at. Those behind count as their average."""
BEAT_AGE_S_MAX = 6.0
"""The oldest heartbeat that the bucket shows. A cluster's clock may differ from this machine's by more."""
MEASURED_PROGRESS_MIN = 0.05
"""The share of a job that an attempt must have done before the attempt's speed counts as known."""


class Forecast(Struct, frozen=True):
    """The knowledge of a moment, `made_at` by the monotonic clock.

    `left_s` are the seconds until each job ends that a cluster has in hand, None if unknown; `usual_s` what the latest
    success took. `ahead` is None if no speed is known.
    """

    made_at: float
    any_cluster: bool
    left_s: dict[str, float | None]
    usual_s: float | None
    ahead: Ahead | None

    @property
    def age_s(self) -> float:
        """Return the seconds since it was made."""
        return time.monotonic() - self.made_at

    def eta_s(self, job_id: str, place: int) -> float | None:
        """Return in how many seconds from now a waiting job ends that is at this place (from 1); None if unknown."""
        end_s = self.left_s.get(job_id)
        if end_s is None and self.ahead is not None:
            end_s = self.ahead.end_s(job_id, place)
        return None if end_s is None else max(0.0, end_s - self.age_s)

    def knows(self, job_id: str) -> bool:
        """Return whether the job was there when the forecast was made, or the forecast looked at no job so far back."""
        if job_id in self.left_s or self.ahead is None:
            return True
        return job_id in self.ahead.ends_s or len(self.left_s) + len(self.ahead.ends_s) >= LOOKED_AT_MAX


class Forecasts:
    """Makes forecasts and keeps the latest. One for the process. `clusters` looks up the live clusters."""

    def __init__(self, broker: Bus, job_log: JobLog, clusters: Callable[[], Awaitable[list[ClusterStatus]]]) -> None:
        self._broker, self._log, self._clusters = broker, job_log, clusters
        self._latest: Forecast | None = None
        self._made = SharedAnswers(self._make, kept_s=FRESH_S, kept_max=1)
        self._making: asyncio.Task[Forecast | None] | None = None

    async def eta_s(self, job_id: str, place: int) -> float | None:
        """Return in how many seconds a waiting job ends that is at this place (from 1); None if nobody can know.

        A forecast that knows the job may be `OLD_S` old: the next one is then made beside the answer.
        """
        forecast = self._latest
        if forecast is None or forecast.age_s > OLD_S:
            forecast = await self.latest()
        elif not forecast.knows(job_id):
            forecast = await self.latest(FRESH_S)
        elif forecast.age_s > KEPT_S and (self._making is None or self._making.done()):
            self._making = asyncio.create_task(self.latest())
        return None if forecast is None else forecast.eta_s(job_id, place)

    async def latest(self, age_s_max: float = KEPT_S) -> Forecast | None:
        """Return a forecast that is no older than this, or None if the broker does not answer in `MADE_WITHIN_S`."""
        if self._latest is not None and self._latest.age_s <= age_s_max:
            return self._latest
        try:
            async with asyncio.timeout(MADE_WITHIN_S):
                return await self._made.get("latest")
        except (Unavailable, APIError, TimeoutError) as error:
            log.get().debug("no_forecast", error=str(error))
            return None

    async def _make(self, _key: str) -> Forecast:
        """Ask the broker, and return a new forecast. Raises `Unavailable` or `APIError`."""
        clusters, usual_s = await self._clusters(), await self._usual_s()
        made_at = time.monotonic()
        left_s = await self._left_s(clusters, usual_s)
        ahead = None
        if clusters:
            oldest = await self._log.queue.oldest(LOOKED_AT_MAX)
            waiting = [each for each in oldest if subjects.job_id_of(each.subject) not in left_s]
            servers = [_server(cluster, left_s, usual_s) for cluster in clusters]
            ahead = look_ahead(servers, [(subjects.job_id_of(each.subject), _job_in(each)) for each in waiting])
        self._latest = Forecast(made_at, bool(clusters), left_s, usual_s, ahead)
        return self._latest

    async def _left_s(self, clusters: list[ClusterStatus], usual_s: float | None) -> dict[str, float | None]:
        """Return the seconds until each job in hand ends: by its cluster's word, or for older clusters by its status.

        Of the latter, the first `RUNNING_ASKED_MAX` are asked about.
        """
        found: dict[str, float | None] = {}
        silent: list[str] = []
        for cluster in clusters:
            said = dict(zip(cluster.current_jobs, cluster.jobs_left_s, strict=False))
            found |= dict.fromkeys(cluster.current_jobs)
            found |= {job_id: _since(cluster, seconds) for job_id, seconds in said.items()}
            silent += [job_id for job_id in cluster.current_jobs if said.get(job_id) is None]
        asked = silent[:RUNNING_ASKED_MAX]
        answers = await asyncio.gather(*(self._left_by_status_s(job_id, usual_s) for job_id in asked))
        return found | dict(zip(asked, answers, strict=True))

    async def _left_by_status_s(self, job_id: str, usual_s: float | None) -> float | None:
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
                return ending.timings.whole_s
        return None


def _server(cluster: ClusterStatus, left_s: dict[str, float | None], usual_s: float | None) -> Server:
    """Return a cluster as the queue sees it."""
    free_in_s = None if cluster.free_in_s is None else _since(cluster, cluster.free_in_s)
    if free_in_s is None:
        left = [left_s.get(job_id) for job_id in cluster.current_jobs]
        free_in_s = max((usual_s or 0.0 if seconds is None else seconds for seconds in left), default=0.0)
    return Server(free_in_s, usual_s, cluster.default_size, cluster.paces)


def _since(cluster: ClusterStatus, seconds: float | None) -> float | None:
    """Return seconds from the time of a heartbeat on as seconds from now on."""
    age_s = min(max(0.0, time.time() - cluster.at), BEAT_AGE_S_MAX)
    return None if seconds is None else max(0.0, seconds - age_s)


def _job_in(queued: Stored) -> Job | None:
    """Return the job in a message of the queue; None if this version cannot read it."""
    with suppress(wire.Undecodable):
        submission = wire.submission_in(queued)
        return submission.job if isinstance(submission, JobSubmitted) else None
    return None
