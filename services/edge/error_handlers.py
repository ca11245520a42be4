"""Turn each exception of a request into its answer, by the table `ANSWERS`. `answers` uses it.

An answer holds nothing of the inside: no path, no address, no traceback.
"""

from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException
from msgspec import Struct

from contracts.broker import Unavailable
from contracts.cluster import Objection
from contracts.process import log
from contracts.stores import described
from services.edge.errors import (
    AccessRefused,
    AlreadyFinished,
    Busy,
    Damaged,
    Deleted,
    Gone,
    ImageRefused,
    Invalid,
    KeyReused,
    NoSuchPart,
    NotFinished,
    NotFound,
    OutcomeUnknown,
    Overloaded,
)
from services.edge.http.methods import ALLOW, allow
from services.edge.payloads import (
    BUSY,
    DELETED,
    OVERLOADED,
    RETRY_AFTER_S,
    BusyBody,
    ErrorBody,
    FinishedBody,
    InternalBody,
    UnavailableBody,
    ValidationBody,
)

_Request = Request[Any, Any, Any]
_Response = Response[Any]


def _answer(status: int, body: Struct, **headers: str) -> _Response:
    """Return an answer in JSON, with this status, body and headers."""
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def _retry_later(after_s: int = RETRY_AFTER_S) -> dict[str, str]:
    """Return the header that asks the client to try again after so many seconds."""
    return {"Retry-After": str(after_s)}


def _validation(objections: list[Objection]) -> _Response:
    """Return the answer 400, with all objections."""
    message = "; ".join(objection.message for objection in objections)
    return _answer(400, ValidationBody("VALIDATION_ERROR", message, objections))


def on_invalid(_: _Request, error: Invalid) -> _Response:
    """Answer 400 with an objection for each faulty field."""
    return _validation(error.objections)


def on_refused_image(_: _Request, error: ImageRefused) -> _Response:
    """Answer 400 with an objection to the field with the image."""
    return _validation([Objection(error.field, f"{error.field}: {error}")])


def on_access_refused(_: _Request, error: AccessRefused) -> _Response:
    """Answer 401, 403 or 429, as the refusal says."""
    text = str(error)
    body = BusyBody(error.name, text, BUSY) if error.status == 429 else ErrorBody(error.name, text)
    return _answer(error.status, body, **error.headers)


def on_busy(_: _Request, error: Busy) -> _Response:
    """Answer 429 with the estimated time until a place is free."""
    return _answer(429, BusyBody(error.name, str(error), BUSY), **_retry_later(error.retry_after_s))


def on_overloaded(_: _Request, error: Overloaded) -> _Response:
    """Answer 503: the edge has too much in hand."""
    return _answer(503, ErrorBody("OVERLOADED", str(error) or OVERLOADED), **_retry_later())


def on_not_found(_: _Request, error: NotFound) -> _Response:
    """Answer 404."""
    return _answer(404, ErrorBody(error.name, str(error)))


def on_not_finished(_: _Request, error: NotFinished) -> _Response:
    """Answer 409: the job has no video that another one could be made of."""
    return _answer(409, ErrorBody("NOT_FINISHED", str(error)))


def on_gone(_: _Request, error: Gone) -> _Response:
    """Answer 410: the video was removed."""
    return _answer(410, ErrorBody("GONE", str(error)))


def on_deleted(_: _Request, __: Deleted) -> _Response:
    """Answer 410: an idempotency key means the deleted job for as long as its tombstone is kept."""
    return _answer(410, ErrorBody("DELETED", DELETED))


def on_damaged(_: _Request, error: Damaged) -> _Response:
    """Answer 500, and log which video is damaged."""
    log.get().error("video_damaged", error=str(error))
    return _answer(500, InternalBody("VIDEO_DAMAGED", "the stored video is damaged", log.http_request_id()))


def on_no_such_part(_: _Request, error: NoSuchPart) -> _Response:
    """Answer 416 with the size of the video."""
    body = ErrorBody("RANGE_NOT_SATISFIABLE", f"the video has {error.size_bytes} bytes")
    return _answer(416, body, **error.headers)


def on_finished(_: _Request, error: AlreadyFinished) -> _Response:
    """Answer 409 with how the job has ended."""
    return _answer(409, FinishedBody("ALREADY_FINISHED", f"the job has ended: {error.status}", error.status))


def on_key_reused(_: _Request, __: KeyReused) -> _Response:
    """Answer 422: an idempotency key may mean one request only."""
    return _answer(422, ErrorBody("IDEMPOTENCY_KEY_REUSED", "this Idempotency-Key was used with another request"))


def on_outcome_unknown(_: _Request, error: OutcomeUnknown) -> _Response:
    """Answer 503 with the id of the job that may have been accepted."""
    message = "no answer in time, so it is unknown whether the job was accepted: ask for its status, or cancel it"
    return _answer(503, UnavailableBody("UNAVAILABLE", message, error.job_id), **_retry_later())


def on_unavailable(_: _Request, error: Unavailable | OSError) -> _Response:
    """Answer 503, and log which part of the service does not answer."""
    log.get().error("unavailable", error=described(error))
    return _answer(503, UnavailableBody("UNAVAILABLE", "the service cannot answer now; try again"), **_retry_later())


_HTTP: dict[int, tuple[str, str | None]] = {
    403: ("FORBIDDEN", None),  # raised by `check_sender_and_form`, with its own text
    404: ("NOT_FOUND", "there is nothing here"),
    405: ("METHOD_NOT_ALLOWED", "this method is not offered here"),
    413: ("TOO_LARGE", "the body is too large"),
    415: ("UNSUPPORTED_MEDIA_TYPE", None),
}


def on_http(request: _Request, error: HTTPException) -> _Response:
    """Answer what Litestar itself refuses: unknown paths, wrong methods, bodies over the limit. Its 5xx: `on_ours`."""
    if error.status_code >= 500:
        return on_ours(request, error)
    name, text = _HTTP.get(error.status_code, ("BAD_REQUEST", None))
    headers = dict(error.headers or {})
    if ALLOW in headers:
        headers[ALLOW] = allow(headers[ALLOW].split(", "))
    return _answer(error.status_code, ErrorBody(name, text or error.detail), **headers)


def on_ours(_: _Request, error: Exception) -> _Response:
    """Answer 500, and log the traceback."""
    log.get().error("internal_error", exc_info=error)
    return _answer(500, InternalBody("INTERNAL_ERROR", "something broke on our side", log.http_request_id()))


ANSWERS: dict[type[Exception], Any] = {
    Invalid: on_invalid,
    ImageRefused: on_refused_image,
    AccessRefused: on_access_refused,
    Busy: on_busy,
    Overloaded: on_overloaded,
    NotFound: on_not_found,
    NotFinished: on_not_finished,
    Gone: on_gone,
    Deleted: on_deleted,
    Damaged: on_damaged,
    NoSuchPart: on_no_such_part,
    AlreadyFinished: on_finished,
    KeyReused: on_key_reused,
    OutcomeUnknown: on_outcome_unknown,
    Unavailable: on_unavailable,
    OSError: on_unavailable,
    HTTPException: on_http,
    Exception: on_ours,
}
