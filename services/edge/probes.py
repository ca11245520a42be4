"""The routes for probes and dashboards: whether the edge lives, whether it is ready, and how the service is."""

import asyncio
from typing import Any

from litestar import Request, Response, Router, get
from nats.js.errors import APIError, NotFoundError

from contracts.broker import Unavailable
from services.edge import health
from services.edge.context import Edge, edge_of
from services.edge.payloads import ErrorBody
from services.edge.prometheus import prometheus

HEALTH_WITHIN_S = 5.0

_Request = Request[Any, Any, Any]


@get("/livez")
async def livez() -> dict[str, str]:
    """Answer 200 for as long as the event loop runs."""
    return {"status": "alive"}


@get("/readyz")
async def readyz(request: _Request) -> Response[Any]:
    """Answer 200 if a submission could be accepted now, otherwise 503 with the reason."""
    edge = edge_of(request)
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
async def health_now(request: _Request) -> Response[health.Health]:
    """Answer with the health of the whole service: 503 if it is unhealthy, otherwise 200."""
    seen = await _health(edge_of(request))
    return Response(seen, status_code=503 if seen.status == "unhealthy" else 200)


@get("/metrics")
async def metrics(request: _Request) -> Response[Any]:
    """Answer with the numbers of the service in JSON, or as Prometheus text if `Accept` asks for that."""
    seen = await _health(edge_of(request))
    accept = request.headers.get("accept", "")
    openmetrics = "application/openmetrics-text" in accept
    if openmetrics or "text/plain" in accept:
        # Litestar itself adds the charset to every type that begins with text/.
        kind = (
            "application/openmetrics-text; version=1.0.0; charset=utf-8" if openmetrics else "text/plain; version=0.0.4"
        )
        return Response(prometheus(seen, openmetrics=openmetrics), media_type=kind)
    return Response(health.metrics(seen))


async def _health(edge: Edge) -> health.Health:
    """Return the health of the service; "unhealthy", and no error, if the broker does not answer in `HEALTH_WITHIN_S`.

    A broker that is known to be away is not asked: each question would time out.
    """
    objection = edge.canary.objection
    if objection is not None and (edge.canary.lasting is not None or not edge.broker.connected):
        return health.unhealthy(edge.began, objection)
    try:
        async with asyncio.timeout(HEALTH_WITHIN_S):
            troubles = await edge.jobs.troubles()
            return await health.health(edge.broker, await edge.jobs.clusters(), troubles, edge.began, objection)
    except NotFoundError:
        return health.unhealthy(edge.began, edge.canary.objection or "the broker is not provisioned")
    except (Unavailable, APIError, TimeoutError):
        return health.unhealthy(edge.began, edge.canary.objection or "the broker does not answer in time")


PROBES = Router("/", route_handlers=[livez, readyz, health_now, metrics])
