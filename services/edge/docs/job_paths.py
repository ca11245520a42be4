"""The paths of the OpenAPI document for jobs and their videos: submit, status, cancel, and the video itself."""

from contracts.job import JobId, JobRequest
from services.edge.body.bodies import SUBMISSION_BYTES_MAX
from services.edge.body.idempotency import KEY_CHARS_MAX
from services.edge.docs.components import refusals, refusals_to_head
from services.edge.docs.examples import DELIVERED, JOB_ID, PENDING, REQUESTS, SUCCEEDED, WAITING
from services.edge.docs.operation import answer, body, form, header, headers_of, operation, path, query
from services.edge.docs.schema import Json, schema
from services.edge.docs.video_request import job_form_schema
from services.edge.live.query import WAIT_S_MAX
from services.edge.payloads import (
    DELETED,
    OVERLOADED,
    SMALL_BODY_BYTES_MAX,
    Accepted,
    Ask,
    Cancelled,
    ErrorBody,
    UnavailableBody,
)

_ID = schema(JobId)
_TEXT = {"type": "string"}


def job_paths() -> Json:
    """Return the path items of the routes in `routes`, by path: each method's parameters, bodies and answers."""
    return {
        "/video/submit": {"post": _submit_post()},
        "/video/status": {"post": _status_post()},
        "/video/status/{id}": {"get": _status_get()},
        "/video/cancel": {"post": _cancel_post()},
        "/video/webhooks/{id}": {"get": _webhook_get()},
        "/videos/{id}.mp4": {"get": _video_get(), "head": _video_head()},
    }


def _submit_post() -> Json:
    """Return the OpenAPI operation that submits a job."""
    meaning = "Accepted means stored. The picture is fetched and checked first: a bad one is refused with the reason."
    unknown = UnavailableBody("UNAVAILABLE", "no answer in time, so it is unknown whether the job was accepted", JOB_ID)
    accepted = answer("The job is accepted.", accepted=Accepted(JOB_ID), headers=("Location", "Idempotent-Replayed"))
    overloaded = UnavailableBody("OVERLOADED", OVERLOADED)
    unavailable = answer(
        "`OVERLOADED`: too much is in hand, and nothing was stored; try again after `Retry-After`. `UNAVAILABLE`: the "
        "broker or the store does not answer; with a `requestId`, it is unknown whether the job was accepted.",
        unknown=unknown,
        overloaded=overloaded,
        headers=("Retry-After",),
    )
    return {
        **operation("submitJob", "jobs", "Ask for a video", meaning),
        "parameters": [idempotency_key()],
        "requestBody": _submission_body(),
        "responses": {
            "202": {**accepted, "links": _links()},
            **refusals(400, 403, 413, 415, 422, 429, 500),
            "410": answer("The job of this key was deleted.", deleted=ErrorBody("DELETED", DELETED)),
            "503": unavailable,
        },
    }


def _submission_body() -> Json:
    """Return the body of a submission: JSON, or a form."""
    in_json = body(JobRequest, REQUESTS, SUBMISSION_BYTES_MAX)
    return {**in_json, "content": {**in_json["content"], **form(job_form_schema())}}


def idempotency_key() -> Json:
    """Return the parameter for the header `Idempotency-Key`."""
    meaning = (
        "A key of the client's own, quoted or bare. The same key with the same request means the same job and never "
        "a second one: the repeat is answered 202 with the same id. With another request it is refused with 422, and "
        "once the job was deleted with 410. "
        "Best is one that nobody else makes, such as a UUID or the number of an order."
    )
    schema = {"type": "string", "minLength": 1, "maxLength": KEY_CHARS_MAX}
    return header("Idempotency-Key", meaning, schema)  # an example would be sent by everybody who tries the page


def _links() -> Json:
    """Return the OpenAPI links of the answer 202: how the id in it becomes a parameter or the body of what follows."""
    job_id = "$response.body#/requestId"
    return {
        "its status": {"operationId": "jobStatusAt", "parameters": {"id": job_id}},
        "its status, by POST": {"operationId": "jobStatus", "requestBody": {"requestId": job_id}},
        "cancel it": {"operationId": "cancelJob", "requestBody": {"requestId": job_id}},
    }


def _status_post() -> Json:
    """Return the OpenAPI operation that asks for a status by an id in the body."""
    return {
        **operation("jobStatus", "jobs", "How a job stands", "Known from the moment of the 202 on."),
        "requestBody": body(Ask, {"ask": {"requestId": JOB_ID}}, SMALL_BODY_BYTES_MAX),
        "responses": {
            "200": answer("The job's status.", waiting=WAITING, succeeded=SUCCEEDED),
            **refusals(400, 403, 404, 413, 415, 500, 503),
        },
    }


def _status_get() -> Json:
    """Return the OpenAPI operation that asks for a status by an id in the path."""
    meaning = (
        "With `wait`, the answer comes once the status differs from the one at the time of the request, in any field "
        "but `updated_at`, or after so many seconds; at once if the job has ended."
    )
    seconds = {"type": "number", "minimum": 0, "maximum": WAIT_S_MAX}
    return {
        **operation("jobStatusAt", "jobs", "How a job stands, by its own address", meaning),
        "parameters": [path("id", _ID, JOB_ID), query("wait", "Seconds to wait for a change.", seconds)],
        "responses": {
            "200": answer("The job's status.", waiting=WAITING, succeeded=SUCCEEDED),
            **refusals(400, 404, 500, 503),
        },
    }


def _webhook_get() -> Json:
    """Return the OpenAPI operation that asks what became of a job's webhook."""
    meaning = "Known for as long as the log keeps the job; 404 for a job without `webhook_url`."
    return {
        **operation("jobWebhook", "jobs", "What was tried and answered of a job's webhook", meaning),
        "parameters": [path("id", _ID, JOB_ID)],
        "responses": {
            "200": answer("The delivery.", pending=PENDING, delivered=DELIVERED),
            **refusals(400, 404, 500, 503),
        },
    }


def _cancel_post() -> Json:
    """Return the OpenAPI operation that cancels a job."""
    meaning = "From the answer on the job is cancelled for good and no video will appear. Asked again: the same answer."
    return {
        **operation("cancelJob", "jobs", "Cancel a job, waiting or running", meaning),
        "requestBody": body(Ask, {"ask": {"requestId": JOB_ID}}, SMALL_BODY_BYTES_MAX),
        "responses": {
            "200": answer("The job is cancelled.", cancelled=Cancelled()),
            **refusals(400, 403, 404, 409, 413, 415, 500, 503),
        },
    }


def _video_get() -> Json:
    """Return the OpenAPI operation that gets a video or a part of it."""
    video: Json = {"content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}}
    return {
        **operation("video", "videos", "A succeeded job's video", "One range at a time, by which players seek."),
        "parameters": _video_parameters(),
        "responses": {**_video_answers(video), **refusals(404, 410, 416, 500, 503)},
    }


def _video_head() -> Json:
    """Return the OpenAPI operation that asks for the headers of a video."""
    return {
        **operation("videoHead", "videos", "What GET would answer, without the video"),
        "parameters": _video_parameters(),
        "responses": {**_video_answers({}), **refusals_to_head(404, 410, 416, 500, 503)},
    }


def _video_parameters() -> list[Json]:
    """Return the parameters of both operations on a video: the id, `Range`, `If-Range`, `If-None-Match`."""
    etag = '"23cace-18a0f5"'
    return [
        path("id", _ID, JOB_ID),
        header("Range", "A part; what is not one range of bytes is ignored.", _TEXT, "bytes=0-1023"),
        header("If-Range", "The range counts only while this is the video's ETag.", _TEXT, etag),
        header("If-None-Match", "An ETag, or `*`: 304 where the video is still that.", _TEXT, etag),
    ]


def _video_answers(video: Json) -> Json:
    """Return the answers 200, 206 and 304, by status. `video` has the `content` of the first two, empty for HEAD."""
    always = ("ETag", "Accept-Ranges", "Cache-Control")
    part = headers_of(*always, "Content-Length", "Content-Range")
    return {
        "200": {"description": "The whole video.", "headers": headers_of(*always, "Content-Length"), **video},
        "206": {"description": "The part asked for.", "headers": part, **video},
        "304": {"description": "Nothing new.", "headers": headers_of(*always)},
    }
