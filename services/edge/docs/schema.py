"""What an OpenAPI document is put together from, made of the structs that the edge reads and writes.

Knows shapes, limits, defaults and refusals, and no path.
"""

from typing import Any

import msgspec
from msgspec import Struct

from contracts.cluster import Objection
from contracts.job import JobRequest
from services.edge.body.submission import SOLVER_ALIASES
from services.edge.docs.field_docs import MEANINGS
from services.edge.errors import (
    BUSY,
    RETRY_AFTER_S,
    BusyBody,
    ErrorBody,
    FinishedBody,
    InternalBody,
    UnavailableBody,
    ValidationBody,
)
from services.edge.image.data_uri import DATA_URI_CHARS_MAX
from services.edge.routes import Ask

Json = dict[str, Any]

JOB_ID = "5d41402abc4b2a76b9719d911017c592"
_REQUEST_ID = "0cc175b9c0f1b6a831c399e269772661"
_WRONG = "num_frames was 7; it may be a whole number from 24 to 120"

_FULL = "5 of 5 allowed unfinished jobs exist; a place may be free in 40 s"

_HEADERS: dict[str, tuple[str, str]] = {
    "X-Request-Id": ("What the log calls this request; in every answer.", _REQUEST_ID),
    "Location": ("Where the job's status is, or the page.", f"/video/status/{JOB_ID}"),
    "Idempotent-Replayed": ("`true` where the very same request was accepted before under this key.", "true"),
    "Retry-After": ("Seconds to wait before the next try.", str(RETRY_AFTER_S)),
    "ETag": ("Changes with the content.", '"23cace-18a0f5"'),
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
    403: ("A web page of another site asked.", ErrorBody("FORBIDDEN", "requests from other sites are not taken")),
    404: ("Never there, or no longer.", ErrorBody("NOT_FOUND", "no such job, or it ended too long ago")),
    409: ("The job has ended already.", FinishedBody("ALREADY_FINISHED", "the job has ended: Succeed", "Succeed")),
    410: ("Removed to make room.", ErrorBody("GONE", "the video was removed to make room")),
    413: ("The body is over the limit.", ErrorBody("TOO_LARGE", "the body is too large")),
    415: ("The body is not announced as JSON in UTF-8, or it is compressed.",
          ErrorBody("UNSUPPORTED_MEDIA_TYPE", "the content type must be application/json, in UTF-8")),
    416: ("The video has no such part.", ErrorBody("RANGE_NOT_SATISFIABLE", "the video has 2345678 bytes")),
    422: ("The key was given with another request before.",
          ErrorBody("IDEMPOTENCY_KEY_REUSED", "this Idempotency-Key was used with another request")),
    429: ("As many unfinished jobs exist as may; nothing was stored.", BusyBody("BUSY", _FULL, BUSY)),
    500: ("Our fault.", InternalBody("INTERNAL_ERROR", "something broke on our side", _REQUEST_ID)),
    503: ("The broker or the store does not answer.",
          UnavailableBody("UNAVAILABLE", "the service cannot answer now; try again")),
}  # fmt: skip
_HEADERS_OF_REFUSALS = {416: ("ETag", "Accept-Ranges", "Content-Range"), 429: ("Retry-After",), 503: ("Retry-After",)}


def components() -> Json:
    """Every schema, header and refusal that the document's operations refer to."""
    _, schemas = msgspec.json.schema_components(list(MEANINGS), ref_template="#/components/schemas/{name}")
    return {
        "schemas": {struct.__name__: _described(struct, schemas[struct.__name__]) for struct in MEANINGS},
        "headers": {
            name: {"description": meaning, "schema": {"type": "string"}, "example": example}
            for name, (meaning, example) in _HEADERS.items()
        },
        "responses": {
            str(status): answer(meaning, refused=example, headers=_HEADERS_OF_REFUSALS.get(status, ()))
            for status, (meaning, example) in _REFUSALS.items()
        },
    }


def operation(name: str, tag: str, summary: str, meaning: str = "") -> Json:
    return {"operationId": name, "tags": [tag], "summary": summary, **({"description": meaning} if meaning else {})}


def body(struct: type[Struct], examples: dict[str, Json], max_bytes: int) -> Json:
    return {
        "required": True,
        "description": (
            f"Up to {max_bytes:,} bytes, without a Content-Encoding. Fields that are not listed are refused by name, "
            "with the one that was probably meant."
        ),
        "content": {"application/json": {"schema": ref(struct), "examples": _named(examples)}},
    }


def answer(meaning: str, *, headers: tuple[str, ...] = (), **examples: Struct) -> Json:
    """An answer in JSON whose shape is that of its examples."""
    values = {name: msgspec.to_builtins(example) for name, example in examples.items()}
    shape = ref(type(next(iter(examples.values()))))
    content = {"application/json": {"schema": shape, "examples": _named(values)}}
    return {"description": meaning, "headers": headers_of(*headers), "content": content}


def word(meaning: str, status: str) -> Json:
    """An answer that is the same each time: its status."""
    schema = {"type": "object", "properties": {"status": {"const": status}}, "required": ["status"]}
    content = {"application/json": {"schema": schema, "examples": _named({status: {"status": status}})}}
    return {"description": meaning, "headers": headers_of(), "content": content}


def refusals(*statuses: int) -> Json:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def refusals_to_head(*statuses: int) -> Json:
    return {
        str(status): {
            "description": _REFUSALS[status][0],
            "headers": headers_of(*_HEADERS_OF_REFUSALS.get(status, ())),
        }
        for status in statuses
    }


def headers_of(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *names)}


def header(name: str, meaning: str, schema: Json, example: str | None = None) -> Json:
    one = {"name": name, "in": "header", "description": meaning, "schema": schema}
    return one if example is None else {**one, "example": example}


def path(name: str, schema: Json, example: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": schema, "example": example}


def schema(kind: Any) -> Json:
    """Of a type that is no struct."""
    return _portable(msgspec.json.schema(kind))


def ref(struct: type[Struct]) -> Json:
    return {"$ref": f"#/components/schemas/{struct.__name__}"}


def _named(examples: dict[str, Any]) -> Json:
    return {name: {"value": value} for name, value in examples.items()}


def _described(struct: type[Struct], schema: Json) -> Json:
    """The schema with its fields' meanings, and without the docstring, which speaks to us."""
    properties: dict[str, Json] = schema["properties"]
    for name, meaning in MEANINGS[struct].items():
        properties[name] = {**_portable(properties[name]), "description": meaning}
    described = {**schema, "properties": properties}
    described.pop("description", None)
    if struct is JobRequest:
        return _as_submitted(described)
    return described if struct is Ask or struct.__struct_config__.omit_defaults else _as_answered(described)


def _portable(schema: Json) -> Json:
    r"""As JSON Schema has it: regular expressions of ECMA-262, where Python's `\Z` is `$`; a type beside every enum."""
    portable = {"type": "string", **schema} if "enum" in schema else {**schema}
    if "pattern" in schema:
        portable["pattern"] = schema["pattern"].replace(r"\Z", "$")
    if "items" in schema:
        portable["items"] = _portable(schema["items"])
    if "anyOf" in schema:
        portable["anyOf"] = [_portable(one) for one in schema["anyOf"]]
    if "items" in schema:
        portable["items"] = _portable(schema["items"])
    return portable


def _as_submitted(schema: Json) -> Json:
    """What is taken besides the struct's own fields."""
    properties: dict[str, Json] = schema["properties"]
    properties["image_url"]["maxLength"] = DATA_URI_CHARS_MAX
    properties["sample_solver"]["enum"] = [*properties["sample_solver"]["enum"], *SOLVER_ALIASES]
    required: list[str] = schema["required"]
    return {
        **schema,
        "properties": {name: one if name in required else _or_null(one) for name, one in properties.items()},
    }


def _or_null(schema: Json) -> Json:
    """Return the schema of a field that may be null as well, which counts as left out."""
    if "anyOf" in schema:
        has_null = any(one.get("type") == "null" for one in schema["anyOf"])
        return schema if has_null else {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    nullable = {**schema, "type": [schema["type"], "null"]}
    return {**nullable, "enum": [*schema["enum"], None]} if "enum" in schema else nullable


def _as_answered(schema: Json) -> Json:
    """In an answer every field is there, and a default has no meaning."""
    properties: dict[str, Json] = schema["properties"]
    for one in properties.values():
        one.pop("default", None)
    return {**schema, "required": list(properties)}
