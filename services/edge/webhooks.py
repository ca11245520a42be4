"""Object to a job's `webhook_url` before the job is accepted, and look up what became of its webhook.

`submit` and the routes call it. The form of the address is judged with the body (`body/submission.py`); here it is the
policy of the guard against SSRF, and whether there is a service that delivers. Nothing is looked up in the DNS.
"""

from msgspec import UNSET

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.cluster import Objection
from contracts.job import JobRequest
from contracts.job_log import JobLog
from contracts.outbound.address import BadForm, parts_of
from contracts.outbound.url_policy import Forbidden, UrlPolicy
from contracts.process import log
from contracts.webhook import WebhookDelivery
from services.edge.errors import NotFound

FIELD = "webhook_url"
NOT_ALLOWED = f"{FIELD}: its address or its port is not one that webhooks may be sent to"
OFF = (
    f"{FIELD}: webhooks are off here, since no webhook service has shown a sign of life in the last hour; leave it out"
)
NONE = "this job has no webhook"


class Webhooks:
    """The webhooks of jobs as one edge sees them. One for the process.

    Methods raise `Unavailable` if the broker does not answer in time.
    """

    def __init__(self, broker: Bus, job_log: JobLog, policy: UrlPolicy) -> None:
        self._broker, self._log, self._policy = broker, job_log, policy

    async def objections(self, request: JobRequest) -> list[Objection]:
        """Return what speaks against the `webhook_url` of a request; nothing for a request without one."""
        if request.webhook_url is UNSET:
            return []
        try:
            self._policy.check_url(request.webhook_url)
        except Forbidden as error:
            log.get().info("webhook_refused", error=str(error), allowed_by=error.setting)
            return [Objection(FIELD, NOT_ALLOWED)]
        there = await self._broker.get(subjects.WEBHOOKS_BUCKET, subjects.WEBHOOKS_SERVICE)
        return [] if there is not None else [Objection(FIELD, OFF)]

    async def delivery(self, job_id: str) -> WebhookDelivery:
        """Return what was tried and answered; a delivery without tries for a job that has not ended yet.

        Raises `NotFound` for a job that is unknown, forgotten or without webhook.
        """
        stored = await self._broker.get(subjects.DELIVERIES_BUCKET, job_id)
        try:
            if stored is not None:
                return wire.decode_delivery(stored.data)
            head = await self._log.submission_head(job_id)
            if head is None:
                raise NotFound("no such job, or it ended too long ago")
            if head.webhook_url is None:
                raise NotFound(NONE)
            return WebhookDelivery(job_id=job_id, host=parts_of(head.webhook_url).hostname)
        except (wire.Undecodable, BadForm) as error:
            log.get().error("webhook_record_unreadable", job_id=job_id, error=str(error))
            raise NotFound(NONE) from error
