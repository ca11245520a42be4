"""What a job's log says of the attempts made so far. Pure."""

from collections.abc import Iterable

from msgspec import Struct

from contracts.events import Event, JobReleased, JobStarted, StageStarted, StepCompleted


class Past(Struct, frozen=True):
    """`spent_s` sums the attempts, each from its start to its last event.

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


def past(events: Iterable[Event]) -> Past:
    first: dict[int, JobStarted] = {}
    last: dict[int, float] = {}
    released: set[int] = set()
    for event in events:
        match event:
            case JobStarted():
                first[event.attempt] = event
            case JobReleased():
                released.add(event.attempt)
            case StageStarted() | StepCompleted():
                pass
            case _:
                continue
        last[event.attempt] = max(event.at, last.get(event.attempt, event.at))
    spent_s = sum(max(0.0, last[attempt] - began.at) for attempt, began in first.items())
    starts = {attempt: began.resumed_from_step for attempt, began in first.items()}
    return Past(starts, frozenset(released), spent_s)
