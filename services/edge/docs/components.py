"""The components of the OpenAPI document: schemas, the headers of answers, and the refusals by their status.

The path modules refer to them by name; `openapi` puts them into the document.
"""

from msgspec import Struct

from contracts.cluster import Objection
from services.edge.auth.gate import NEEDED
from services.edge.docs.examples import JOB_ID, REQUEST_ID
from services.edge.docs.operation import answer, headers_of
from services.edge.docs.schema import Json, schemas
from services.edge.docs.video_request import video_schemas
from services.edge.payloads import (
    BUSY,
    RETRY_AFTER_S,
    BusyBody,
    ErrorBody,
    FinishedBody,
    InternalBody,
    UnavailableBody,
    ValidationBody,
)
from services.edge.video_errors import as_video_error

_WRONG = "num_frames was 7; it may be a whole number from 24 to 120"

V1 = "v1-"
"""How the names of refusals below `/v1` begin."""
KEY = "key"
"""The name of the security scheme."""
_KEY = "Where the service asks for keys (`auth` in `/health` is `keys`): one that its operator has made."
_FULL = "5 of 5 allowed unfinished jobs exist; a place may be free in 40 s"

_HEADERS: dict[str, tuple[str, str]] = {
    "X-Request-Id": ("What the log calls this request; in every answer.", REQUEST_ID),
    "Location": ("Where the job's status is, or the page.", f"/video/status/{JOB_ID}"),
    "Idempotent-Replayed": ("`true` where the very same request was accepted before under this key.", "true"),
    "openai-poll-after-ms": ("Milliseconds to wait before the next question.", "1000"),
    "x-should-retry": ("`false` if the request would be refused again, or has an unknown outcome.", "false"),
    "WWW-Authenticate": ("How to show a key.", "Bearer"),
    "RateLimit": ("What is left of the submissions of a minute.", '"submissions";r=0;t=30'),
    "RateLimit-Policy": ("How many submissions a minute are taken.", '"submissions";q=60;w=60'),
    "Retry-After": ("Seconds to wait before the next try.", str(RETRY_AFTER_S)),
    "ETag": ("Changes with the content.", '"23cace-18a0f5"'),
    "Vary": ("Another `Accept` may get another form.", "Accept"),
    "Accept-Ranges": ("Parts may be asked for.", "bytes"),
    "Content-Range": ("Which part of how much.", "bytes 0-1023/2345678"),
    "Content-Length": ("In bytes.", "2345678"),
    "Cache-Control": ("How long it may be kept.", "private, max-age=31536000, immutable"),
    "Content-Security-Policy": ("What the page may load: what comes from here.", "default-src 'none'"),
    "X-Content-Type-Options": ("The content type is to be believed.", "nosniff"),
}

_REFUSALS: dict[int, tuple[str, Struct]] = {
    400: ("What is wrong, every faulty field at once.",
          ValidationBody("VALIDATION_ERROR", _WRONG, [Objection("num_frames", _WRONG)])),
    401: ("A key is needed, if the service asks for keys, and this is none that is good here.",
          ErrorBody("UNAUTHORIZED", NEEDED)),
    403: ("A web page of another site asked, or the key may not do that.",
          ErrorBody("FORBIDDEN", "requests from other sites are not taken")),
    404: ("Never there, or no longer.", ErrorBody("NOT_FOUND", "no such job, or it ended too long ago")),
    409: ("The job has ended already.", FinishedBody("ALREADY_FINISHED", "the job has ended: Succeed", "Succeed")),
    410: ("Removed to make room.", ErrorBody("GONE", "the video was removed to make room")),
    413: ("The body is over the limit.", ErrorBody("TOO_LARGE", "the body is too large")),
    415: ("The body is not announced as JSON in UTF-8, or it is compressed.",
          ErrorBody("UNSUPPORTED_MEDIA_TYPE", "the content type must be application/json, in UTF-8")),
    416: ("The video has no such part.", ErrorBody("RANGE_NOT_SATISFIABLE", "the video has 2345678 bytes")),
    422: ("The key was given with another request before.",
          ErrorBody("IDEMPOTENCY_KEY_REUSED", "this Idempotency-Key was used with another request")),
    429: ("As many unfinished jobs exist as may, of all or of the tenant, or too many came; none was stored.",
          BusyBody("BUSY", _FULL, BUSY)),
    500: ("Our fault.", InternalBody("INTERNAL_ERROR", "something broke on our side", REQUEST_ID)),
    503: ("The broker or the store does not answer.",
          UnavailableBody("UNAVAILABLE", "the service cannot answer now; try again")),
}  # fmt: skip
_HEADERS_OF_REFUSALS = {
    401: ("WWW-Authenticate",),
    416: ("ETag", "Accept-Ranges", "Content-Range"),
    429: ("Retry-After", "RateLimit", "RateLimit-Policy"),
    503: ("Retry-After",),
}


def components() -> Json:
    """Return every schema, header and refusal that the document's operations refer to."""
    return {
        "securitySchemes": {KEY: {"type": "http", "scheme": "bearer", "bearerFormat": "wj_…", "description": _KEY}},
        "schemas": {**schemas(), **video_schemas()},
        "headers": {
            name: {"description": meaning, "schema": {"type": "string"}, "example": example}
            for name, (meaning, example) in _HEADERS.items()
        },
        "responses": {
            **{
                str(status): answer(meaning, refused=example, headers=_HEADERS_OF_REFUSALS.get(status, ()))
                for status, (meaning, example) in _REFUSALS.items()
            },
            **{
                f"{V1}{status}": answer(
                    meaning, refused=as_video_error(status, example)[1], headers=_HEADERS_OF_REFUSALS.get(status, ())
                )
                for status, (meaning, example) in _REFUSALS.items()
            },
        },
    }


def refusals(*statuses: int, of: str = "") -> Json:
    """Return references to the refusals of these statuses, by status; `of` is `V1` for those in that dialect."""
    return {str(status): {"$ref": f"#/components/responses/{of}{status}"} for status in statuses}


def refusals_to_head(*statuses: int) -> Json:
    """Return the answers of these statuses to HEAD: with their headers, without a body."""
    return {
        str(status): {
            "description": _REFUSALS[status][0],
            "headers": headers_of(*_HEADERS_OF_REFUSALS.get(status, ())),
        }
        for status in statuses
    }
