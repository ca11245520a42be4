"""The routes of `/v1/videos` and `/v1/models`: the wire form of the `openai` package, over the use cases of `/video/…`.

An exception becomes its answer in `error_handlers`, in this dialect's form.
"""

from typing import Any

import msgspec
from litestar import Request, Response, Router, delete, get, post, route

from contracts import json_body
from contracts.cluster import Objection
from contracts.json_body import NotJson
from contracts.process import log
from contracts.prompt import ANY_PROMPT_RULE, Prompt
from contracts.video_files import VARIANTS
from services.edge.auth.caller import caller_of
from services.edge.body.bodies import SUBMISSION_BYTES_MAX, Content
from services.edge.body.dialect import VIDEOS
from services.edge.context import edge_of
from services.edge.errors import Invalid, NotFound
from services.edge.http.sender import boundary_of_form, check_sender, check_sender_and_form
from services.edge.identities import Attempt
from services.edge.payloads import SMALL_BODY_BYTES_MAX
from services.edge.routes import video_answer
from services.edge.submit import Receipt, accept_submission
from services.edge.v1.listing import Deleted, Videos, once, query_of
from services.edge.v1.models import Model, Models, models_of
from services.edge.v1.remix import RemixBody, remix
from services.edge.v1.video import Video, job_id_of, video_of

POLL_AFTER = {"openai-poll-after-ms": "1000"}
"""The header by which clients learn how often to ask."""
RETRY_COUNT = "x-stainless-retry-count"
"""The header in which the `openai` package counts its tries, from 0."""
VIDEO = "video"
"""The variant that is the video itself."""

_Request = Request[Any, Any, Any]


@post("/videos", status_code=200, request_max_body_size=SUBMISSION_BYTES_MAX)
async def create(request: _Request) -> Response[Video]:
    """Accept a job, in JSON or a form, and answer 200 with its video object.

    Raises what `boundary_of_form` and `accept_submission` raise.
    """
    edge = edge_of(request)
    content = Content(request.stream(), VIDEOS, boundary_of_form(request, edge.origins))
    key = request.headers.get("idempotency-key")
    caller = caller_of(request.scope)
    return await _accepted(request, await accept_submission(edge, content, caller, key, attempt=_attempt(request)))


@post("/videos/{video_id:str}/remix", status_code=200, request_max_body_size=SMALL_BODY_BYTES_MAX)
async def remixed(request: _Request, video_id: str) -> Response[Video]:
    """Accept a job of a finished one's picture with another prompt. Raises what `remix` raises."""
    edge = edge_of(request)
    check_sender_and_form(request, edge.origins)
    job_id, body = job_id_of(video_id), await request.body()
    try:
        asked, _ = json_body.decode(body, RemixBody)
        prompt = msgspec.convert(asked.prompt.strip(), Prompt)
    except NotJson as error:
        raise Invalid([Objection("body", str(error))]) from error
    except msgspec.ValidationError as error:
        raise Invalid([Objection("prompt", f'the body must be {{"prompt": …}} with {ANY_PROMPT_RULE}')]) from error
    key = request.headers.get("idempotency-key")
    return await _accepted(
        request, await remix(edge, job_id, prompt, caller_of(request.scope), key, attempt=_attempt(request))
    )


@get("/videos")
async def listed(request: _Request) -> Videos:
    """Answer with a page of the list of videos. Raises `Invalid`, or `NotFound` if `after` is no video of it."""
    query, edge = query_of(once(request.query_params.multi_items())), edge_of(request)
    views, has_more = await edge.views.page(
        tenant=caller_of(request.scope).only_tenant,
        limit=query.limit,
        after=query.after,
        order=query.order,
        states=query.states,
    )
    clusters = await edge.views.clusters()
    data = [video_of(view, clusters) for view in views]
    return Videos(
        data=data, first_id=data[0].id if data else None, last_id=data[-1].id if data else None, has_more=has_more
    )


@delete("/videos/{video_id:str}", status_code=200)
async def deleted(request: _Request, video_id: str) -> Deleted:
    """Delete a job with its video, for good, whether it waits, runs or has ended. Raises `NotFound`."""
    edge = edge_of(request)
    check_sender(request.headers, edge.origins)
    job_id = job_id_of(video_id)
    log.bind(job_id=job_id)
    await edge.jobs.delete(job_id)
    edge.views.forget(job_id)
    return Deleted(id=video_id)


@get("/videos/{video_id:str}")
async def retrieve(request: _Request, video_id: str) -> Response[Video]:
    """Answer with a video object, also of a job that failed: 200. Raises `NotFound`."""
    job_id = job_id_of(video_id)
    log.bind(job_id=job_id)
    return Response(await _video(request, job_id), headers=POLL_AFTER)


@route("/videos/{video_id:str}/content", http_method=["GET", "HEAD"])
async def content(request: _Request, video_id: str) -> Response[Any]:
    """Answer with the file of a video: the mp4, or the picture of it that the query's `variant` names.

    Raises `NotFound` if it is not there yet or never will be, and what `video_answer` raises.
    """
    job_id, edge = job_id_of(video_id), edge_of(request)
    log.bind(job_id=job_id)
    variant = once(request.query_params.multi_items()).get("variant", VIDEO)
    if variant not in (VIDEO, *VARIANTS):
        raise Invalid([Objection("variant", f"variant may be {', '.join(VARIANTS)} or {VIDEO}")])
    status = (await edge.views.view(job_id)).status
    if not status.ended:
        raise NotFound("the video is not ready yet; ask for its status", "NOT_READY")
    if status.status != "Succeed":
        raise NotFound("this job has ended without a video", "NO_VIDEO")
    headers = dict(request.headers)
    if variant == VIDEO:
        return await video_answer(edge, job_id, method=request.method, headers=headers)
    try:
        return await edge.videos.picture_answer(job_id, variant, method=request.method, headers=headers)
    except FileNotFoundError as error:
        raise NotFound(f"this video has no {variant}") from error


@get("/models")
async def models(request: _Request) -> Models:
    """Answer with the models that live clusters serve."""
    return Models(data=models_of(await edge_of(request).views.clusters()))


@get("/models/{name:path}")
async def model(request: _Request, name: str) -> Model:
    """Answer with one of the models. Raises `NotFound`."""
    wanted = str(name).removeprefix("/")
    for one in models_of(await edge_of(request).views.clusters()):
        if one.id == wanted:
            return one
    raise NotFound("no live cluster serves this model", "MODEL_NOT_FOUND")


async def _accepted(request: _Request, receipt: Receipt) -> Response[Video]:
    """Return the answer to a job that was accepted, now or by an earlier try."""
    headers = {**POLL_AFTER, **({"Idempotent-Replayed": "true"} if receipt.is_replay else {})}
    return Response(await _video(request, receipt.job_id), status_code=200, headers=headers)


async def _video(request: _Request, job_id: str) -> Video:
    """Return a job as a video object. Raises `NotFound`."""
    views = edge_of(request).views
    return video_of(await views.view(job_id), await views.clusters())


def _attempt(request: _Request) -> Attempt:
    """Return which try of which caller a request is.

    A key tells by its tenant; where none is asked for, the credentials tell callers apart, as far as they have any.
    """
    count = request.headers.get(RETRY_COUNT, "0")
    is_repeat = count.isdigit() and count.strip("0") != ""
    caller = caller_of(request.scope)
    who = request.headers.get("authorization", "") if caller.key_id is None else f"tenant {caller.tenant}"
    return Attempt(caller=who, is_repeat=is_repeat)


VIDEOS_V1 = Router("/v1", route_handlers=[create, remixed, listed, retrieve, deleted, content, models, model])
