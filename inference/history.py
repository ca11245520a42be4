"""What a job's log says of the attempts made so far. Pure."""

from collections.abc import Iterable

from msgspec import Struct

from contracts.events import Event, JobReleased, JobStarted, StageStarted, StepCompleted


class Past(Struct, frozen=True):
    """`spent_s` sums the attempts, each from its start to its last event; `burnt` counts those not handed back.

    `latest` is the number of the last attempt, 0 for none.
    """

    latest: int = 0
    burnt: int = 0
    spent_s: float = 0.0


def past(events: Iterable[Event]) -> Past:
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    released: set[int] = set()
    for event in events:
        match event:
            case JobStarted():
                first[event.attempt] = event.at
            case JobReleased():
                released.add(event.attempt)
            case StageStarted() | StepCompleted():
                pass
            case _:
                continue
        last[event.attempt] = max(event.at, last.get(event.attempt, event.at))
    spent_s = sum(max(0.0, last[attempt] - began) for attempt, began in first.items())
    return Past(latest=max(first, default=0), burnt=len(first.keys() - released), spent_s=spent_s)
