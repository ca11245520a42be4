"""List jobs by pages, for as long as the log knows them. `jobs` asks.

A page is a run of the index (`job_index`), to which bucket and log add how its jobs stand (`listed_jobs`): some six
requests to the broker for each page, whatever its size and wherever it lies. Nothing is written here.
"""

import itertools
from collections.abc import Collection

from msgspec import Struct

from contracts import subjects
from contracts.broker import Bus
from contracts.events import JobCancelled, JobFailed, JobSucceeded
from contracts.job import is_job_id
from contracts.job_log import JobLog
from contracts.status import State
from services.edge.errors import NotFound, Overloaded
from services.edge.job_index import RUN_MAX, JobIndex, Order
from services.edge.listed_jobs import ListedJob, ListedJobs
from services.edge.tenant_runs import Scan, TenantRuns, tenant_of_entry

LIMIT_MAX = 100
RUNS_MAX = 4
"""The runs in which jobs of wanted states are looked for, before the log is asked for all jobs of these states."""
CLOCKS_DIFFER_S = 60.0
"""How much the clocks of edges may differ, so that a job is found by its time all the same."""

SCANNED = "the jobs of many others lie between; as much was looked through as a request may, try again to go on"
_ENDINGS = {"Succeed": JobSucceeded, "Failed": JobFailed, "Cancelled": JobCancelled}


class Page(Struct, frozen=True):
    """A page of a list; `has_more` says that more jobs follow."""

    jobs: list[ListedJob]
    has_more: bool


class _Wanted(Struct, frozen=True):
    """Conditions of a list: jobs in one of the states, or in any without one; created from `since` on, before `until`.

    Times are in Unix seconds. `tenant` is whose the jobs are; None for anybody's.
    """

    tenant: str | None
    states: frozenset[State]
    since: float | None
    until: float | None

    def fits(self, job: ListedJob) -> bool:
        """Return whether a job is wanted."""
        created_at = job.status.created_at or 0.0
        return (
            (not self.states or job.status.status in self.states)
            and (self.since is None or created_at >= self.since)
            and (self.until is None or created_at < self.until)
        )


class JobList:
    """The list of jobs as one edge sees it. Every method raises `Unavailable` if the broker does not answer in time."""

    def __init__(self, broker: Bus, job_log: JobLog, jobs: ListedJobs) -> None:
        self._broker, self._log, self._jobs = broker, job_log, jobs
        self._index = JobIndex(broker)
        self._tenant_runs = TenantRuns(self._index)

    async def page(
        self,
        *,
        limit: int,
        tenant: str | None = None,
        after: str | None = None,
        order: Order = "desc",
        status: Collection[State] = (),
        since: float | None = None,
        until: float | None = None,
    ) -> Page:
        """Return up to `limit` jobs (1 to `LIMIT_MAX`) that come after the job `after`, or the first ones.

        `desc` has the newest first. Only jobs of the `tenant` are in the page, all without one, and only jobs in one of
        the states of `status`, all if it is empty; `since` and `until` are Unix seconds, between which they were
        created, the second excluded. A job appears once the broker has copied its submission, some milliseconds after
        the answer to it. A tenant's page may be shorter than `limit` though more follow. Raises `NotFound` if `after`
        is no such job of the index, and `Overloaded` if too many jobs of others lie before the tenant's next one:
        repeated, the call goes on from there.
        """
        wanted = _Wanted(tenant, frozenset(status), since, until)
        places = await self._index.places()
        begin, end = await self._bounds(wanted, places)
        if after is not None:
            entry = await self._index.entry(after) if is_job_id(after) else None
            if entry is None or (tenant is not None and tenant_of_entry(entry) != tenant):
                raise NotFound("no such job to go on after")
            place = entry.sequence
            begin, end = (begin, min(end, place)) if order == "desc" else (max(begin, place + 1), end)
        found, may_go_on = await self._wanted_between(range(begin, end), order, wanted, limit + 1)
        if may_go_on and not found:
            raise Overloaded(SCANNED)
        return Page(found[:limit], may_go_on or len(found) > limit)

    async def _bounds(self, wanted: _Wanted, places: range) -> tuple[int, int]:
        """Return the first place, and the one beyond the last, of the jobs that were created in the wanted time."""
        begin, end = places.start, places.stop
        if wanted.since is not None:
            begin = await self._index.place_of_time(wanted.since - CLOCKS_DIFFER_S)
        if wanted.until is not None:
            end = await self._index.place_of_time(wanted.until + CLOCKS_DIFFER_S)
        return begin, end

    async def _wanted_between(
        self, places: range, order: Order, wanted: _Wanted, count: int
    ) -> tuple[list[ListedJob], bool]:
        """Return the first `count` wanted jobs, or all of them, in this order.

        Also return whether fewer than that were found because no more entries may be read.
        """
        found: list[ListedJob] = []
        scan = Scan(RUN_MAX if wanted.states else count)
        for number in itertools.count(1):
            if wanted.tenant is None:
                run, places = await self._index.run(places, order, RUN_MAX if wanted.states else count)
            else:
                run, places = await self._tenant_runs.run(places, order, wanted.tenant, scan)
            found += filter(wanted.fits, await self._jobs.of_entries(run))
            if len(found) >= count or not places:
                return found[:count], False
            if wanted.states and (number == RUNS_MAX or not run):
                break
            if not run:
                return found, True
        return found + await self._of_states(places, order, wanted, count - len(found)), False

    async def _of_states(self, places: range, order: Order, wanted: _Wanted, count: int) -> list[ListedJob]:
        """Return the first `count` wanted jobs at these places, from the queue's and the log's lists of such jobs."""
        job_ids: set[str] = set()
        if wanted.states & {"InQueue", "InProgress"}:
            job_ids |= {subjects.job_id_of(queued.subject) for queued in await self._log.queue.all()}
        for state, kind in _ENDINGS.items():
            if state in wanted.states:
                ended = await self._broker.subjects(subjects.EVENTS_STREAM, subjects.endings_of_kind(kind))
                job_ids |= {subjects.job_id_of(subject) for subject in ended}
        entries = [
            entry
            for entry in await self._index.entries(list(job_ids))
            if entry.sequence in places and wanted.tenant in (None, tenant_of_entry(entry))
        ]
        if order == "desc":
            entries.reverse()
        found: list[ListedJob] = []
        for start in range(0, len(entries), RUN_MAX):
            found += filter(wanted.fits, await self._jobs.of_entries(entries[start : start + RUN_MAX]))
            if len(found) >= count:
                break
        return found[:count]
