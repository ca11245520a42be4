"""The trace of one attempt, if tracing is on: a span for the attempt, one for each phase, an event for each step.

`Attempt` makes one, in the trace that the job's message carries: so all attempts at a job are in the job's one trace.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager

from contracts.broker import Delivery
from contracts.process import log, tracing
from inference.leader.planner import PreparedAttempt


class AttemptTrace:
    """The spans of one attempt, from the read of its message to the end of `running`."""

    def __init__(self, delivery: Delivery, prepared: PreparedAttempt) -> None:
        """Begin the span of the attempt, whose preparation is done, and record that and the wait in the queue."""
        run, parent, load_s = prepared.run, delivery.traceparent, prepared.load_s
        about: tracing.About = {tracing.JOB_ID: run.job_id, tracing.ATTEMPT: run.attempt}
        self._job_id, self._number = run.job_id, run.attempt
        if prepared.first_start_at is None:  # the wait of a later attempt is not known
            waited_s = max(load_s, time.time() - delivery.at)
            tracing.begin("wait in queue", about, parent=parent, ago_s=waited_s).end(ago_s=load_s)
        size = {"wanjet.size": f"{run.width}*{run.height}", "wanjet.frames": run.job.num_frames}
        resumed = {"wanjet.steps": run.job.infer_steps, "wanjet.resumed_from_step": run.resumed_from_step}
        about = {**about, **size, **resumed}
        self._span = tracing.begin("attempt", about, parent=parent, ago_s=load_s, kind="consumer")
        self._phase = tracing.begin("load", parent=self._span.traceparent, ago_s=load_s)
        self._phase.end()

    def phase(self, name: str) -> None:
        """Begin the span of a phase, and end that of the phase before."""
        self._phase.end()
        self._phase = tracing.begin(name, parent=self._span.traceparent)

    def step(self, step: int) -> None:
        """Note that a step of the running phase is done."""
        self._phase.event("step", {"wanjet.step": step})

    def end_phase(self) -> None:
        """End the span of the last phase."""
        self._phase.end()

    @contextmanager
    def within(self) -> Generator[None, None, None]:
        """Have the block's log lines, messages and spans belong to the attempt."""
        with log.bound(job_id=self._job_id, attempt=self._number), tracing.within(self._span):
            yield

    @contextmanager
    def running(self) -> Generator[None, None, None]:
        """Have the block belong to the attempt, as `within` does, and end all its spans with the block."""
        try:
            with self.within():
                yield
        except BaseException as error:
            self._span.failed(type(error).__name__)
            raise
        finally:
            self._phase.end()
            self._span.end()
