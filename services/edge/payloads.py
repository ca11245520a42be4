"""The JSON bodies of requests and answers, and the texts and numbers that stand in them.

The routes read and write them, `error_handlers` answers with them, and `docs` describes them. A submission's body is
`contracts.job.JobRequest`; the body of a status is `contracts.status.JobStatus`.
"""

from msgspec import Struct

from contracts.cluster import Objection
from contracts.job import JobId
from contracts.status import State

SMALL_BODY_BYTES_MAX = 64 * 1024
"""The largest body of a status or cancel request."""
RETRY_AFTER_S = 10
"""The `Retry-After` of an answer if nothing better is known."""
BUSY = "服务器繁忙，请稍后重试"
DELETED = "the job of this Idempotency-Key was deleted; submit under another key"
OVERLOADED = "too much is in hand just now, and nothing was stored; try again"


class Ask(Struct, frozen=True, forbid_unknown_fields=True, rename={"job_id": "requestId"}):
    """The body of a status or cancel request."""

    job_id: JobId


class Accepted(Struct, frozen=True, rename={"job_id": "requestId"}):
    """The answer to a submission: 202."""

    job_id: str


class Cancelled(Struct, frozen=True):
    """The answer to a cancel request: 200."""

    status: str = "Cancelled"


class ErrorBody(Struct, frozen=True):
    """A refusal that needs no more than its name, for programs, and a sentence, for people."""

    error: str
    message: str


class ValidationBody(Struct, frozen=True):
    """A request with faulty fields: 400. `details` has one objection a field."""

    error: str
    message: str
    details: list[Objection]


class FinishedBody(Struct, frozen=True):
    """A job that cannot be cancelled because it has ended: 409. `status` is how it ended."""

    error: str
    message: str
    status: State


class UnavailableBody(Struct, frozen=True, omit_defaults=True):
    """The broker or a store does not answer: 503. `requestId` is there if the job may have been accepted."""

    error: str
    message: str
    requestId: str | None = None  # noqa: N815  # the wire's name


class BusyBody(Struct, frozen=True):
    """Body of a 429: the limit of unfinished jobs is reached. `detail` is for clients of the original API."""

    error: str
    message: str
    detail: str


class InternalBody(Struct, frozen=True):
    """A fault of the service: 500. `http_request_id` is the id that its log lines have."""

    error: str
    message: str
    http_request_id: str
