"""The paths of the OpenAPI document below `/v1`: the wire form of the `openai` package, and the models."""

from msgspec import Struct

from services.edge.body.bodies import SUBMISSION_BYTES_MAX
from services.edge.docs.components import V1, refusals
from services.edge.docs.examples import MODELS, PICTURE, PROMPT, VIDEO, VIDEO_ID, VIDEOS
from services.edge.docs.operation import answer, body, form, headers_of, operation, path, query
from services.edge.docs.schema import Json
from services.edge.docs.video_request import ABOUT, form_schema, json_schema_of_video
from services.edge.job_list import LIMIT_MAX
from services.edge.payloads import SMALL_BODY_BYTES_MAX
from services.edge.v1.listing import Deleted
from services.edge.v1.remix import RemixBody

REFUSED = (400, 403, 404, 410, 413, 415, 422, 429)
"""The statuses with which a request for a video may be refused, beside those of every operation."""
_PACE, _REPLAYED = "openai-poll-after-ms", "Idempotent-Replayed"
_ID: Json = {"type": "string", "pattern": "^video_[0-9a-f]{32}$"}


def video_paths(idempotency_key: Json) -> Json:
    """Return the path items of the routes in `v1.routes`, by path. `idempotency_key` is the header's parameter."""
    return {
        "/v1/videos": {"post": _create(idempotency_key), "get": _list()},
        "/v1/videos/{id}": {"get": _retrieve(), "delete": _delete()},
        "/v1/videos/{id}/remix": {"post": _remix(idempotency_key)},
        "/v1/videos/{id}/content": {"get": _content(), "head": _content_head()},
        "/v1/models": {"get": _models()},
        "/v1/models/{model}": {"get": _model()},
    }


def _create(idempotency_key: Json) -> Json:
    """Return the OpenAPI operation that creates a video."""
    return {
        **operation("createVideo", "v1", "Ask for a video, as the `openai` package does", ABOUT),
        "parameters": [idempotency_key],
        "requestBody": {
            "required": True,
            "description": f"Up to {SUBMISSION_BYTES_MAX:,} bytes, without a Content-Encoding.",
            "content": {
                "application/json": {
                    "schema": json_schema_of_video(),
                    "examples": {"a picture": {"value": {"prompt": PROMPT, "input_reference": {"image_url": PICTURE}}}},
                },
                **form(form_schema()),
            },
        },
        "responses": _answers(VIDEO, "The job is accepted.", _PACE, _REPLAYED, refused=REFUSED),
    }


def _list() -> Json:
    """Return the OpenAPI operation that lists videos."""
    statuses = ["queued", "in_progress", "completed", "failed"]
    return {
        **operation("listVideos", "v1", "A page of the list of all videos that are still known"),
        "parameters": [
            query("limit", "Videos in a page.", {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX}),
            query("after", "The last id of the page before.", _ID),
            query("order", "`desc` for the newest first.", {"type": "string", "enum": ["desc", "asc"]}),
            query("status", "Only videos of this status.", {"type": "string", "enum": statuses}),
        ],
        "responses": _answers(VIDEOS, "The page.", refused=(400, 404)),
    }


def _retrieve() -> Json:
    """Return the OpenAPI operation that retrieves a video."""
    meaning = "200 also for a job that failed. Known from the moment of the answer to the request on."
    return {
        **operation("retrieveVideo", "v1", "How a video stands", meaning),
        "parameters": [path("id", _ID, VIDEO_ID)],
        "responses": _answers(VIDEO, "The video object.", _PACE, refused=(404,)),
    }


def _delete() -> Json:
    """Return the OpenAPI operation that deletes a video."""
    meaning = "A job that waits or runs is cancelled first. Afterwards every path answers 404 about it."
    return {
        **operation("deleteVideo", "v1", "Delete a video with all that is kept of its job", meaning),
        "parameters": [path("id", _ID, VIDEO_ID)],
        "responses": _answers(Deleted(id=VIDEO_ID), "It is deleted.", refused=(403, 404)),
    }


def _remix(idempotency_key: Json) -> Json:
    """Return the OpenAPI operation that remixes a video."""
    meaning = "A new job with the picture and all fields of a completed one, but for its prompt."
    return {
        **operation("remixVideo", "v1", "The same picture, other words", meaning),
        "parameters": [path("id", _ID, VIDEO_ID), idempotency_key],
        "requestBody": body(RemixBody, {"words": {"prompt": PROMPT}}, SMALL_BODY_BYTES_MAX),
        "responses": _answers(VIDEO, "The job is accepted.", _PACE, _REPLAYED, refused=(*REFUSED, 409)),
    }


def _content() -> Json:
    """Return the OpenAPI operation that gets a file of a video."""
    files: Json = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("video/mp4", "image/webp")}
    return {
        **operation("videoContent", "v1", "The mp4, or a picture of it"),
        "parameters": _content_parameters(),
        "responses": {**_files({"content": files}), **_refused(400, 404, 410, 416)},
    }


def _content_head() -> Json:
    """Return the OpenAPI operation that asks for the headers of a file of a video."""
    return {
        **operation("videoContentHead", "v1", "What GET would answer, without the file"),
        "parameters": _content_parameters(),
        "responses": {
            **_files({}),
            **{str(status): {"description": "As for GET.", "headers": headers_of()} for status in (400, 404, 410, 416)},
        },
    }


def _content_parameters() -> list[Json]:
    """Return the parameters of both operations on a file."""
    variants = {"type": "string", "enum": ["video", "thumbnail", "spritesheet"], "default": "video"}
    return [path("id", _ID, VIDEO_ID), query("variant", "Which file.", variants)]


def _files(content: Json) -> Json:
    """Return the answers 200, 206 and 304, with this content."""
    return {
        "200": {"description": "The whole file.", "headers": headers_of("ETag", "Cache-Control"), **content},
        "206": {
            "description": "The part of the mp4 asked for.",
            "headers": headers_of("ETag", "Content-Range"),
            **content,
        },
        "304": {"description": "Nothing new.", "headers": headers_of("ETag")},
    }


def _models() -> Json:
    """Return the OpenAPI operation that lists the models."""
    return {
        **operation("listModels", "v1", "The models that live clusters serve"),
        "responses": _answers(MODELS, "The list.", refused=()),
    }


def _model() -> Json:
    """Return the OpenAPI operation that retrieves a model."""
    return {
        **operation("retrieveModel", "v1", "One of the models"),
        "parameters": [path("model", {"type": "string"}, MODELS.data[0].id)],
        "responses": _answers(MODELS.data[0], "The model.", refused=(404,)),
    }


def _answers(example: Struct, meaning: str, *headers: str, refused: tuple[int, ...]) -> Json:
    """Return the answer 200 with this example and these headers, and the refusals of these statuses."""
    return {"200": answer(meaning, headers=headers, example=example), **_refused(*refused)}


def _refused(*statuses: int) -> Json:
    """Return the refusals of these statuses, and of those that every operation may answer with."""
    return refusals(*statuses, 500, 503, of=V1)
