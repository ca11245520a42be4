"""What to do with a job whose message has come, from what is known of it. Pure: no broker, no files, no clock."""

from collections.abc import Sequence

from msgspec import Struct

from inference.leader.attempt_history import Past


class Known(Struct, frozen=True, kw_only=True):
    """`last_start` is the log's sequence of the last `started`, 0 for none; `wrong` is what this cluster cannot do.

    `made` where the whole video is there already; `checkpoint_step` is how far the job's checkpoint is, 0 for none.
    """

    past: Past
    last_start: int
    has_input: bool
    made: bool
    checkpoint_step: int
    wrong: Sequence[str] = ()


class Begin(Struct, frozen=True):
    """Publish `started` as this attempt, if the last one before it has that sequence."""

    attempt: int
    after: int


class GiveUp(Struct, frozen=True):
    """End the job as failed; `reason` is safe to show."""

    reason: str


def next_move(known: Known, *, max_attempts: int) -> Begin | GiveUp:
    """A job whose video is made needs neither attempts nor this cluster: only its ending is missing."""
    if not known.made:
        burnt = known.past.burnt(known.checkpoint_step)
        if burnt >= max_attempts:
            return GiveUp(f"given up after {burnt} attempts")
        if known.wrong:
            return GiveUp("; ".join(known.wrong))
    if not known.has_input:
        return GiveUp("the input image is gone")
    return Begin(known.past.latest + 1, known.last_start)
