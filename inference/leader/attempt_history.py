"""The attempts at a job so far, counted from the events of its log. Pure.

The planner calls `history_of` before each attempt. Times are the broker's, because the clock of a cluster may step by a
day while it works.
"""

from collections.abc import Iterable

from msgspec import Struct

from contracts.events import JobReleased, JobStarted, Logged, StageStarted, StepCompleted


class AttemptHistory(Struct, frozen=True):
    """The attempts at a job by their numbers.

    `starts` has the step from which each attempt went on. `released` are the attempts that a cluster handed back as it
    was told to stop. `spent_s` sums the attempts, each from its start to its last event, by when the broker stored the
    two. `first_start_at` is when the broker stored the first start, in Unix seconds, None before it.
    """

    starts: dict[int, int] = {}
    released: frozenset[int] = frozenset()
    spent_s: float = 0.0
    first_start_at: float | None = None

    @property
    def latest(self) -> int:
        """The number of the last attempt, 0 if the job was never started."""
        return max(self.starts, default=0)

    def attempts_without_progress(self, checkpoint_step: int) -> int:
        """Count the attempts that were neither released nor moved the job's checkpoint, now at `checkpoint_step`."""
        numbers = sorted(self.starts)
        reached = [*(self.starts[number] for number in numbers[1:]), checkpoint_step]
        moved = {number for number, step in zip(numbers, reached, strict=False) if step > self.starts[number]}
        return len(self.starts.keys() - self.released - moved)


def history_of(log: Iterable[Logged]) -> AttemptHistory:
    """Count the attempts in a job's log; its events may come in any order and repeatedly.

    An attempt without a `started` among them does not count.
    """
    starts: dict[int, int] = {}
    stored_at: dict[int, list[float]] = {}
    released: set[int] = set()
    for logged in log:
        match event := logged.event:
            case JobStarted():
                starts[event.attempt] = event.resumed_from_step
            case JobReleased():
                released.add(event.attempt)
            case StageStarted() | StepCompleted():
                pass
            case _:
                continue
        stored_at.setdefault(event.attempt, []).append(logged.at)
    spent_s = sum(max(stored_at[attempt]) - min(stored_at[attempt]) for attempt in starts)
    first_start_at = min((min(stored_at[attempt]) for attempt in starts), default=None)
    return AttemptHistory(starts, frozenset(released), spent_s, first_start_at)
