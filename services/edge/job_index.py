"""Read runs of the index of jobs: the bucket `video-index`, in which the broker keeps each job's submission.

`job_list` makes pages of the runs. The order of the index is its sequence, the order in which the log got the jobs. A
run is read from its place on by chains of single reads, which cost the broker the same wherever the place is; where
entries were purged, a binary search finds the next ones.
"""

from typing import Literal

from nats.js.errors import NotFoundError

from contracts import subjects, wire
from contracts.at_once import at_once
from contracts.broker import Bus, Stored, Unavailable

RUN_MAX = 256
"""The most entries that are asked for by their keys at once."""
CHAINS_MAX = 16
"""How many entries are read at a time."""
SPAN_MAX = 1024
"""The most places that are looked through at once."""

Order = Literal["desc", "asc"]
"""The newest first, or the oldest."""


class JobIndex:
    """The index of jobs. Every method raises `Unavailable` if the broker does not answer in time.

    A place is a sequence of the index. With replicas the last entries may be missing.
    """

    def __init__(self, broker: Bus) -> None:
        self._broker = broker
        self._stream = subjects.bucket_stream(subjects.INDEX_BUCKET)

    async def entry(self, job_id: str) -> Stored | None:
        """Return the entry of a job, asked of the leader, whose sequence is its place; None if there is none."""
        return await self._broker.last(self._stream, subjects.bucket_key(subjects.INDEX_BUCKET, job_id))

    async def places(self) -> range:
        """Return the places of all entries; some in the range may have none."""
        try:
            state = (await self._broker.stream(self._stream)).state
        except NotFoundError as error:
            raise Unavailable("no index of jobs: the broker is not provisioned") from error
        return range(state.first_seq, state.last_seq + 1)

    async def run(self, places: range, order: Order, count: int) -> tuple[list[Stored], range]:
        """Return up to `count` entries at these places in this order, and the places that come after them.

        No entries, and no places after them, if there are no more.
        """
        if not places:
            return [], range(0)
        if order == "desc":
            found = await self.before(places.stop, count, first=places.start)
            return found, range(places.start, found[-1].sequence) if found else range(0)
        found = await self.after(places.start - 1, count, stop=places.stop)
        return found, range(found[-1].sequence + 1, places.stop) if found else range(0)

    async def after(self, place: int, count: int, *, stop: int) -> list[Stored]:
        """Return up to `count` entries that come after a place and before `stop`, the oldest first."""
        found, place, span = list[Stored](), place + 1, count
        while len(found) < count and place < stop:
            end = min(stop, place + span)
            here = await self._between(place, end)
            if not here:
                later = await self._broker.next_from(self._stream, end)
                end, span = (stop if later is None else later.sequence), count
            found, place, span = found + here, end, min(2 * span, SPAN_MAX)
        return found[:count]

    async def before(self, place: int, count: int, *, first: int) -> list[Stored]:
        """Return up to `count` entries that come before a place and not before `first`, the newest first."""
        found, span = list[Stored](), count
        while len(found) < count and place > first:
            start = max(first, place - span)
            here = await self._between(start, place)
            if not here:
                start, span = await self._end_of_entries_before(start, first), count
            found, place, span = found + here[::-1], start, min(2 * span, SPAN_MAX)
        return found[:count]

    async def _between(self, start: int, end: int) -> list[Stored]:
        """Return the entries from a place to the one before `end`, in order, by `CHAINS_MAX` chains of reads."""
        length = max(1, -(-(end - start) // CHAINS_MAX))
        starts = range(start, end, length)
        async with at_once() as tasks:
            chains = [tasks.create_task(self._chain(each, min(end, each + length))) for each in starts]
        return [entry for chain in chains for entry in chain.result()]

    async def _chain(self, start: int, end: int) -> list[Stored]:
        """Return the entries from a place to the one before `end`, read one after the other."""
        found: list[Stored] = []
        while start < end:
            entry = await self._broker.next_from(self._stream, start)
            if entry is None or entry.sequence >= end:
                break
            found.append(entry)
            start = entry.sequence + 1
        return found

    async def _end_of_entries_before(self, place: int, first: int) -> int:
        """Return the place right after the last entry before a place, by a binary search; `first` without one."""
        low, span = place, SPAN_MAX
        while low > first:
            low, span = max(first, place - span), 4 * span
            entry = await self._broker.next_from(self._stream, low)
            if entry is not None and entry.sequence < place:
                break
        else:
            return first
        last, high = entry.sequence, place
        while high - last > 1:
            entry = await self._broker.next_from(self._stream, middle := (last + high) // 2)
            if entry is not None and entry.sequence < place:
                last = entry.sequence
            else:
                high = middle
        return last + 1

    async def entries(self, job_ids: list[str]) -> list[Stored]:
        """Return the entries of these jobs, in the order of the index, without those that it does not have."""
        found: list[Stored] = []
        for start in range(0, len(job_ids), RUN_MAX):
            keys = [subjects.bucket_key(subjects.INDEX_BUCKET, job_id) for job_id in job_ids[start : start + RUN_MAX]]
            found += await self._broker.last_of_each(self._stream, keys)
        return sorted(found, key=lambda entry: entry.sequence)

    async def place_of_time(self, created_at: float) -> int:
        """Return the place from which on jobs were created at this Unix time or later, by a binary search.

        Clocks of edges may differ: jobs near the place may lie on the other side of it.
        """
        places = await self.places()
        low, high = places.start, places.stop
        while low < high:
            middle = (low + high) // 2
            entry = await self._broker.next_from(self._stream, middle)
            if entry is None or created_at_of(entry) >= created_at:
                high = middle
            else:
                low = entry.sequence + 1
        return low


def created_at_of(entry: Stored) -> float:
    """Return when the job of an entry was created, in Unix seconds; if that cannot be read, when it was stored."""
    try:
        return wire.submission_in(entry).created_at
    except wire.Undecodable:
        return entry.at
