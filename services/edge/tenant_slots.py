"""Admit a job by its tenant's limit of unfinished jobs, and say why not. `jobs` asks.

A slot is taken right before the job is published, not before its picture is fetched: else pictures that take long or
are refused would keep a tenant's places from jobs that could run. A cheap look for room comes before the fetch.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from contracts.broker import Refused, SubjectFull
from contracts.process import log
from contracts.slots import Slots, SlotsFull, SlotsUnsettled
from contracts.tenant import Tenant
from services.edge.errors import Overloaded, TenantBusy
from services.edge.retry_after import RetryAfter


class TenantSlots:
    """The slots of tenants, for one edge; one for the process. Asks nothing for a tenant without a limit."""

    def __init__(self, slots: Slots, retry_after: RetryAfter) -> None:
        self._slots, self._retry_after = slots, retry_after

    async def check_for_room(self, tenant: Tenant, job_id: str) -> None:
        """Raise `TenantBusy` if other jobs have all slots of the tenant; `taken` decides anew. Raises `Unavailable`."""
        if tenant.jobs_max is not None:
            try:
                await self._slots.check_for_room(tenant.name, job_id, tenant.jobs_max)
            except SlotsFull as full:
                raise await self._refusal(tenant, full) from full

    @asynccontextmanager
    async def taken(self, tenant: Tenant, job_id: str) -> AsyncGenerator[None, None]:
        """Take a slot for the job that the block publishes, and give it back if the broker refuses the job.

        If the job's outcome is unknown, or its id is in the queue already, the slot stays. Raises `TenantBusy`, or
        `Overloaded` if that is not settled in time.
        """
        sequence = await self._take(tenant, job_id, tenant.jobs_max) if tenant.jobs_max is not None else None
        try:
            yield
        except SubjectFull:
            raise
        except Refused:
            if sequence is not None:
                await self._slots.give_back(sequence)
            raise

    async def _take(self, tenant: Tenant, job_id: str, limit: int) -> int:
        """Take a slot, and return its sequence. Raises as `taken` does."""
        try:
            return await self._slots.take(tenant.name, job_id, limit)
        except SlotsFull as full:
            raise await self._refusal(tenant, full) from full
        except SlotsUnsettled as error:
            log.get().warning("slot_not_taken", job_id=job_id, error=str(error))
            raise Overloaded from error

    async def _refusal(self, tenant: Tenant, full: SlotsFull) -> TenantBusy:
        """Return, not raise, the refusal, with an estimate when one of the tenant's jobs may have ended."""
        unfinished, allowed = len(full.job_ids), tenant.jobs_max or 0
        return TenantBusy(unfinished, allowed, await self._retry_after.seconds(full.job_ids))
