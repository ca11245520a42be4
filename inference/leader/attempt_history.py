"""The attempts at a job so far, counted from its log. Pure.

Times are the broker's: the clock of a cluster may step by a day while it works.
"""

from collections.abc import Iterable

from msgspec import Struct

from contracts.events import JobReleased, JobStarted, Logged, StageStarted, StepCompleted


class Past(Struct, frozen=True):
    """`spent_s` sums the attempts, each from its start to its last event, by when the broker stored them.

    `starts` has the step that each attempt went on from, by its number; `released` are those that were handed back.
    """

    starts: dict[int, int] = {}
    released: frozenset[int] = frozenset()
    spent_s: float = 0.0

    @property
    def latest(self) -> int:
        """The number of the last attempt, 0 for none."""
        return max(self.starts, default=0)

    def burnt(self, checkpoint_step: int) -> int:
        """How many attempts were not handed back, and have not moved the checkpoint, which is now at this step."""
        numbers = sorted(self.starts)
        reached = [*(self.starts[number] for number in numbers[1:]), checkpoint_step]
        moved = {number for number, step in zip(numbers, reached, strict=False) if step > self.starts[number]}
        return len(self.starts.keys() - self.released - moved)


def past(log: Iterable[Logged]) -> Past:
    """Count the attempts in a job's log, in any order and with repetitions."""
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
    return Past(starts, frozenset(released), spent_s)
