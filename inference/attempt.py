"""One attempt at one job while it runs: how far it is, why it is to be left, and what is still to be told.

Knows no broker; rank 0's asyncio half alone touches it.
"""

import asyncio
import time
from collections import deque
from typing import Literal

from contracts.bus import Delivery
from contracts.events import Event, Stage, StageStarted, StepCompleted
from inference.commands import Run
from inference.progress import Progress
from inference.watch import LastWords

REPORTS_WAITING_MAX = 256

Why = Literal["ended", "taken over", "timed out", "told to stop"]
LOST: tuple[Why, ...] = ("ended", "taken over")


class Attempt:
    """`delivery` is the message that it answers for; times are on the monotonic clock."""

    def __init__(self, delivery: Delivery, run: Run, progress: Progress, deadline: float) -> None:
        self.delivery = delivery
        self.job_id, self.job, self.number = run.job_id, run.job, run.attempt
        self.progress = progress
        self.deadline = deadline
        self.confirmed = time.monotonic()
        """When the log last said that the job is still this attempt's."""
        self.why: Why | None = None
        self.words: LastWords | None = None
        self.failing, self.came_out, self.over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        """A rank has failed; the ranks are out of the job, however; its ending is published, or left to others."""
        self.news = asyncio.Event()
        self.reports: deque[Event] = deque(maxlen=REPORTS_WAITING_MAX)

    @property
    def lost(self) -> bool:
        """Whether the job has an ending, or somebody else at work on it: nothing more is to be said of it here."""
        return self.why in LOST

    def passed(self, stage: Stage, step: int) -> None:
        """A boundary: a stage begins (step 0), or a step of it is done."""
        steps = self.job.infer_steps
        value = self.progress.at(stage, step / steps)
        job_id, attempt, at = self.job_id, self.number, time.time()
        self.reports.append(
            StageStarted(job_id=job_id, at=at, attempt=attempt, stage=stage, progress=value)
            if step == 0
            else StepCompleted(job_id=job_id, at=at, attempt=attempt, step=step, steps=steps, progress=value)
        )
        self.news.set()

    def failed(self, words: LastWords) -> None:
        """A rank says that it cannot go on; it may speak of an attempt that is over."""
        if (words.job_id, words.attempt) == (self.job_id, self.number):
            self.words = words
            self.failing.set()

    def halt(self, why: Why) -> bool:
        """Note why it is to be left; whether that is news. That it is lost counts for more than any other reason."""
        if self.lost or (self.why is not None and why not in LOST):
            return False
        self.why = why
        return True

    def end(self) -> None:
        self.over.set()
        self.news.set()

    def still_for_s(self) -> float:
        """How long it has not moved."""
        return time.monotonic() - self.progress.moved
