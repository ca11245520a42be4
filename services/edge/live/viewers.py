"""Decide who may follow which jobs together: the one place for it.

A key shows the jobs of its tenant. Where no key is asked for, a job's id is the only capability: whoever knows it may
follow the job, and all jobs together, whose events name their ids, are for callers that the operator has let in with
`SHOW_ALL_JOBS`. Whether a caller may follow a single job is decided before, by `auth.gate`.
"""

from litestar.exceptions import HTTPException

from contracts.events import JobSubmitted
from services.edge.auth.caller import Caller
from services.edge.auth.owners import Owners
from services.edge.live.shown import LiveEvent

NOT_SHOWN = (
    "the events of all jobs name their ids, and whoever knows an id can cancel the job: this edge shows them with "
    "SHOW_ALL_JOBS=1; the events of one job are at /video/events/{id}"
)


class Viewer:
    """A caller who follows all jobs that there are to be seen. Lives as long as the stream."""

    def __init__(self, caller: Caller, owners: Owners) -> None:
        self._only_tenant, self._owners = caller.only_tenant, owners

    async def seen(self, events: list[LiveEvent]) -> list[LiveEvent]:
        """Return the events that this caller may see. Raises what `Owners.tenant_of` raises.

        The deletion of a job may be left out: it is no longer known whose the job was, unless this edge remembers it.
        """
        if self._only_tenant is None:
            return events
        return [event for event in events if await self._tenant_of(event) == self._only_tenant]

    async def _tenant_of(self, event: LiveEvent) -> str | None:
        """Return whose the job of an event is; None if that is not known."""
        if isinstance(event.event, JobSubmitted):
            self._owners.learn(event.job_id, event.event.tenant)
        return await self._owners.tenant_of(event.job_id)


class Viewers:
    """The callers of one edge, as far as it matters which jobs they may follow together. One for the process."""

    def __init__(self, owners: Owners, *, show_all: bool) -> None:
        self._owners, self._show_all = owners, show_all

    def viewer(self, caller: Caller) -> Viewer:
        """Return a caller as one who follows all jobs. Raises the answer 403 to a caller who may not."""
        if caller.key_id is None and not self._show_all:
            raise HTTPException(status_code=403, detail=NOT_SHOWN)
        return Viewer(caller, self._owners)
