"""The reports of an attempt that wait to be published: one at each boundary, and others within a stage, not too many.

`Attempt` has one `Reports` and fills it; `Outbox` empties it into the log.
"""

import asyncio
import time
from collections import deque

from contracts.events import Event, StageStarted, StepCompleted
from contracts.stage_times import Stage

REPORTS_WAITING_MAX = 256
REPORT_SHARE = 0.01
REPORT_EVERY_S = 2.0
"""A part of a stage is reported if the job has moved by `REPORT_SHARE` since the last report, or if that report is
`REPORT_EVERY_S` old. So beside boundaries a job has 100 reports, and one more for each 2 s, at most."""
DONE_DIGITS = 4


class Reports(deque[Event]):
    """The events of one attempt that wait; past `REPORTS_WAITING_MAX` the oldest are lost.

    `waiting` is set whenever one is added. `eta_seconds` in each method is how long the job still takes, None as long
    as nobody can know.
    """

    def __init__(self, job_id: str, attempt: int, waiting: asyncio.Event) -> None:
        super().__init__(maxlen=REPORTS_WAITING_MAX)
        self._job_id, self._attempt, self._waiting = job_id, attempt, waiting
        self._reported, self._reported_at = 0.0, time.monotonic()
        """The progress in the last report, and when it was made."""

    def add_stage(self, stage: Stage, progress: float, eta_seconds: float | None, *, done: float = 0.0) -> None:
        """Report that a stage begins, or that the share `done` of it is done."""
        self._add(
            StageStarted(
                job_id=self._job_id,
                at=time.time(),
                attempt=self._attempt,
                stage=stage,
                progress=progress,
                done=done,
                eta_seconds=eta_seconds,
            )
        )

    def add_step(self, step: int, steps: int, progress: float, eta_seconds: float | None) -> None:
        """Report that `step` of `steps` steps are done."""
        self._add(
            StepCompleted(
                job_id=self._job_id,
                at=time.time(),
                attempt=self._attempt,
                step=step,
                steps=steps,
                progress=progress,
                eta_seconds=eta_seconds,
            )
        )

    def add_part_if_due(self, stage: Stage, done: float, progress: float, eta_seconds: float | None) -> None:
        """Report that a share (0 to 1) of a stage is done, unless the last report is too recent."""
        done = round(done, DONE_DIGITS)
        is_due = progress - self._reported >= REPORT_SHARE or time.monotonic() - self._reported_at >= REPORT_EVERY_S
        if done > 0 and progress > self._reported and is_due:
            self.add_stage(stage, progress, eta_seconds, done=done)

    def _add(self, event: StageStarted | StepCompleted) -> None:
        """Add an event, and set `waiting`."""
        self._reported, self._reported_at = event.progress, time.monotonic()
        self.append(event)
        self._waiting.set()
