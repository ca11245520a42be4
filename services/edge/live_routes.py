"""The routes of live events: Server-Sent Events of one job and of all, and the plain answer where a WebSocket is.

The handlers check the request and return the answer, which is an ASGI app and lasts as long as the stream.
"""

from typing import Any

from litestar import Request, Response, Router, get, route
from litestar.types import ASGIApp

from contracts.process import log
from services.edge.auth.caller import caller_of
from services.edge.context import edge_of
from services.edge.errors import Invalid
from services.edge.http.middleware import EVENTS
from services.edge.http.sender import check_sender
from services.edge.live.query import LAST_EVENT_ID, after_in
from services.edge.live.sse import EventStream
from services.edge.payloads import ErrorBody
from services.edge.routes import objections_to

_Request = Request[Any, Any, Any]
UPGRADE = "this path is for WebSockets; /video/events/{id} has the same events for every other client"


@route(EVENTS, http_method=["GET", "HEAD"])
async def events(request: _Request) -> ASGIApp:
    """Answer with the events of all jobs that the caller may see.

    Raises what `check_sender`, `Follower.viewer` and `EventStream` raise.
    """
    edge = edge_of(request)
    check_sender(request.headers, edge.origins)
    viewer = edge.follower.viewer(caller_of(request.scope))
    return EventStream(edge.follower, None, after=_after(request), viewer=viewer)


@route(EVENTS + "/{job_id:str}", http_method=["GET", "HEAD"])
async def events_of_job(request: _Request, job_id: str) -> ASGIApp:
    """Answer with the events of the job that the path names. Raises what `check_sender` and `EventStream` raise."""
    edge = edge_of(request)
    check_sender(request.headers, edge.origins)
    if wrong := objections_to(job_id):
        raise Invalid(wrong)
    log.bind(job_id=job_id)
    return EventStream(edge.follower, job_id, after=_after(request))


def _after(request: _Request) -> int | None:
    """Return the last event that the client has had, None if it names none. Raises `Invalid`."""
    return after_in(request.headers.get(LAST_EVENT_ID.lower()), request.scope["query_string"])


@get("/video/ws/{job_id:str}")
async def socket_of_job(job_id: str) -> Response[ErrorBody]:  # noqa: ARG001  # any path below leads here
    """Answer 426 to a request that asks for no WebSocket; one that does never comes as far as the routes."""
    body = ErrorBody("UPGRADE_REQUIRED", UPGRADE)
    return Response(body, status_code=426, headers={"Upgrade": "websocket", "Connection": "Upgrade"})


LIVE = Router("/", route_handlers=[events, events_of_job, socket_of_job])
