"""The routes for jobs and videos: bytes become types, one object of `Edge` does the work, and the result is an answer.

An exception becomes its answer in `error_handlers`. The routes for probes are in `probes`, the documentation's in
`docs`.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response, Router, get, post, route

from contracts import json_body
from contracts.cluster import Objection
from contracts.job import is_job_id
from contracts.json_body import NotJson
from contracts.process import log
from contracts.status import JobStatus
from contracts.webhook import WebhookDelivery
from services.edge.auth.caller import caller_of
from services.edge.body.bodies import SUBMISSION_BYTES_MAX, Content
from services.edge.body.dialect import JOBS
from services.edge.body.unknown_fields import ECHO_CHARS_MAX
from services.edge.context import Edge, edge_of
from services.edge.errors import Gone, Invalid, NotFound
from services.edge.http.middleware import VIDEOS
from services.edge.http.sender import boundary_of_form, check_sender_and_form
from services.edge.live.long_poll import changed_status
from services.edge.live.query import wait_in
from services.edge.payloads import SMALL_BODY_BYTES_MAX, Accepted, Ask, Cancelled
from services.edge.submit import accept_submission

AN_ID = "a job's id is 32 lower-case hex characters, as the submission was answered with"

T = TypeVar("T")
_Request = Request[Any, Any, Any]
_VIDEO = re.compile(r"([0-9a-f]{32})\.mp4")


@post("/video/submit", status_code=202, request_max_body_size=SUBMISSION_BYTES_MAX)
async def submit(request: _Request) -> Response[Accepted]:
    """Accept a job, and answer 202 with its id, and `Idempotent-Replayed` if its key made the job before.

    The body is JSON or a form. Raises what `boundary_of_form` and `accept_submission` raise.
    """
    edge = edge_of(request)
    content = Content(request.stream(), JOBS, boundary_of_form(request, edge.origins))
    receipt = await accept_submission(edge, content, caller_of(request.scope), request.headers.get("idempotency-key"))
    headers = {"Location": f"/video/status/{receipt.job_id}"}
    if receipt.is_replay:
        headers["Idempotent-Replayed"] = "true"
    return Response(Accepted(receipt.job_id), status_code=202, headers=headers)


@post("/video/status", status_code=200, request_max_body_size=SMALL_BODY_BYTES_MAX)
async def status(request: _Request) -> JobStatus:
    """Answer with the status of the job that the body names. Raises `Invalid` or `NotFound`."""
    return await edge_of(request).jobs.status(await _checked_job_id(request))


@get("/video/status/{job_id:str}")
async def status_at(request: _Request, job_id: str) -> JobStatus:
    """Answer with the status of the job that the path names, if the query has a `wait` once the status changes.

    Raises `Invalid`, `NotFound`, or `Overloaded` if too many wait.
    """
    edge = edge_of(request)
    wait_s = _checked_wait(request, job_id)
    log.bind(job_id=job_id)
    if wait_s:
        return await changed_status(edge.jobs, edge.follower.hub, job_id, wait_s, request.receive)
    return await edge.jobs.status(job_id)


def _checked_wait(request: _Request, job_id: str) -> float:
    """Return the seconds that a request for a status asks to wait. Raises `Invalid` for a faulty id or `wait`."""
    wrong = objections_to(job_id)
    try:
        wait_s = wait_in(request.scope["query_string"])
    except Invalid as invalid:
        raise Invalid([*wrong, *invalid.objections]) from invalid
    if wrong:
        raise Invalid(wrong)
    return wait_s


def objections_to(job_id: str) -> list[Objection]:
    """Return the objection to the id in a path that is no job's id; an empty list if it is one."""
    return [] if is_job_id(job_id) else [Objection("id", f"id was {job_id[:ECHO_CHARS_MAX]}; {AN_ID}")]


@get("/video/webhooks/{job_id:str}")
async def webhook_at(request: _Request, job_id: str) -> WebhookDelivery:
    """Answer with what was tried and answered of a job's webhook. Raises `Invalid` or `NotFound`."""
    if wrong := objections_to(job_id):
        raise Invalid(wrong)
    log.bind(job_id=job_id)
    return await edge_of(request).webhooks.delivery(job_id)


@post("/video/cancel", status_code=200, request_max_body_size=SMALL_BODY_BYTES_MAX)
async def cancel(request: _Request) -> Cancelled:
    """Cancel the job that the body names, for good. Raises `Invalid`, `NotFound` or `AlreadyFinished`."""
    await edge_of(request).jobs.cancel(await _checked_job_id(request))
    return Cancelled()


@route(VIDEOS + "{name:str}", http_method=["GET", "HEAD"])
async def video(request: _Request, name: str) -> Response[Any]:
    """Answer with a job's video, or a part of it; `name` is the job's id and `.mp4`.

    Raises `NotFound`, `Gone` for the removed video of a job that succeeded, or `Damaged` or `NoSuchPart`.
    """
    if (match := _VIDEO.fullmatch(name)) is None:
        raise NotFound("no such video")
    return await video_answer(edge_of(request), match[1], method=request.method, headers=dict(request.headers))


async def video_answer(edge: Edge, job_id: str, *, method: str, headers: dict[str, str]) -> Response[Any]:
    """Return the answer with a job's video, as `Videos.answer` does. Raises what `video` raises."""
    return await _of_video(edge, job_id, lambda: edge.videos.answer(job_id, method=method, headers=headers))


async def piece_of_video(edge: Edge, job_id: str, part: range) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a 206, as `Videos.piece` does. Raises what `video` raises, and `OSError`."""
    return await _of_video(edge, job_id, lambda: edge.videos.piece(job_id, part))


async def _of_video(edge: Edge, job_id: str, answer: Callable[[], Awaitable[T]]) -> T:
    """Return the answer with a job's video. Raises what `video` raises if the job has none."""
    log.bind(job_id=job_id)
    succeeded = await _succeeded(edge, job_id)
    try:
        return await answer()
    except FileNotFoundError as error:
        raise Gone("the video was removed to make room") if succeeded else NotFound("no such video") from error


async def _succeeded(edge: Edge, job_id: str) -> bool:
    """Return whether the job is known to have succeeded. Raises `NotFound` if it is known and has not.

    False for a job that the log has forgotten: its video may still be there.
    """
    known = await edge.jobs.status_or_none(job_id)
    if known is None:
        return False
    if known.status != "Succeed":
        raise NotFound("this job has no video")
    return True


async def _checked_job_id(request: _Request) -> str:
    """Check who sent a status or cancel request, and return the id in its body, which the log lines then carry.

    Raises `Invalid`, what `check_sender_and_form` raises, and what `Owners.check` raises.
    """
    edge = edge_of(request)
    check_sender_and_form(request, edge.origins)
    body = await request.body()
    try:
        asked, _ = json_body.decode(body, Ask)
    except NotJson as error:
        raise Invalid([Objection("body", str(error))]) from error
    except msgspec.ValidationError as error:
        what = f'the body must be {{"requestId": "<id>"}}; {AN_ID}'
        raise Invalid([Objection("requestId", what)]) from error
    log.bind(job_id=asked.job_id)
    await edge.owners.check(caller_of(request.scope), asked.job_id)
    return asked.job_id


ROUTES = Router("/", route_handlers=[submit, status, status_at, cancel, webhook_at, video])
