"""The HTTP contract: bytes in, types in between, an answer out. What each refusal looks like stands in `errors`."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from mmap import mmap
from typing import Any

import msgspec
from litestar import Request, Response, Router, get, post, route
from litestar.exceptions import HTTPException
from msgspec import Struct
from msgspec.structs import replace
from nats.js.errors import APIError, NotFoundError

from contracts import json_body
from contracts.broker import Bus, Unavailable
from contracts.cluster import ClusterStatus, Objection, objections, size_for_all
from contracts.job import AUTO, JobId, JobRequest, is_job_id
from contracts.json_body import NotJson
from contracts.process import log
from contracts.status import JobStatus
from services.edge import health
from services.edge.body.bodies import SUBMISSION_BYTES_MAX, Bodies, Submission
from services.edge.body.idempotency import key_in
from services.edge.body.submission import ECHO_CHARS_MAX
from services.edge.canary import Canary
from services.edge.errors import ErrorBody, Gone, Invalid, NotFound
from services.edge.http.origins import is_allowed
from services.edge.image.data_uri import is_inline
from services.edge.image.fetch import Outbound
from services.edge.image.normalise import Normaliser, png_size
from services.edge.jobs import Jobs
from services.edge.videos import Videos

SMALL_BODY_BYTES_MAX = 64 * 1024
HEALTH_WITHIN_S = 5.0
IDENTITY = "identity"
"""The coding of a body that has none."""
AN_ID = "a job's id is 32 lower-case hex characters, as the submission was answered with"
FOREIGN_SITES = ("cross-site", "same-site")
VIDEOS = "/videos/"
"""Whose routes answer HEAD by themselves, without a look into the file."""

_Request = Request[Any, Any, Any]
_VIDEO = re.compile(r"([0-9a-f]{32})\.mp4")


@dataclass(frozen=True)
class Edge:
    """What the routes work with."""

    broker: Bus
    canary: Canary
    jobs: Jobs
    bodies: Bodies
    outbound: Outbound
    normaliser: Normaliser
    videos: Videos
    began: float
    origins: tuple[str, ...]
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
    _check_sender(request, edge.origins)
    with edge.bodies.spool() as body, edge.bodies.spool() as text:
        asked = await edge.bodies.read(request.stream(), body, text)
        header = request.headers.get("idempotency-key")
        key = None if header is None else key_in(header)
        identity = await edge.jobs.identify(key, asked.request, asked.inline)
        log.note(job_id=identity.job_id)
        repeated = await edge.jobs.is_repeat(identity)
        if not repeated:
            clusters = await edge.jobs.clusters()
            if wrong := objections(asked.request, clusters):
                raise Invalid(wrong)
            async with _picture(edge, asked) as png:
                repeated = await edge.jobs.submit(_sized(asked.request, clusters, png), png, identity)
    headers = {"Location": f"/video/status/{identity.job_id}"}
    if repeated:
        headers["Idempotent-Replayed"] = "true"
    return Response(Accepted(identity.job_id), status_code=202, headers=headers)


def _sized(asked: JobRequest, clusters: list[ClusterStatus], png: mmap) -> JobRequest:
    """Return the request with the size that `auto` means for its picture, if all clusters would mean the same."""
    size = size_for_all(clusters, *png_size(png)) if asked.image_size == AUTO else None
    return asked if size is None else replace(asked, image_size=size)


@asynccontextmanager
async def _picture(edge: Edge, asked: Submission) -> AsyncGenerator[mmap, None]:
    """The image as a clean PNG. No fetch for what is refused: the look for room comes right before it."""
    with edge.bodies.spool() as source, edge.bodies.spool() as png:
        url, picture = asked.request.image_url, asked.inline or source
        if is_inline(url):
            await edge.jobs.look_for_room()
            if asked.inline is None:
                await picture.add(url.encode())
        else:
            await edge.outbound.fetch(url, picture, edge.jobs.look_for_room)
        await edge.normaliser.normalise(picture, png, is_inline=is_inline(url))
        picture.close()
        async with edge.bodies.memory.claim(png.size_bytes):
            with png.mapped() as pixels:
                yield pixels


@post("/video/status", status_code=200, request_max_body_size=SMALL_BODY_BYTES_MAX)
async def status(request: _Request, edge: Edge) -> JobStatus:
    return await edge.jobs.status(await _asked_id(request, edge))


@get("/video/status/{job_id:str}")
async def status_at(job_id: str, edge: Edge) -> JobStatus:
    if not is_job_id(job_id):
        raise Invalid([Objection("id", f"id was {job_id[:ECHO_CHARS_MAX]}; {AN_ID}")])
    log.note(job_id=job_id)
    return await edge.jobs.status(job_id)


@post("/video/cancel", status_code=200, request_max_body_size=SMALL_BODY_BYTES_MAX)
async def cancel(request: _Request, edge: Edge) -> Cancelled:
    await edge.jobs.cancel(await _asked_id(request, edge))
    return Cancelled()


@route(VIDEOS + "{name:str}", http_method=["GET", "HEAD"])
async def video(request: _Request, name: str, edge: Edge) -> Response[Any]:
    if (match := _VIDEO.fullmatch(name)) is None:
        raise NotFound("no such video")
    log.note(job_id=match[1])
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
    if troubles := await edge.jobs.troubles():
        return _not_ready("; ".join(trouble.plain for trouble in troubles))
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
        # To what begins with text/ Litestar itself adds the charset.
        kind = (
            "application/openmetrics-text; version=1.0.0; charset=utf-8" if openmetrics else "text/plain; version=0.0.4"
        )
        return Response(health.prometheus(seen, openmetrics=openmetrics), media_type=kind)
    return Response(health.metrics(seen))


async def _health(edge: Edge) -> health.Health:
    objection = edge.canary.objection
    if objection is not None and (edge.canary.lasting is not None or not edge.broker.connected):
        return health.unhealthy(edge.began, objection)  # what it would be asked for would only time out
    try:
        async with asyncio.timeout(HEALTH_WITHIN_S):
            troubles = await edge.jobs.troubles()
            return await health.health(edge.broker, await edge.jobs.clusters(), troubles, edge.began, objection)
    except NotFoundError:
        return health.unhealthy(edge.began, edge.canary.objection or "the broker is not provisioned")
    except (Unavailable, APIError, TimeoutError):
        return health.unhealthy(edge.began, edge.canary.objection or "the broker does not answer in time")


async def _asked_id(request: _Request, edge: Edge) -> str:
    _check_sender(request, edge.origins)
    body = await request.body()
    try:
        asked, _ = json_body.decode(body, Ask)
    except NotJson as error:
        raise Invalid([Objection("body", str(error))]) from error
    except msgspec.ValidationError as error:
        what = f'the body must be {{"requestId": "<id>"}}; {AN_ID}'
        raise Invalid([Objection("requestId", what)]) from error
    log.note(job_id=asked.job_id)
    return asked.job_id


def _check_sender(request: _Request, origins: tuple[str, ...]) -> None:
    """Refuse what is no JSON, or what a foreign web page can have made behind its user's back (CSRF)."""
    is_foreign = request.headers.get("sec-fetch-site") in FOREIGN_SITES
    if is_foreign and not is_allowed(request.headers.get("origin", ""), origins):
        raise HTTPException(status_code=403, detail="requests from other sites are not taken")
    kind, parameters = request.content_type
    if kind != "application/json" or parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise HTTPException(status_code=415, detail="the content type must be application/json, in UTF-8")
    coding = request.headers.get("content-encoding", IDENTITY).strip().lower()
    if coding not in ("", IDENTITY):
        detail = f"a body with Content-Encoding {coding[:ECHO_CHARS_MAX]} is not taken; send it as it is"
        raise HTTPException(status_code=415, detail=detail, headers={"Accept-Encoding": IDENTITY})


ROUTES = Router("/", route_handlers=[submit, status, status_at, cancel, video, livez, readyz, health_now, metrics])
