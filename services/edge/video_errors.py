"""Say a refusal in the form that clients of `/v1/videos` know: an object with `message`, `type`, `param` and `code`.

`error_handlers` turns answers of ours into it, and `http`, which answers ahead of the routes, its own refusals. Pure.
"""

import re
from http import HTTPStatus

from msgspec import Struct

from contracts.cluster import Objection
from services.edge.payloads import UnavailableBody, ValidationBody

PREFIX = "/v1"
VIDEO_ID_PREFIX = "video_"
"""The beginning of a job's id in this dialect."""
SHOULD_RETRY = "x-should-retry"
"""The header by which the `openai` package decides whether to send a request again; without it, it repeats each 409 and
5xx three times."""
NAMES = {
    "image_url": "input_reference",
    "image_size": "size",
    "infer_steps": "num_inference_steps",
    "sample_shift": "flow_shift",
}
"""The names that fields have in this dialect, if they differ."""
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
CODES = {
    "BUSY": "queue_full",
    "TOO_LARGE": "body_too_large",
    "UNAUTHORIZED": "invalid_api_key",
    "TOO_MANY_SUBMISSIONS": "rate_limit_exceeded",
}
"""The codes of refusals whose name in lower case says less."""
REPEATABLE = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)

_FIELD = re.compile(r"\b(" + "|".join(NAMES) + r")\b(?! is not a field)")
_SIZE = re.compile(r"\b([0-9]{2,4})\*([0-9]{2,4})\b")


class VideoError(Struct, frozen=True):
    """Why a request is refused. `param` is the faulty field if there is one, `code` a word for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class VideoErrorBody(Struct, frozen=True):
    """The body of a refusal below `/v1`."""

    error: VideoError


def speaks_v1(path: str) -> bool:
    """Return whether the answers at a path have the form of this dialect."""
    return path == PREFIX or path.startswith(PREFIX + "/")


def as_video_error(status: int, body: object) -> tuple[int, VideoErrorBody, dict[str, str]]:
    """Return status, body and further headers for a refusal of ours, a struct with `error` and `message`."""
    message, param, code = str(getattr(body, "message", "")), None, str(getattr(body, "error", ""))
    headers = {} if status >= 500 or status in REPEATABLE else {SHOULD_RETRY: "false"}
    if isinstance(body, ValidationBody):
        status, message, param, code = _faulty(body)
    elif isinstance(body, UnavailableBody) and body.requestId is not None:
        message, headers = f"{message} ({VIDEO_ID_PREFIX}{body.requestId})", {SHOULD_RETRY: "false"}
        code = "outcome_unknown"
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return status, VideoErrorBody(VideoError(message, kind, param, CODES.get(code, code).lower())), headers


def _faulty(body: ValidationBody) -> tuple[int, str, str, str]:
    """Return status, message, field and code for faulty fields, of which the first one is named."""
    first = body.details[0] if body.details else Objection("body", body.message)
    message = _SIZE.sub(r"\1x\2", _FIELD.sub(lambda match: NAMES[match[1]], body.message))
    param = NAMES.get(first.field, first.field)
    if first.field == "model":
        return HTTPStatus.NOT_FOUND, message, param, "model_not_found"
    return HTTPStatus.BAD_REQUEST, message, param, _code(first)


def _code(objection: Objection) -> str:
    """Return the code of a faulty field, by the sentence about it."""
    endings = {
        " is missing": "missing_required_parameter",
        " is not a field": "unknown_parameter",
        " is not supported": "unsupported_parameter",
    }
    found = (code for words, code in endings.items() if objection.message.startswith(objection.field + words))
    return next(found, "invalid_json" if objection.message.startswith("the body is not JSON") else "invalid_value")
