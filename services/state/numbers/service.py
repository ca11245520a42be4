"""Serve the numbers of the whole service from the one state process that holds the lock for them."""

import asyncio
import secrets
from collections.abc import Callable

from contracts import subjects
from contracts.broker import Bus, Unavailable
from contracts.job_log import JobLog
from contracts.process import log
from contracts.process.metrics import Metrics
from contracts.shared_answers import SharedAnswers
from services.state.numbers.advisories import Advisories
from services.state.numbers.counting import Counting
from services.state.numbers.families import Known, add_service_metrics
from services.state.numbers.lock import Lock
from services.state.numbers.look import Seen, look

SEEN_KEPT_S = 1.0
"""How long one look serves all who scrape."""


class ServiceNumbers:
    """The numbers of the whole service as this process may serve them. One for the process; `run` keeps them up.

    `videos_bytes` returns the size of all videos at the last clean-up, or None; `videos_bytes_max` is the cap.
    """

    def __init__(
        self, broker: Bus, job_log: JobLog, *, videos_bytes: Callable[[], int | None], videos_bytes_max: int
    ) -> None:
        self._broker = broker
        self._videos_bytes, self._videos_bytes_max = videos_bytes, videos_bytes_max
        self._lock = Lock(broker, subjects.NUMBERS_BUCKET, subjects.NUMBERS_HOLDER, secrets.token_hex(16))
        self._counting, self._advisories = Counting(broker, job_log, self._lock), Advisories()
        self._looks: SharedAnswers[None, Seen] = SharedAnswers(self._look, kept_s=SEEN_KEPT_S, kept_max=1)
        self._seen: Seen | None = None

    def add_to(self, metrics: Metrics) -> None:
        """Add the metrics of the whole service, and whether this process serves them."""
        add_service_metrics(metrics, self._known)
        add_held(metrics, lambda: self._lock.held)

    async def run(self, stop: asyncio.Event) -> None:
        """Hold the lock whenever it is free, and count meanwhile, until `stop`."""
        await self._advisories.listen(self._broker)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._lock.keep(stop))
            tasks.create_task(self._counting.run(stop))

    async def see(self) -> None:
        """Look how the service stands, for the metrics that are written next. Without an answer they have no series."""
        self._seen = None
        if self._lock.held:
            try:
                self._seen = await self._looks.get(None)
            except Unavailable as error:
                log.get().warning("numbers_not_seen", error=str(error))

    async def _look(self, _: None) -> Seen:
        return await look(self._broker)

    def _known(self) -> Known | None:
        """Return what this process knows; None if it does not hold the lock, or has not read the counts yet."""
        counts = self._counting.counts
        if counts is None or not self._lock.held:
            return None
        return Known(counts, self._seen, self._advisories.by_labels(), self._videos_bytes(), self._videos_bytes_max)


def add_held(metrics: Metrics, held: Callable[[], bool]) -> None:
    """Add the metric that says which state serves the numbers of the whole service."""
    metrics.gauge(
        "wanjet_state_serves_service",
        "1 for the state process that serves the numbers of the whole service, else 0.",
        by=lambda: float(held()),
    )
