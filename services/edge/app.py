"""Wiring and lifetimes: what the routes work with is opened here, in order, and closed in the reverse order."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any, cast

import msgspec
from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from msgspec import Meta, Struct

from contracts.broker import bus
from contracts.process import log
from contracts.process.settings import Host, NatsCreds, NatsUrl, Network, Port, Seconds, StoreUrl
from contracts.stores import configured
from services.edge.body.bodies import BODIES_BYTES_LIMIT, BODIES_BYTES_MAX, BODIES_BYTES_MIN, Bodies
from services.edge.canary import canary
from services.edge.docs.pages import DOCS
from services.edge.errors import HANDLERS, ErrorBody
from services.edge.http.hosts import HostPattern, is_served
from services.edge.http.origins import AllowedOrigin, shared
from services.edge.image.about import Contact
from services.edge.image.fetch import Outbound
from services.edge.image.normalise import Normaliser
from services.edge.image.url_policy import networks
from services.edge.jobs import Jobs
from services.edge.routes import ROUTES, VIDEOS, Edge
from services.edge.videos import Videos

KEEP_ALIVE_S_MIN, KEEP_ALIVE_S_MAX = 1, 86_400
KEEP_ALIVE_S = 620
"""Of a connection without a request. Longer than balancers keep theirs (nginx and AWS 60 s, Azure 240, Google 600):
otherwise one may send a request into a connection that is being closed. Idle ones make way for new ones (`crowd`)."""
PATH_CHARS_MAX = 120
PROBES = ("/livez", "/readyz")
LAST_ANSWER = (b"connection", b"close")
BODY_HEADERS = (b"content-length", b"transfer-encoding")
ROUTERS = [ROUTES, DOCS]


class Settings(Struct, frozen=True):
    """What an operator sets of an edge."""

    server_host: Host = "0.0.0.0"  # noqa: S104  # the documented default: it serves other machines
    server_port: Port = 8088
    nats_url: NatsUrl = "nats://127.0.0.1:4222"
    nats_creds: NatsCreds = None
    task_retention: Seconds = 1800
    video_store_url: StoreUrl = "generated_videos/"
    scratch_store_url: StoreUrl = "scratch/"
    outbound_allowed_networks: tuple[Network, ...] = ()
    outbound_allowed_ports: tuple[Port, ...] = ()
    outbound_contact: Contact | None = None
    allowed_hosts: tuple[HostPattern, ...] = ("*",)
    allowed_origins: tuple[AllowedOrigin, ...] = ()
    keep_alive: Annotated[float, Meta(ge=KEEP_ALIVE_S_MIN, le=KEEP_ALIVE_S_MAX)] = KEEP_ALIVE_S
    bodies_bytes_max: Annotated[int, Meta(ge=BODIES_BYTES_MIN, le=BODIES_BYTES_LIMIT)] = BODIES_BYTES_MAX


def app(settings: Settings, lost: asyncio.Event, draining: asyncio.Event) -> ASGIApp:
    """The edge. It answers from the start, with 503 until the broker is there; `lost` is set if that is lost for good.

    Once `draining` is set it is not ready, and each answer is the last of its connection.
    """

    @asynccontextmanager
    async def lifetime(litestar: Litestar) -> AsyncGenerator[None, None]:
        allowed = networks(settings.outbound_allowed_networks)
        videos, scratch = (
            configured.video_store(settings.video_store_url),
            configured.scratch_store(settings.scratch_store_url),
        )
        async with (
            bus.connect(settings.nats_url, name="edge", creds=settings.nats_creds, stop=lost, wait=False) as broker,
            canary(broker, uuid.uuid4().hex) as canary_of_this,
            Outbound(
                allowed_networks=allowed,
                allowed_ports=frozenset(settings.outbound_allowed_ports),
                contact=settings.outbound_contact,
            ) as outbound,
        ):
            litestar.state.edge = Edge(
                broker=broker,
                canary=canary_of_this,
                jobs=Jobs(broker, videos, scratch, retention_s=settings.task_retention),
                bodies=Bodies(settings.bodies_bytes_max),
                outbound=outbound,
                normaliser=Normaliser(),
                videos=Videos(videos),
                began=time.monotonic(),
                origins=settings.allowed_origins,
                draining=draining,
            )
            yield

    routes = Litestar(
        route_handlers=ROUTERS,
        dependencies={"edge": Provide(_edge, sync_to_thread=False)},
        exception_handlers=HANDLERS,
        lifespan=[lifetime],
        openapi_config=None,
        logging_config=None,
    )
    served = _only_for(settings.allowed_hosts, shared(settings.allowed_origins, _with_heads(routes)))
    return _traced(served, draining)


def _edge(state: State) -> Edge:
    return state.edge


def _only_for(allowed: tuple[str, ...], inner: ASGIApp) -> ASGIApp:
    """Serve requests for these hosts; probes come by address and are served always."""
    refusal = ASGIResponse(
        body=msgspec.json.encode(ErrorBody("BAD_REQUEST", "this host is not served here")),
        status_code=400,
        media_type="application/json",
    )

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PROBES:
            host = next((value for name, value in scope["headers"] if name == b"host"), b"")
            if not is_served(host.decode("latin-1"), allowed):
                await refusal(scope, receive, send)
                return
        await inner(scope, receive, send)

    return outer


def _with_heads(inner: ASGIApp) -> ASGIApp:
    """Answer HEAD as GET (RFC 9110, 9.3.2). uvicorn, which knows the method from its own scope, leaves the body out."""

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD" and not scope["path"].startswith(VIDEOS):
            scope = cast("Scope", {**scope, "method": "GET"})
        await inner(scope, receive, send)

    return outer


class _Left(BaseException):
    """The client is gone, or cut off, before its body was whole. Nothing of the request is to be done any more.

    No `Exception`, so that it passes every handler on its way out, as a cancellation does.
    """


def _traced(inner: ASGIApp, draining: asyncio.Event) -> ASGIApp:
    """An id in every answer and every log line of a request, and one line a request. No body, no query, no header."""

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return
        log.forget("job_id")  # a pipelined request begins in the context of the one before it
        request_id, began, status = uuid.uuid4().hex, time.monotonic(), 0

        async def send_traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = [(b"x-request-id", request_id.encode()), *([LAST_ANSWER] if draining.is_set() else [])]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        with log.bound(http_request_id=request_id):
            try:
                await inner(scope, _whole(receive, scope), send_traced)
            except (_Left, asyncio.CancelledError) as end:
                if not draining.is_set() and isinstance(end, asyncio.CancelledError):
                    raise
                if draining.is_set():
                    return  # cut off with all others, which are counted in one line
                status = 0
            log.get().info(
                "request_served" if status else "request_left",
                method=scope["method"],
                path=scope["path"][:PATH_CHARS_MAX],
                status=status,
                ms=round(1000 * (time.monotonic() - began), 1),
            )

    return outer


def _whole(receive: Receive, scope: HTTPScope) -> Receive:
    """Receive a body, and raise `_Left` if it ends before it is whole."""
    expected = any(name in BODY_HEADERS and value != b"0" for name, value in scope["headers"])

    async def receive_whole() -> Any:
        nonlocal expected
        message = await receive()
        if message["type"] == "http.disconnect" and expected:
            raise _Left
        expected = expected and message.get("more_body", False)
        return message

    return receive_whole
