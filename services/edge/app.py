"""The edge's settings, and the ASGI app made of them: routes, middleware, and the lifetime of what the routes use.

`__main__` serves the app. Broker, canary, hub of live events, fetcher and sandbox are opened in order when the app
starts, and closed in the reverse order when it ends.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from socket import socket

from litestar import Litestar
from litestar.types import ASGIApp

from contracts.broker import Service, bus
from contracts.outbound.url_policy import Network as IpNetwork
from contracts.outbound.url_policy import UrlPolicy, networks
from contracts.process import garbage, metrics_port
from contracts.process.left_out import left_out
from contracts.stores import configured
from services.edge.answers import HANDLERS, refusal
from services.edge.auth.gate import Guards, with_address_limit, with_keys
from services.edge.auth.keys import Keys, watched
from services.edge.auth.owners import Owners
from services.edge.auth.proxies import with_client_addresses
from services.edge.body.bodies import Bodies
from services.edge.canary import canary
from services.edge.context import Edge
from services.edge.deletions_heard import hearing_deletions
from services.edge.docs.pages import DOCS
from services.edge.http.crowd import CONNECTIONS_MAX
from services.edge.http.figures import by_group
from services.edge.http.methods import head_as_get, with_allow
from services.edge.http.middleware import only_for_hosts, traced
from services.edge.http.origins import with_cors
from services.edge.http.security_headers import hardened
from services.edge.http.spans import with_spans
from services.edge.identities import Identities
from services.edge.image.late_fetcher import LateFetcher
from services.edge.image.normalise import Normaliser
from services.edge.jobs import Jobs
from services.edge.live.follow import Follower
from services.edge.live.hub import Hub, running
from services.edge.live.readers import readers_for
from services.edge.live.viewers import Viewers
from services.edge.live.web_socket import with_web_sockets
from services.edge.live_routes import LIVE
from services.edge.numbers import EdgeNumbers
from services.edge.probes import PROBES, look
from services.edge.resources.sandbox import Sandbox
from services.edge.routes import ROUTES
from services.edge.settings import Settings
from services.edge.shortcut import with_shortcut
from services.edge.v1.errors import in_dialect
from services.edge.v1.routes import VIDEOS_V1
from services.edge.videos import Videos
from services.edge.views import Views
from services.edge.webhooks import Webhooks

ROUTERS = [ROUTES, LIVE, VIDEOS_V1, PROBES, DOCS]


def app(
    settings: Settings,
    lost: asyncio.Event,
    draining: asyncio.Event,
    numbers: EdgeNumbers,
    scrapes: list[socket],
    *,
    connections_max: int = CONNECTIONS_MAX,
) -> ASGIApp:
    """Return the edge as an ASGI app, which answers from the start, with 503 until the broker is there.

    `numbers` are served on the sockets `scrapes` too. `lost` is set if the connection to the broker is lost for good.
    Once `draining` is set, the edge is not ready, streams of events end, and each answer is the last of its connection.
    `connections_max` is how many there may be.
    """
    readers_max = readers_for(connections_max)

    @asynccontextmanager
    async def lifetime(litestar: Litestar) -> AsyncGenerator[None, None]:
        async with (
            _opened(settings, lost, draining, numbers, readers_max) as edge,
            metrics_port.serving(scrapes, numbers.metrics, partial(look, edge)),
        ):
            numbers.add_broker(edge.broker)
            litestar.state.edge = edge
            garbage.freeze()
            yield

    with left_out("pydantic"):  # for a plugin that finds none of its models here
        routes = Litestar(
            route_handlers=ROUTERS,
            exception_handlers={kind: in_dialect(handler) for kind, handler in HANDLERS.items()},
            lifespan=[lifetime],
            openapi_config=None,
            logging_config=None,
        )
    return _around(routes, settings, draining, numbers)


def _around(routes: Litestar, settings: Settings, draining: asyncio.Event, numbers: EdgeNumbers) -> ASGIApp:
    """Return the routes with everything before them, from the client's address and the log line inwards."""
    short = with_shortcut(lambda: routes.state.edge, with_allow(routes))
    direct = with_web_sockets(lambda: routes.state.edge.follower, settings.allowed_origins, refusal, short)
    served = only_for_hosts(settings.allowed_hosts, _gated(settings, routes, direct))
    counted = traced(hardened(served, settings.allowed_origins), draining, numbers)
    return with_client_addresses(settings.trusted_proxies, with_spans(counted))


def _gated(settings: Settings, routes: Litestar, inner: ASGIApp) -> ASGIApp:
    """Return the app behind the gate that the settings ask for, with HEAD answered, for pages of allowed origins."""
    if settings.auth == "off":
        gated = with_address_limit(settings.address_submissions_a_minute, refusal, inner)
    else:
        guards = lambda: Guards(routes.state.edge.keys, routes.state.edge.owners)  # noqa: E731  # as those of `app`
        gated = with_keys(guards, settings.tenant_submissions_a_minute, refusal, inner)
    return with_cors(settings.allowed_origins, head_as_get(gated))


@asynccontextmanager
async def _opened(
    settings: Settings, lost: asyncio.Event, draining: asyncio.Event, numbers: EdgeNumbers, readers_max: int
) -> AsyncGenerator[Edge, None]:
    """Open what the routes work with, in order, and close it in reverse. `readers_max` bounds those of live events."""
    instance = uuid.uuid4().hex
    videos = configured.video_store(settings.video_store_url)
    scratch = configured.scratch_store(settings.scratch_store_url)
    async with (
        bus.connect(settings.nats_url, name="edge", **settings.shown("edge"), stop=lost, wait=False) as broker,
        broker.announced(_service(settings, instance, numbers)),
        canary(broker, instance) as canary_of_this,
        running(Hub(broker, draining, readers_max=readers_max)) as hub,
        watched(Keys(broker) if settings.auth == "keys" else None) as keys,
        _fetcher(settings) as fetcher,
        Sandbox() as sandbox,
    ):
        jobs = Jobs(broker, videos, scratch, retention_s=settings.task_retention)
        views, owners = Views(jobs), Owners(broker, videos)
        async with hearing_deletions(broker, views.forget):
            yield Edge(
                broker=broker,
                canary=canary_of_this,
                identities=Identities(broker),
                jobs=jobs,
                follower=Follower(broker, hub, jobs, Viewers(owners, show_all=settings.show_all_jobs)),
                bodies=Bodies(sandbox, settings.bodies_bytes_max),
                fetcher=fetcher,
                normaliser=Normaliser(sandbox),
                views=views,
                videos=Videos(videos),
                keys=keys,
                owners=owners,
                webhooks=Webhooks(broker, jobs.log, UrlPolicy(*_allowed(settings))),
                inputs=scratch,
                numbers=numbers,
                began=time.monotonic(),
                origins=settings.allowed_origins,
                jobs_max=settings.tenant_jobs_max or None,
                draining=draining,
            )


def _allowed(settings: Settings) -> tuple[tuple[IpNetwork, ...], frozenset[int]]:
    """Return the private networks and the further ports to which an operator allows connections."""
    return networks(settings.outbound_allowed_networks), frozenset(settings.outbound_allowed_ports)


def _fetcher(settings: Settings) -> LateFetcher:
    """Return the fetcher of images, not opened yet."""
    allowed_networks, allowed_ports = _allowed(settings)
    return LateFetcher(
        allowed_networks=allowed_networks, allowed_ports=allowed_ports, contact=settings.outbound_contact
    )


def _service(settings: Settings, instance: str, numbers: EdgeNumbers) -> Service:
    """Return this edge as the CLI of NATS is to show it."""
    return Service(
        name="edge",
        description="WanJet's HTTP side: submissions, statuses, cancellations, videos",
        metadata={"instance": instance, "address": f"{settings.server_host}:{settings.server_port}"},
        figures=partial(by_group, numbers),
    )
