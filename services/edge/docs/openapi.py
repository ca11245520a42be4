"""The HTTP contract as an OpenAPI 3.1 document: what each route does, and which answers it has.

Shapes, limits and defaults come from the structs, by way of `docs.parts`; examples are made of the structs too. A test
holds that the document names every route, and only those.
"""

from importlib.metadata import version

from contracts.job import JobId, JobRequest, video_path, video_url
from contracts.plan import Plan
from contracts.status import JobStatus, Results
from services.edge import health
from services.edge.body.bodies import SUBMISSION_BYTES_MAX
from services.edge.body.idempotency import KEY_CHARS_MAX
from services.edge.docs.schema import (
    JOB_ID,
    Json,
    answer,
    body,
    components,
    header,
    headers_of,
    operation,
    path,
    refusals,
    refusals_to_head,
    schema,
    word,
)
from services.edge.errors import OVERLOADED, ErrorBody, UnavailableBody
from services.edge.routes import SMALL_BODY_BYTES_MAX, Accepted, Ask, Cancelled

ABOUT = """\
A picture and a prompt become a video. `POST /video/submit` accepts a job and answers at once; its status is asked for \
until the job has ended; then the video is served, and can be sought in.

Any request may also be answered 400 where its `Host` is not served, 405 where the method is not offered, 408 where \
its body comes too slowly, 431 where its head is too large, 501 where its body is coded otherwise than `chunked`, and \
503 `OVERLOADED` with `Retry-After` where too much is going on. HEAD is answered wherever GET is. Answers may grow \
fields and never lose one.

In a request, a field that is `null` counts as left out.
"""
PROMPT = "A small boat sails over a calm sea, the camera slowly zooms in"
PICTURE = (  # a boat, 128 by 72
    "data:image/webp;base64,UklGRsoAAABXRUJQVlA4TL0AAAAvf8ARADW4iiTJUozx3SJQjAhsoGDvbm4meo431BpmI2lJlmQ5S3TvY0LUSGrE4"
    "ACBiEXEAO2n/xNw+fiQeW2Njc31rubWnub2jmb03rjlF5hxN9x/dCYW6EuskESI+0FsIIkAnkhiE0ZFJTZgVATIggWshkjzK2I0I44IrYh9uKPEXrQ"
    "h9qM/ehDdiRz6w584PLgTBfAmSnDPiCIY83y+LHta18ZyKUwX4l6hDMaLYL0E5gtw75BGg0n8YgkA"
)

_ID = schema(JobId)
_TEXT = {"type": "string"}
_REQUESTS = {
    "a short video": {"prompt": PROMPT, "image_url": PICTURE, "num_frames": 25, "infer_steps": 20},
    "what is required": {"prompt": PROMPT, "image_url": PICTURE},
    "more": {
        "prompt": PROMPT, "image_url": PICTURE, "keep_aspect": True, "num_frames": 49, "guidance_scale": 5.0,
        "infer_steps": 40, "seed": 7, "negative_prompt": "blurry, static", "sample_solver": "dpm++",
        "sample_shift": 3.0,
    },
}  # fmt: skip
_CLUSTER = health.ClusterSeen(
    name="one", device="cuda", world_size=8, model="Wan2.1-I2V-14B-720P", weights="5f70bf18a086007016e948b04aed3b82",
    sizes=["1280*720", "720*1280", "832*480", "480*832"], default_size="1280*720", heads=40,
    plan=Plan(cfg_size=2, ulysses_size=4, vae_parallel=True), jobs_running=1, started_at=1703840000.0,
    at=1703847600.0,
)  # fmt: skip
_HEALTHY = health.Health(
    status="healthy", timestamp=1703847600.1, uptime=7600.5, world_size=8, service=health.Service(12, 8),
    resources=health.Resources(2, 5, 3), durability="checked", clusters=[_CLUSTER],
)  # fmt: skip
_UNHEALTHY = health.Health(status="unhealthy", timestamp=1703847600.1, uptime=7600.5)
_WAITING = JobStatus(job_id=JOB_ID, queue_position=2, created_at=1703847600.1, updated_at=1703847600.1)
_SUCCEEDED = JobStatus(
    job_id=JOB_ID, status="Succeed", progress=1.0, created_at=1703847600.1, updated_at=1703847720.5, attempt=1,
    width=1280, height=720, cropped=0.25, sized_attempt=1,
    results=Results(
        video_url=video_url(JOB_ID), video_path=video_path(JOB_ID), width=1280, height=720, num_frames=81,
        duration=5.0625, size_bytes=2_345_678, seed=7, cropped=0.25,
    ),
)  # fmt: skip


def document() -> Json:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "WanJet",
            "version": version("wanjet"),
            "description": ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in ("jobs", "videos", "operation", "documentation")],
        "paths": {
            "/video/submit": {"post": _submit()},
            "/video/status": {"post": _status()},
            "/video/status/{id}": {"get": _status_at()},
            "/video/cancel": {"post": _cancel()},
            "/videos/{id}.mp4": {"get": _video_get(), "head": _video_head()},
            "/livez": {"get": _livez()},
            "/readyz": {"get": _readyz()},
            "/health": {"get": _health()},
            "/metrics": {"get": _metrics()},
            "/": {"get": _welcome()},
            "/docs": {"get": _docs()},
            "/docs/openapi.json": {"get": _docs_openapi("openapi")},
            "/openapi.json": {"get": _docs_openapi("openapiAtTheRoot")},
            "/docs/{name}": {"get": _docs_file()},
        },
        "components": components(),
    }


def _submit() -> Json:
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
        "parameters": [_idempotency_key()],
        "requestBody": body(JobRequest, _REQUESTS, SUBMISSION_BYTES_MAX),
        "responses": {
            "202": {**accepted, "links": _links()},
            **refusals(400, 403, 413, 415, 422, 429, 500),
            "503": unavailable,
        },
    }


def _idempotency_key() -> Json:
    meaning = (
        "A key of the client's own, quoted or bare. The same key with the same request means the same job and never "
        "a second one: the repeat is answered 202 with the same id. With another request it is refused with 422. "
        "Best is one that nobody else makes, such as a UUID or the number of an order."
    )
    schema = {"type": "string", "minLength": 1, "maxLength": KEY_CHARS_MAX}
    return header("Idempotency-Key", meaning, schema)  # an example would be sent by everybody who tries the page


def _links() -> Json:
    job_id = "$response.body#/requestId"
    return {
        "its status": {"operationId": "jobStatusAt", "parameters": {"id": job_id}},
        "its status, by POST": {"operationId": "jobStatus", "requestBody": {"requestId": job_id}},
        "cancel it": {"operationId": "cancelJob", "requestBody": {"requestId": job_id}},
    }


def _status() -> Json:
    return {
        **operation("jobStatus", "jobs", "How a job stands", "Known from the moment of the 202 on."),
        "requestBody": body(Ask, {"ask": {"requestId": JOB_ID}}, SMALL_BODY_BYTES_MAX),
        "responses": {
            "200": answer("The job's status.", waiting=_WAITING, succeeded=_SUCCEEDED),
            **refusals(400, 403, 404, 413, 415, 500, 503),
        },
    }


def _status_at() -> Json:
    return {
        **operation("jobStatusAt", "jobs", "How a job stands, by its own address"),
        "parameters": [path("id", _ID, JOB_ID)],
        "responses": {
            "200": answer("The job's status.", waiting=_WAITING, succeeded=_SUCCEEDED),
            **refusals(400, 404, 500, 503),
        },
    }


def _cancel() -> Json:
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
    video: Json = {"content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}}
    return {
        **operation("video", "videos", "A succeeded job's video", "One range at a time, by which players seek."),
        "parameters": _video_parameters(),
        "responses": {**_video_answers(video), **refusals(404, 410, 416, 500, 503)},
    }


def _video_head() -> Json:
    return {
        **operation("videoHead", "videos", "What GET would answer, without the video"),
        "parameters": _video_parameters(),
        "responses": {**_video_answers({}), **refusals_to_head(404, 410, 416, 500, 503)},
    }


def _video_parameters() -> list[Json]:
    etag = '"23cace-18a0f5"'
    return [
        path("id", _ID, JOB_ID),
        header("Range", "A part; what is not one range of bytes is ignored.", _TEXT, "bytes=0-1023"),
        header("If-Range", "The range counts only while this is the video's ETag.", _TEXT, etag),
        header("If-None-Match", "An ETag, or `*`: 304 where the video is still that.", _TEXT, etag),
    ]


def _video_answers(video: Json) -> Json:
    always = ("ETag", "Accept-Ranges", "Cache-Control")
    part = headers_of(*always, "Content-Length", "Content-Range")
    return {
        "200": {"description": "The whole video.", "headers": headers_of(*always, "Content-Length"), **video},
        "206": {"description": "The part asked for.", "headers": part, **video},
        "304": {"description": "Nothing new.", "headers": headers_of(*always)},
    }


def _livez() -> Json:
    return {
        **operation("livez", "operation", "Whether the process turns"),
        "responses": {"200": word("It does.", "alive")},
    }


def _readyz() -> Json:
    why = ErrorBody("UNAVAILABLE", "the broker does not answer, or is not provisioned")
    return {
        **operation("readyz", "operation", "Whether a submission could be accepted now"),
        "responses": {"200": word("It could.", "ready"), **refusals(500), "503": answer("It could not.", broker=why)},
    }


def _health() -> Json:
    return {
        **operation("health", "operation", "The whole service, for people and dashboards"),
        "responses": {
            "200": answer("Healthy or degraded.", healthy=_HEALTHY),
            **refusals(500),
            "503": answer("The broker does not answer.", unhealthy=_UNHEALTHY),
        },
    }


def _metrics() -> Json:
    numbers = answer("The numbers of now.", numbers=health.metrics(_HEALTHY))
    for kind, openmetrics in (("text/plain", False), ("application/openmetrics-text", True)):
        text = health.prometheus(_HEALTHY, openmetrics=openmetrics).decode()
        numbers["content"][kind] = {"schema": _TEXT, "example": text}
    meaning = "JSON, or Prometheus text where `Accept` names its type."
    return {
        **operation("metrics", "operation", "The service in numbers", meaning),
        "responses": {"200": numbers, **refusals(500)},
    }


def _docs() -> Json:
    return {
        **operation("docs", "documentation", "This contract, to read and to try"),
        "responses": _shipped(("text/html", _TEXT)),
    }


def _welcome() -> Json:
    headers = headers_of("Location")
    return {
        **operation("welcome", "documentation", "A way to this page"),
        "responses": {"307": {"description": "The page is at `/docs`.", "headers": headers}},
    }


def _docs_openapi(name: str) -> Json:
    return {
        **operation(name, "documentation", "This contract, for programs"),
        "responses": _shipped(("application/json", {"type": "object"})),
    }


def _docs_file() -> Json:
    return {
        **operation("docsFile", "documentation", "What the page is made of"),
        "parameters": [
            path("name", _TEXT, "swagger-ui.css"),
        ],
        "responses": {**_shipped(("text/css", _TEXT), ("text/javascript", _TEXT)), **refusals(404)},
    }


def _shipped(*contents: tuple[str, Json]) -> Json:
    headers = headers_of("ETag", "Cache-Control", "Content-Security-Policy", "X-Content-Type-Options")
    content = {kind: {"schema": schema} for kind, schema in contents}
    return {
        "200": {"description": "The file.", "headers": headers, "content": content},
        "304": {"description": "Nothing new.", "headers": headers},
    }
