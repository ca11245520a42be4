"""The exceptions with which the edge refuses a request or gives it up. `error_handlers` has the answer to each one.

The children that read bodies and pictures raise them too, so this module imports no web framework.
"""

from contracts.cluster import Objection
from contracts.outbound import overloaded
from contracts.status import State


class Busy(Exception):
    """The limit of unfinished jobs is reached, and nothing was stored.

    `retry_after_s` estimates the seconds until a place is free. `name` is for programs, and counted in the metrics.
    """

    name = "BUSY"
    full = "{unfinished} of {allowed} allowed unfinished jobs exist"

    def __init__(self, unfinished: int, allowed: int, retry_after_s: int) -> None:
        full = self.full.format(unfinished=unfinished, allowed=allowed)
        super().__init__(f"{full}; a place may be free in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class TenantBusy(Busy):
    """The tenant's own limit of unfinished jobs is reached, and nothing was stored."""

    name = "TENANT_BUSY"
    full = "{unfinished} of the {allowed} unfinished jobs that this tenant may have exist"


Overloaded = overloaded.Overloaded
"""Raised outside the edge too."""


class ImageRefused(Exception):
    """The image is refused. The text says why, and is safe to show. `field` is where the request has the image."""

    field: str = "image_url"


class Invalid(Exception):
    """Fields of the request are faulty: `objections` has one entry for each."""

    def __init__(self, objections: list[Objection]) -> None:
        self.objections = objections
        super().__init__("; ".join(objection.message for objection in objections))


class NotFound(Exception):
    """The job, video or page does not exist, or not yet, or no longer. The text says which; `name` is for programs."""

    def __init__(self, text: str, name: str = "NOT_FOUND") -> None:
        super().__init__(text)
        self.name = name


class NotFinished(Exception):
    """The job has no video yet, or will have none, so that nothing can be made of it. The text says which."""


class Gone(Exception):
    """The video existed, and has been removed for good."""


class Deleted(Exception):
    """The job that the idempotency key means was deleted; the key means no other job."""


class Damaged(Exception):
    """The stored video differs from the one that the cluster made."""


class NoSuchPart(Exception):
    """The requested range begins beyond the end of the video. `headers` say how long the video is."""

    def __init__(self, size_bytes: int, headers: dict[str, str]) -> None:
        self.size_bytes = size_bytes
        self.headers = {**headers, "Content-Range": f"bytes */{size_bytes}"}


class AlreadyFinished(Exception):
    """The job ended before it could be cancelled. `status` is how."""

    def __init__(self, status: State) -> None:
        self.status: State = status


class AccessRefused(Exception):
    """The caller may not do this, or not so often. `name` is for programs, `headers` are those of the answer."""

    def __init__(self, status: int, name: str, text: str, headers: dict[str, str]) -> None:
        super().__init__(text)
        self.status, self.name, self.headers = status, name, headers


class KeyReused(Exception):
    """The idempotency key came with another request before."""


class OutcomeUnknown(Exception):
    """The broker did not answer in time, so that the job may have been accepted or not."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
