"""Read runs of the index of jobs, with one tenant's jobs alone. `job_list` makes the pages of a tenant's list of them.

The index has the jobs of all tenants in one order, so others' entries are read and left out. A request reads
`SCANNED_MAX` entries at most. Where a tenant was found to have none is remembered, since an entry never changes its
tenant: the next request goes on beyond.
"""

import time

from contracts import wire
from contracts.broker import Stored
from contracts.recent import Recent
from services.edge.job_index import RUN_MAX, JobIndex, Order

SCANNED_MAX = 10_000
TENANTS_MAX = 1000
"""Of how many tenants it is remembered where they have no jobs."""
SETTLED_S = 60.0
"""The age from which on an entry is taken to be at every replica: what lies between such entries is remembered."""


class Scan:
    """The entries that one request may still read, and how many it reads in its next run: `first`, then ever more."""

    def __init__(self, first: int, left: int = SCANNED_MAX) -> None:
        self.left, self._next = left, first

    def next_run(self) -> int:
        """Return how many entries to read now."""
        count, self._next = min(self._next, RUN_MAX), 2 * self._next
        return count


class TenantRuns:
    """Runs of the index by tenant. One for the process. Methods raise `Unavailable` as those of `JobIndex` do."""

    def __init__(self, index: JobIndex) -> None:
        self._index = index
        self._without = Recent[str, range](TENANTS_MAX)
        """By tenant the latest places that were found to hold none of its jobs."""

    async def run(self, places: range, order: Order, tenant: str, scan: Scan) -> tuple[list[Stored], range]:
        """Return the tenant's entries in the first run at these places that has any, and the places after the run.

        No entries and places that are left mean that the scan has read as much as it may.
        """
        empty: range | None = None
        while places and scan.left > 0:
            places = _beyond(places, order, self._without.get(tenant, range(0)))
            found, rest = await self._index.run(places, order, scan.next_run())
            scan.left -= len(found)
            if mine := [entry for entry in found if tenant_of_entry(entry) == tenant]:
                return mine, rest
            if settled := [entry.sequence for entry in found if entry.at + SETTLED_S < time.time()]:
                empty = _spanned(empty, min(settled), max(settled) + 1)
                self._note(tenant, empty)
            places = rest
        return [], places

    def _note(self, tenant: str, empty: range) -> None:
        """Remember that a tenant has no jobs at these places, together with those known before that they touch."""
        before = self._without.get(tenant, range(0))
        if before and before.start <= empty.stop and empty.start <= before.stop:
            empty = _spanned(before, empty.start, empty.stop)
        self._without[tenant] = empty


def _spanned(places: range | None, start: int, stop: int) -> range:
    """Return the places from the first to the last of both ranges."""
    return range(start, stop) if places is None else range(min(places.start, start), max(places.stop, stop))


def _beyond(places: range, order: Order, empty: range) -> range:
    """Return the places that are left if a list does not look at places that are known to be empty, where it begins."""
    if order == "desc" and empty.start < places.stop <= empty.stop:
        return range(places.start, max(places.start, empty.start))
    if order == "asc" and empty.start <= places.start < empty.stop:
        return range(min(places.stop, empty.stop), places.stop)
    return places


def tenant_of_entry(entry: Stored) -> str | None:
    """Return whose the job of an entry of the index is; None if that cannot be read."""
    try:
        return wire.decode_head(entry.data).tenant
    except wire.Undecodable:
        return None
