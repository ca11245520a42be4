"""The metrics of one cluster, for Prometheus: attempts, steps, stages, and the memory of each rank's card.

`launch` makes them and serves them on `METRICS_PORT`; `AttemptRunner` counts. Labels are the model, the size that the
job names (`keep_aspect` may make a video of any sides of it) and the plan in words. For the thread of asyncio.
"""

import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from contracts.broker import Bus
from contracts.broker.numbers import add_broker_metrics
from contracts.events import AnyEnding, JobCancelled, JobDeleted, JobFailed, JobSucceeded, Stage, Timings
from contracts.job_ended import in_words
from contracts.process.metrics import LONG_S, QUICK_S, Labels, Metrics
from contracts.subjects import INFERENCE_DURABLE

if TYPE_CHECKING:  # it imports torch
    from inference.leader.attempt import Attempt

MEMORY = ("allocated", "reserved", "total")
_STEP_S = (*QUICK_S, 60.0, 120.0, 300.0)

Memory = Callable[[], Mapping[int, Mapping[str, int]]]


class AttemptOutcome(StrEnum):
    """End of an attempt for this cluster: by the ending that the job has then, or without one."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """Ended by a client, who may have deleted the job."""
    RELEASED = "released"
    """Handed back, since the cluster was told to stop."""
    LOST = "lost"
    """Left to another cluster, or cut off from the broker."""
    PUT_OFF = "put_off"
    """Broken off, since the broker or a store failed."""

    @classmethod
    def of(cls, ending: AnyEnding) -> "AttemptOutcome":
        """Return the outcome of an attempt at a job that has this ending."""
        match ending:
            case JobSucceeded():
                return cls.SUCCEEDED
            case JobFailed():
                return cls.FAILED
            case JobCancelled() | JobDeleted():
                return cls.CANCELLED
            case _:
                return cls.LOST


class LeaderNumbers:
    """The metrics of one cluster. Made once, by `launch`; `add_broker` adds those of its connection.

    `memory` returns the bytes of devices by rank and kind (`MEMORY`), and nothing of a device that does not say them.
    `default_size` is the size of jobs that name none.
    """

    def __init__(self, model: str, default_size: str, memory: Memory) -> None:
        self.metrics = metrics = Metrics()
        self._model, self._default_size = model, default_size
        self._stepped_at: float | None = None
        self.in_hand: Callable[[], int] = lambda: 0
        """Returns the number of jobs in flight. `Leader` sets it."""
        self._attempts = metrics.counter(
            "wanjet_attempts_total",
            "Attempts of this cluster by outcome.",
            "outcome",
            known=[(outcome.value,) for outcome in AttemptOutcome],
        )
        self._stage_s = metrics.histogram(
            "wanjet_stage_seconds",
            "Seconds of each part of an attempt that made a video.",
            "stage",
            "model",
            "size",
            "plan",
            bounds=LONG_S,
        )
        self._step_s = metrics.histogram(
            "wanjet_step_seconds", "Seconds of each denoising step.", "model", "size", "plan", bounds=_STEP_S
        )
        metrics.gauge("wanjet_jobs_in_hand", "Jobs that this cluster has taken.", by=self._in_hand)
        metrics.read(
            "gauge",
            "wanjet_device_memory_bytes",
            "Memory of a rank's card: what tensors take, what torch holds, and all of it.",
            "rank",
            "kind",
            by=lambda: {
                (str(rank), kind): float(size) for rank, kinds in memory().items() for kind, size in kinds.items()
            },
        )

    def _in_hand(self) -> float:
        return self.in_hand()

    def add_broker(self, broker: Bus | None) -> None:
        """Add the metrics of the connection to the broker; of None their names alone."""
        add_broker_metrics(self.metrics, broker, (INFERENCE_DURABLE,))

    def boundary(self, attempt: "Attempt", stage: Stage, step: int) -> None:
        """Time the step that ends here, if one does; the first one from the beginning of `denoise`."""
        now = time.monotonic()
        if stage == "denoise" and step > 0 and self._stepped_at is not None:
            self._step_s.observe(now - self._stepped_at, *self._labels(attempt))
        self._stepped_at = now if stage == "denoise" else None

    def ended(self, attempt: "Attempt", outcome: AttemptOutcome, timings: Timings | None) -> None:
        """Count an attempt that had its turn at the ranks, and the times of its parts if it made a video."""
        if not attempt.begun:
            return
        self._attempts.add(outcome.value)
        if timings is not None:
            self._note_stages(attempt, timings)

    def _note_stages(self, attempt: "Attempt", timings: Timings) -> None:
        """Count the seconds of each stage; of a resumed attempt not those of `encode` and `denoise`, done in part."""
        resumed = attempt.prepared.run.resumed_from_step > 0
        for stage in timings.__struct_fields__:
            if not (resumed and stage in ("encode", "denoise")):
                self._stage_s.observe(getattr(timings, stage), stage, *self._labels(attempt))

    def _labels(self, attempt: "Attempt") -> Labels:
        """Return the labels of an attempt: model, size and plan."""
        run = attempt.prepared.run
        return self._model, run.job.image_size or self._default_size, in_words(run.plan)
