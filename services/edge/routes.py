"""The HTTP contract: bytes in, types in between, an answer out. What each refusal looks like stands in `errors`."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Request, Response, Router, get, post, route
from litestar.exceptions import HTTPException
from msgspec import Struct
from nats.js.errors import APIError

from contracts.bus import Bus, Unavailable
from contracts.cluster import Objection, objections
from contracts.job import JobId, JobRequest, is_job_id
from contracts.status import JobStatus
from services.edge import health
from services.edge.canary import Canary
from services.edge.errors import Busy, ErrorBody, Gone, NotFound
from services.edge.fetch import Outbound, decode_data_uri
from services.edge.idempotency import key_in
from services.edge.images import Normaliser
from services.edge.jobs import Jobs
from services.edge.submission import Invalid, parse
from services.edge.videos import Videos

SUBMISSION_BYTES_MAX = 30 * 1024 * 1024  # an image of 20 MB as base64, and the fields
SMALL_BODY_BYTES_MAX = 64 * 1024
TURN_WITHIN_S = 30.0
HEALTH_WITHIN_S = 5.0
FOREIGN_SITES = ("cross-site", "same-site")

_Request = Request[Any, Any, Any]
_VIDEO = re.compile(r"([0-9a-f]{32})\.mp4")


@dataclass(frozen=True)
class Edge:
    """What the routes work with. `fetches` bounds the images in hand at once."""

    broker: Bus
    canary: Canary
    jobs: Jobs
    outbound: Outbound
    normaliser: Normaliser
    videos: Videos
    fetches: asyncio.Semaphore
    began: float
    draining: asyncio.Event


class Ask(Struct, frozen=True, forbid_unknown_fields=True, rename={"job_id": "requestId"}):
    """The body of a status or cancel request."""

    job_id: JobId


class Accepted(Struct, frozen=True, rename={"job_id": "requestId"}):
    job_id: str


class Cancelled(Struct, frozen=True):
    status: str = "Cancelled"


@post("/video/submit", status_code=202, request_max_body_size=SUBMISSION_BYTES_MAX)
async def submit(request: _Request, edge: Edge) -> Response[Accepted]:
    asked = parse(await _json_body(request))
    header = request.headers.get("idempotency-key")
    identity = await edge.jobs.identify(None if header is None else key_in(header), asked)
    repeated = await edge.jobs.is_repeat(identity)
    if not repeated:
        if wrong := objections(asked, await edge.jobs.clusters()):
            raise Invalid(wrong)
        repeated = await edge.jobs.submit(asked, await _picture(edge, asked), identity)
    headers = {"Location": f"/video/status/{identity.job_id}"}
    if repeated:
        headers["Idempotent-Replayed"] = "true"
    return Response(Accepted(identity.job_id), status_code=202, headers=headers)


async def _picture(edge: Edge, asked: JobRequest) -> bytes:
    """The image as a clean PNG. The look for room comes after the wait for a turn: no fetch for what is refused."""
    try:
        async with asyncio.timeout(TURN_WITHIN_S):
            await edge.fetches.acquire()
    except TimeoutError as error:
        raise Busy from error
    try:
        await edge.jobs.look_for_room()
        inline = asked.image_url[:5].lower() == "data:"
        data = decode_data_uri(asked.image_url) if inline else await edge.outbound.fetch(asked.image_url)
        return await edge.normaliser.normalise(data)
    finally:
        edge.fetches.release()


@post("/video/status", status_code=200, request_max_body_size=SMALL_BODY_BYTES_MAX)
async def status(request: _Request, edge: Edge) -> JobStatus:
    return await edge.jobs.status(await _asked_id(request))


@get("/video/status/{job_id:str}")
async def status_at(job_id: str, edge: Edge) -> JobStatus:
    if not is_job_id(job_id):
        raise NotFound("no such job")
    return await edge.jobs.status(job_id)


@post("/video/cancel", status_code=200, request_max_body_size=SMALL_BODY_BYTES_MAX)
async def cancel(request: _Request, edge: Edge) -> Cancelled:
    await edge.jobs.cancel(await _asked_id(request))
    return Cancelled()


@route("/videos/{name:str}", http_method=["GET", "HEAD"])
async def video(request: _Request, name: str, edge: Edge) -> Response[Any]:
    if (match := _VIDEO.fullmatch(name)) is None:
        raise NotFound("no such video")
    succeeded = await _succeeded(edge, match[1])
    try:
        return await edge.videos.serve(match[1], method=request.method, headers=dict(request.headers))
    except FileNotFoundError as error:
        raise Gone("the video was removed to make room") if succeeded else NotFound("no such video") from error


async def _succeeded(edge: Edge, job_id: str) -> bool:
    """Whether the job is known to have succeeded. Raises `NotFound` while it is known and has not."""
    known = await edge.jobs.known(job_id)
    if known is None:
        return False  # longer ago than the log goes back; the video may still be there
    if known.status != "Succeed":
        raise NotFound("this job has no video")
    return True


@get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "alive"}


@get("/readyz")
async def readyz(edge: Edge) -> Response[Any]:
    """Whether a submission could be accepted now."""
    if edge.draining.is_set():
        return _not_ready("this edge is stopping")
    if (objection := edge.canary.objection) is not None:
        return _not_ready(objection)
    if not await edge.jobs.storable():
        return _not_ready("a store is full or cannot be written to")
    return Response({"status": "ready"})


def _not_ready(why: str) -> Response[Any]:
    return Response(ErrorBody("UNAVAILABLE", why), status_code=503)


@get("/health")
async def health_now(edge: Edge) -> Response[health.Health]:
    seen = await _health(edge)
    return Response(seen, status_code=503 if seen.status == "unhealthy" else 200)


@get("/metrics")
async def metrics(request: _Request, edge: Edge) -> Response[Any]:
    """JSON, or Prometheus text where `Accept` asks for it."""
    seen = await _health(edge)
    accept = request.headers.get("accept", "")
    openmetrics = "application/openmetrics-text" in accept
    if openmetrics or "text/plain" in accept:
        kind = "application/openmetrics-text; version=1.0.0" if openmetrics else "text/plain; version=0.0.4"
        body = health.prometheus(seen, openmetrics=openmetrics)
        return Response(body, media_type=f"{kind}; charset=utf-8")
    return Response(health.metrics(seen))


async def _health(edge: Edge) -> health.Health:
    try:
        async with asyncio.timeout(HEALTH_WITHIN_S):
            return await health.health(edge.broker, await edge.jobs.clusters(), edge.began)
    except (Unavailable, APIError, TimeoutError):
        return health.unhealthy(edge.began)


async def _asked_id(request: _Request) -> str:
    try:
        return msgspec.json.decode(await _json_body(request), type=Ask).job_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = 'the body must be {"requestId": "<32 lower-case hex characters>"}'
        raise Invalid([Objection("requestId", what)]) from error


async def _json_body(request: _Request) -> bytes:
    """The body, of a request that a foreign web page cannot have made behind its user's back."""
    if request.headers.get("sec-fetch-site") in FOREIGN_SITES:
        raise HTTPException(status_code=403, detail="requests from other sites are not taken")
    kind, parameters = request.content_type
    if kind != "application/json" or parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise HTTPException(status_code=415, detail="the content type must be application/json, in UTF-8")
    return await request.body()


ROUTES = Router("/", route_handlers=[submit, status, status_at, cancel, video, livez, readyz, health_now, metrics])
