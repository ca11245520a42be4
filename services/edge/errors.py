"""What went wrong → which answer. One table; nothing of the inside reaches an answer."""

from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException
from msgspec import Struct

from contracts.broker import Unavailable
from contracts.cluster import Objection
from contracts.process import log
from contracts.status import State
from contracts.stores import described

RETRY_AFTER_S = 10
BUSY = "服务器繁忙，请稍后重试"
OVERLOADED = "too much is in hand just now, and nothing was stored; try again"

_Request = Request[Any, Any, Any]
_Response = Response[Any]


class Busy(Exception):
    """As many unfinished jobs exist as may; nothing was stored. `retry_after_s` is when a place may be free."""

    def __init__(self, unfinished: int, allowed: int, retry_after_s: int) -> None:
        full = f"{unfinished} of {allowed} allowed unfinished jobs exist"
        super().__init__(f"{full}; a place may be free in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Overloaded(Exception):
    """Too much is in hand to take this as well; nothing was stored, and it may be tried again."""


class ImageRefused(Exception):
    """The image is not taken; the text says why and is safe to show."""


class Invalid(Exception):
    """What is wrong, one objection a field."""

    def __init__(self, objections: list[Objection]) -> None:
        self.objections = objections
        super().__init__("; ".join(objection.message for objection in objections))


class NotFound(Exception):
    """No such thing, or no longer; the text says which."""


class Gone(Exception):
    """It was there, and has been removed for good."""


class Damaged(Exception):
    """The stored file is not the one that was made."""


class NoSuchPart(Exception):
    """A range that begins beyond the end. `headers` tell how much there is."""

    def __init__(self, size_bytes: int, headers: dict[str, str]) -> None:
        self.size_bytes = size_bytes
        self.headers = {**headers, "Content-Range": f"bytes */{size_bytes}"}


class AlreadyFinished(Exception):
    def __init__(self, status: State) -> None:
        self.status: State = status


class KeyReused(Exception):
    """The idempotency key was given with another request before."""


class OutcomeUnknown(Exception):
    """The broker did not say whether it accepted the job."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id


class ErrorBody(Struct, frozen=True):
    error: str
    message: str


class ValidationBody(Struct, frozen=True):
    error: str
    message: str
    details: list[Objection]


class FinishedBody(Struct, frozen=True):
    error: str
    message: str
    status: State


class UnavailableBody(Struct, frozen=True, omit_defaults=True):
    error: str
    message: str
    requestId: str | None = None  # noqa: N815  # the wire's name


class BusyBody(Struct, frozen=True):
    error: str
    message: str
    detail: str


class InternalBody(Struct, frozen=True):
    error: str
    message: str
    http_request_id: str


def _answer(status: int, body: Struct, **headers: str) -> _Response:
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def _retry_later(after_s: int = RETRY_AFTER_S) -> dict[str, str]:
    return {"Retry-After": str(after_s)}


def _validation(objections: list[Objection]) -> _Response:
    message = "; ".join(objection.message for objection in objections)
    return _answer(400, ValidationBody("VALIDATION_ERROR", message, objections))


def on_invalid(_: _Request, error: Invalid) -> _Response:
    return _validation(error.objections)


def on_refused_image(_: _Request, error: ImageRefused) -> _Response:
    return _validation([Objection("image_url", f"image_url: {error}")])


def on_busy(_: _Request, error: Busy) -> _Response:
    return _answer(429, BusyBody("BUSY", str(error), BUSY), **_retry_later(error.retry_after_s))


def on_overloaded(_: _Request, __: Overloaded) -> _Response:
    return _answer(503, ErrorBody("OVERLOADED", OVERLOADED), **_retry_later())


def on_not_found(_: _Request, error: NotFound) -> _Response:
    return _answer(404, ErrorBody("NOT_FOUND", str(error)))


def on_gone(_: _Request, error: Gone) -> _Response:
    return _answer(410, ErrorBody("GONE", str(error)))


def on_damaged(_: _Request, error: Damaged) -> _Response:
    log.get().error("video_damaged", error=str(error))
    return _answer(500, InternalBody("VIDEO_DAMAGED", "the stored video is damaged", log.http_request_id()))


def on_no_such_part(_: _Request, error: NoSuchPart) -> _Response:
    body = ErrorBody("RANGE_NOT_SATISFIABLE", f"the video has {error.size_bytes} bytes")
    return _answer(416, body, **error.headers)


def on_finished(_: _Request, error: AlreadyFinished) -> _Response:
    return _answer(409, FinishedBody("ALREADY_FINISHED", f"the job has ended: {error.status}", error.status))


def on_key_reused(_: _Request, __: KeyReused) -> _Response:
    return _answer(422, ErrorBody("IDEMPOTENCY_KEY_REUSED", "this Idempotency-Key was used with another request"))


def on_outcome_unknown(_: _Request, error: OutcomeUnknown) -> _Response:
    message = "no answer in time, so it is unknown whether the job was accepted: ask for its status, or cancel it"
    return _answer(503, UnavailableBody("UNAVAILABLE", message, error.job_id), **_retry_later())


def on_unavailable(_: _Request, error: Unavailable | OSError) -> _Response:
    log.get().error("unavailable", error=described(error))
    return _answer(503, UnavailableBody("UNAVAILABLE", "the service cannot answer now; try again"), **_retry_later())


_HTTP: dict[int, tuple[str, str | None]] = {
    403: ("FORBIDDEN", None),  # raised by us, with a text of ours
    404: ("NOT_FOUND", "there is nothing here"),
    405: ("METHOD_NOT_ALLOWED", "this method is not offered here"),
    413: ("TOO_LARGE", "the body is too large"),
    415: ("UNSUPPORTED_MEDIA_TYPE", None),
}


def on_http(request: _Request, error: HTTPException) -> _Response:
    """What Litestar itself refuses: unknown paths, wrong methods, bodies over the limit."""
    if error.status_code >= 500:
        return on_ours(request, error)
    name, text = _HTTP.get(error.status_code, ("BAD_REQUEST", None))
    return _answer(error.status_code, ErrorBody(name, text or error.detail), **(error.headers or {}))


def on_ours(_: _Request, error: Exception) -> _Response:
    log.get().error("internal_error", exc_info=error)
    return _answer(500, InternalBody("INTERNAL_ERROR", "something broke on our side", log.http_request_id()))


HANDLERS: dict[type[Exception] | int, Any] = {
    Invalid: on_invalid,
    ImageRefused: on_refused_image,
    Busy: on_busy,
    Overloaded: on_overloaded,
    NotFound: on_not_found,
    Gone: on_gone,
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
