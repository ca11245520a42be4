"""Find whose a job is, and keep other tenants' jobs from a caller: object-level authorisation.

`gate` asks for the ids in paths, routes for those in bodies, live streams for each event. A job's tenant never changes,
so it is remembered. The answer for another tenant's job is the one for a job that never was.
"""

from contextlib import suppress

from contracts import wire
from contracts.broker import Bus, Unavailable
from contracts.job_log import JobLog
from contracts.recent import Recent
from contracts.record import video_record_name
from contracts.stores import Store, described
from services.edge.auth.caller import Caller
from services.edge.errors import NotFound

OWNERS_MAX = 65_536
"""Of how many jobs it is remembered whose they are."""
UNKNOWN = "no such job, or it ended too long ago"


class Owners:
    """The tenants of jobs, as one edge knows them. One for the process."""

    def __init__(self, broker: Bus, videos: Store) -> None:
        self._log, self._videos = JobLog(broker, publisher="owners"), videos
        self._known = Recent[str, str](OWNERS_MAX)

    async def check(self, caller: Caller, job_id: str) -> None:
        """Raise `NotFound` unless the caller may know of the job, or `Unavailable`."""
        if caller.only_tenant is not None and await self.tenant_of(job_id) != caller.only_tenant:
            raise NotFound(UNKNOWN)

    async def tenant_of(self, job_id: str) -> str | None:
        """Return whose a job is, by its submission in log or queue, or else by the record beside its video.

        None for a job that nobody knows, or whose submission cannot be read. A submission of before there were tenants
        is the default tenant's. Raises `Unavailable`, also for a store that cannot be asked.
        """
        if (known := self._known.get(job_id)) is not None:
            return known
        found = None
        with suppress(wire.Undecodable):
            head = await self._log.submission_head(job_id)
            found = await self._in_record(job_id) if head is None else head.tenant
        if found is not None:
            self.learn(job_id, found)
        return found

    async def _in_record(self, job_id: str) -> str | None:
        """Return whose a job is whose submission the log has forgotten. Raises `Undecodable`, or `Unavailable`."""
        try:
            content = await self._videos.read(video_record_name(job_id))
        except OSError as error:
            raise Unavailable(described(error)) from error
        submitted = None if content is None else wire.decode_record(content).submitted
        return None if submitted is None else submitted.tenant

    def learn(self, job_id: str, tenant: str) -> None:
        """Remember whose a job is."""
        self._known[job_id] = tenant
