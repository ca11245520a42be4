"""One attempt at a job, from its message to its ending: how far it is, why it is to be left, what is still to be told.

Knows no broker; rank 0's asyncio half alone touches it.
"""

import asyncio
import time
from collections import deque
from typing import Literal

from contracts.broker import Delivery
from contracts.events import Event, Stage, StageStarted, StepCompleted, Timings
from inference.leader.planner import Planned
from inference.leader.progress import Pace, Progress
from inference.ranks.monitor import LastWords
from inference.wan.snapshot import Halfway

REPORTS_WAITING_MAX = 256

Why = Literal["ended", "taken over", "cut off", "timed out", "told to stop"]
LOST: tuple[Why, ...] = ("ended", "taken over", "cut off")


class Attempt:
    """`delivery` is the message that it answers for; times are on the monotonic clock."""

    def __init__(self, delivery: Delivery, planned: Planned, pace: Pace) -> None:
        run = planned.run
        self.delivery, self.planned = delivery, planned
        self.job_id, self.job, self.number = run.job_id, run.job, run.attempt
        self.progress = Progress(pace, run.job, width=run.width, height=run.height, ranks=run.plan)
        if run.resumed is not None:
            self.progress.resume("denoise", run.resumed_from_step / run.job.infer_steps)
        self.begun = False
        self._confirmed = time.monotonic()
        self.why: Why | None = None
        self.words: LastWords | None = None
        self.failing, self.over = asyncio.Event(), asyncio.Event()
        """A rank has failed; its ending is published, or left to others."""
        self.leaving, self.came_out = asyncio.Event(), asyncio.Event()
        """The ranks are at the last thing that they do for it; they are out of it, however."""
        self.halfway: Halfway | None = None
        """What was taken of its state last, until it is kept."""
        self.taken, self.kept = asyncio.Event(), asyncio.Event()
        self.kept.set()
        self.news = asyncio.Event()
        self.reports: deque[Event] = deque(maxlen=REPORTS_WAITING_MAX)
        self._handed_back = False
        self._marks: list[tuple[str, float]] = []

    @property
    def lost(self) -> bool:
        """Whether the job has, or may have, an ending or somebody else at work on it: nothing is to be said of it."""
        return self.why in LOST

    def confirm(self) -> None:
        """The log says that the job is still this attempt's."""
        self._confirmed = time.monotonic()

    def unconfirmed_for_s(self) -> float:
        return time.monotonic() - self._confirmed

    def begin(self) -> None:
        """It has the ranks: from here on time counts."""
        self.begun = True
        self.progress.begin()

    def passed(self, stage: Stage, step: int) -> None:
        """A boundary: a stage begins (step 0), or a step of it is done."""
        steps = self.job.infer_steps
        resumed = self.planned.run.resumed_from_step if stage == "denoise" else 0
        value = self.progress.at(stage, max(step, resumed) / steps)
        job_id, attempt, at = self.job_id, self.number, time.time()
        self.reports.append(
            StageStarted(job_id=job_id, at=at, attempt=attempt, stage=stage, progress=value)
            if step == 0
            else StepCompleted(job_id=job_id, at=at, attempt=attempt, step=step, steps=steps, progress=value)
        )
        self.news.set()
        if step == 0:
            self.mark("mux" if stage == "store" else stage)
        if stage == "decode":
            self.leaving.set()

    def took(self, halfway: Halfway) -> None:
        """Its state after a step, to be kept."""
        self.halfway = halfway
        self.kept.clear()
        self.taken.set()

    def mark(self, phase: str) -> None:
        """A part of the attempt begins that is timed by itself, and the one before it ends."""
        self._marks.append((phase, time.monotonic()))

    def timings(self) -> Timings | None:
        """Seconds of each part up to now; None where nothing was generated."""
        if not self._marks:
            return None
        ends = [*(at for _, at in self._marks[1:]), time.monotonic()]
        seconds = {phase: round(end - at, 3) for (phase, at), end in zip(self._marks, ends, strict=True)}
        return Timings(load=round(self.planned.load_s, 3), **{"encode": 0.0, **seconds})

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

    async def hand_back(self) -> None:
        """Give its message to the next one who asks, once: a second time would take it from them."""
        if not self._handed_back:
            self._handed_back = True
            await self.delivery.hand_back()

    def end(self) -> None:
        for event in (self.leaving, self.over, self.news, self.taken):
            event.set()

    def still_for_s(self) -> float:
        """How long it has not moved; 0 while it waits for the ranks."""
        return time.monotonic() - self.progress.moved if self.begun else 0.0
