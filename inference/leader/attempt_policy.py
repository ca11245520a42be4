"""Decide whether to begin another attempt at a job, to fail it or to leave it, from what is known of the job. Pure.

The planner calls `decide_next_move` for every message that it reads; the simulation decides by it too. A poison
message, a job that kills its cluster each time, ends here once its attempts are used up.
"""

from collections.abc import Sequence

from msgspec import Struct

from inference.leader.attempt_history import AttemptHistory


class JobFacts(Struct, frozen=True, kw_only=True):
    """The facts of a job from which the next move is decided.

    `last_start_sequence` is the log's sequence of the last `started`, 0 if the job was never started. `has_input` says
    whether the input image is in the store, `video_exists` whether the whole video is. `checkpoint_step` counts the
    steps of the job's checkpoint, 0 without one. `objections` are the reasons why this cluster cannot run the job;
    `another_can` says whether another live cluster can.
    """

    history: AttemptHistory
    last_start_sequence: int
    has_input: bool
    video_exists: bool
    checkpoint_step: int
    objections: Sequence[str] = ()
    another_can: bool = False


class Begin(Struct, frozen=True):
    """Publish `started` as this attempt, if the last `started` in the log has the sequence `after`."""

    attempt: int
    after: int


class Fail(Struct, frozen=True):
    """End the job as failed; `reason` is safe to show."""

    reason: str


class LeaveToAnother(Struct, frozen=True):
    """Hand the job back for another live cluster, which can run it, as this one cannot."""


Move = Begin | Fail | LeaveToAnother


def decide_next_move(facts: JobFacts, *, max_attempts: int) -> Move:
    """Return whether to begin the next attempt, why to fail the job, or that another cluster is to run it.

    A job whose video exists lacks only its ending: neither attempts nor objections count.
    """
    if not facts.video_exists:
        attempts = facts.history.attempts_without_progress(facts.checkpoint_step)
        if attempts >= max_attempts:
            return Fail(f"given up after {attempts} attempts")
        if facts.objections and facts.another_can:
            return LeaveToAnother()
        if facts.objections:
            return Fail("; ".join(facts.objections))
    if not facts.has_input:
        return Fail("the input image is gone")
    return Begin(facts.history.latest + 1, facts.last_start_sequence)
