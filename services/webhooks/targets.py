"""Share the places for deliveries in hand among targets, so that a dead one delays no other (bulkhead). Pure.

`deliver` asks for a place before each try, and puts the try off, by way of the broker, if there is none. A target is a
scheme, host and port. How it answered last is remembered, as a hint that a restart forgets.
"""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from enum import Enum

from contracts.recent import Recent

HELD_MAX = 512
"""Deliveries that one process has in hand."""
UNPROVEN_HELD_MAX = 256
FAILING_HELD_MAX = 128
PROVEN_SHARE = 16
UNPROVEN_SHARE = 2
FAILING_SHARE = 1
REMEMBERED_MAX = 16_384


class Standing(Enum):
    """The last answer of a target: a success, a failure, or none yet as far as this process knows."""

    PROVEN = "proven"
    UNPROVEN = "unproven"
    FAILING = "failing"


_SHARES = {Standing.PROVEN: PROVEN_SHARE, Standing.UNPROVEN: UNPROVEN_SHARE, Standing.FAILING: FAILING_SHARE}
_HELD_MAX = {Standing.PROVEN: HELD_MAX, Standing.UNPROVEN: UNPROVEN_HELD_MAX, Standing.FAILING: FAILING_HELD_MAX}


class Targets:
    """The places of one process. A target may take its share of them; those of one standing, theirs together.

    So targets that have answered well always find places that no dead one and no new one can take.
    """

    def __init__(self) -> None:
        self._known = Recent[str, bool](REMEMBERED_MAX)
        self._taken: Counter[str] = Counter()
        self.held = dict.fromkeys(Standing, 0)
        """How many places those of each standing hold together."""

    def standing(self, target: str) -> Standing:
        """Return how a target has answered last."""
        match self._known.get(target):
            case None:
                return Standing.UNPROVEN
            case is_well:
                return Standing.PROVEN if is_well else Standing.FAILING

    def has_place(self, target: str) -> bool:
        """Return whether a target would get a place now."""
        standing = self.standing(target)
        return self._taken[target] < _SHARES[standing] and self.held[standing] < _HELD_MAX[standing]

    @contextmanager
    def place(self, target: str) -> Generator[bool, None, None]:
        """Hold a place for one try during the block; yield False if there is none."""
        if not self.has_place(target):
            yield False
            return
        standing = self.standing(target)
        self._taken[target] += 1
        self.held[standing] += 1
        try:
            yield True
        finally:
            self._taken -= Counter([target])  # which drops targets without a place
            self.held[standing] -= 1

    def note(self, target: str, *, is_well: bool) -> None:
        """Remember how a target has answered."""
        self._known[target] = is_well
