"""Register the readers of one edge, by the job that they follow, up to a limit. `hub` hands events to them."""

from collections.abc import Generator
from contextlib import contextmanager

from services.edge.errors import Overloaded
from services.edge.live.reader import Reader
from services.edge.live.shown import LiveEvent

READERS_MAX = 600
READERS_SHARE = 0.6
"""Of an edge's connections, so that others are left for requests."""


class Readers:
    """The readers that an edge has now, `most` of them at once."""

    def __init__(self, most: int) -> None:
        self._most, self._count = most, 0
        self._of: dict[str | None, set[Reader]] = {}
        """By the job that they follow, None for all jobs."""

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def holding(self, reader: Reader) -> Generator[None, None, None]:
        """Count a reader for the length of the block. Raises `Overloaded` at the limit."""
        if self._count >= self._most:
            raise Overloaded(f"as many readers follow events here as may ({self._most}); try again")
        self._count += 1
        self._of.setdefault(reader.job_id, set()).add(reader)
        try:
            yield
        finally:
            self._count -= 1
            same = self._of[reader.job_id]
            same.discard(reader)
            if not same:
                del self._of[reader.job_id]

    def any_for(self, job_id: str) -> bool:
        """Return whether anybody follows a job, by itself or among all."""
        return job_id in self._of or None in self._of

    def offer(self, event: LiveEvent) -> None:
        """Give an event to all who follow its job."""
        for reader in (*self._of.get(event.job_id, ()), *self._of.get(None, ())):
            reader.offer(event)

    def offer_passing(self, event: LiveEvent) -> None:
        """Give an event that is never stored to those of its job's readers who keep up."""
        for reader in (*self._of.get(event.job_id, ()), *self._of.get(None, ())):
            reader.offer_passing(event)

    def wake_for_moves(self) -> None:
        """Wake those who wait for a place in the queue."""
        for reader in self._all():
            if reader.hears_moves:
                reader.wake()

    def send_away(self) -> None:
        """Have all readers leave."""
        for reader in self._all():
            reader.leave()

    def _all(self) -> list[Reader]:
        return [reader for some in self._of.values() for reader in some]


def readers_for(connections_max: int) -> int:
    """Return how many readers there may be beside so many connections."""
    return min(READERS_MAX, int(connections_max * READERS_SHARE))
