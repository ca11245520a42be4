"""The edge's settings, and the ASGI app made of them: routes, middleware, and the lifetime of what the routes use.

`__main__` serves the app. Broker, canary, fetcher and sandbox are opened in order when the app starts, and closed in
the reverse order when it ends.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from litestar import Litestar
from litestar.types import ASGIApp
from msgspec import Meta, Struct

from contracts.broker import bus
from contracts.process import garbage
from contracts.process.left_out import left_out
from contracts.process.settings import Host, NatsCreds, NatsUrl, Network, Port, Seconds, StoreUrl
from contracts.stores import configured
from services.edge.body.bodies import BODIES_BYTES_LIMIT, BODIES_BYTES_MAX, BODIES_BYTES_MIN, Bodies
from services.edge.canary import canary
from services.edge.context import Edge
from services.edge.docs.pages import DOCS
from services.edge.error_handlers import HANDLERS
from services.edge.http.hosts import HostPattern
from services.edge.http.middleware import head_as_get, only_for, traced
from services.edge.http.origins import AllowedOrigin, shared
from services.edge.image.about import Contact
from services.edge.image.late_fetcher import LateFetcher
from services.edge.image.normalise import Normaliser
from services.edge.image.url_policy import networks
from services.edge.jobs import Jobs
from services.edge.probes import PROBES
from services.edge.resources.sandbox import Sandbox
from services.edge.routes import ROUTES
from services.edge.shortcut import with_shortcut
from services.edge.videos import Videos

KEEP_ALIVE_S_MIN, KEEP_ALIVE_S_MAX = 1, 86_400
KEEP_ALIVE_S = 620
"""How long a connection without a request stays open. Longer than balancers keep theirs (nginx and AWS 60 s, Azure 240,
Google 600): otherwise a balancer may send a request into a connection that is being closed. Idle connections make way
for new ones (`crowd`)."""
ROUTERS = [ROUTES, PROBES, DOCS]


class Settings(Struct, frozen=True):
    """Settings of an edge."""

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
    """Return the edge as an ASGI app, which answers from the start, with 503 until the broker is there.

    `lost` is set if the connection to the broker is lost for good. Once `draining` is set, the edge is not ready, and
    each answer is the last of its connection.
    """

    @asynccontextmanager
    async def lifetime(litestar: Litestar) -> AsyncGenerator[None, None]:
        async with _opened(settings, lost, draining) as edge:
            litestar.state.edge = edge
            garbage.freeze()
            yield

    with left_out("pydantic"):  # for a plugin that finds none of its models here
        routes = Litestar(
            route_handlers=ROUTERS,
            exception_handlers=HANDLERS,
            lifespan=[lifetime],
            openapi_config=None,
            logging_config=None,
        )
    direct = with_shortcut(lambda: routes.state.edge, routes)
    served = only_for(settings.allowed_hosts, shared(settings.allowed_origins, head_as_get(direct)))
    return traced(served, draining)


@asynccontextmanager
async def _opened(settings: Settings, lost: asyncio.Event, draining: asyncio.Event) -> AsyncGenerator[Edge, None]:
    """Open what the routes work with, in order, and close it in reverse; `lost` and `draining` are as in `app`."""
    videos = configured.video_store(settings.video_store_url)
    scratch = configured.scratch_store(settings.scratch_store_url)
    async with (
        bus.connect(settings.nats_url, name="edge", creds=settings.nats_creds, stop=lost, wait=False) as broker,
        canary(broker, uuid.uuid4().hex) as canary_of_this,
        LateFetcher(
            allowed_networks=networks(settings.outbound_allowed_networks),
            allowed_ports=frozenset(settings.outbound_allowed_ports),
            contact=settings.outbound_contact,
        ) as fetcher,
        Sandbox() as sandbox,
    ):
        yield Edge(
            broker=broker,
            canary=canary_of_this,
            jobs=Jobs(broker, videos, scratch, retention_s=settings.task_retention),
            bodies=Bodies(sandbox, settings.bodies_bytes_max),
            fetcher=fetcher,
            normaliser=Normaliser(sandbox),
            videos=Videos(videos),
            began=time.monotonic(),
            origins=settings.allowed_origins,
            draining=draining,
        )
