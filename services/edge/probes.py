"""The routes for probes and dashboards: whether the edge lives, whether it is ready, and how the service is."""

import asyncio
from importlib import import_module
from typing import Any

from litestar import Request, Response, Router, get
from msgspec.structs import replace
from nats.js.errors import APIError, NotFoundError

from contracts.broker import Unavailable
from services.edge import health
from services.edge.context import Edge, edge_of
from services.edge.payloads import ErrorBody

HEALTH_WITHIN_S = 5.0
TEXTS = ("text/plain", "application/openmetrics-text")

_Request = Request[Any, Any, Any]


@get("/livez")
async def livez() -> dict[str, str]:
    """Answer 200 for as long as the event loop runs."""
    return {"status": "alive"}


@get("/readyz")
async def readyz(request: _Request) -> Response[Any]:
    """Answer 200 if a submission could be accepted now, otherwise 503 with the reason."""
    if (why := await _why_not_ready(edge_of(request))) is not None:
        return Response(ErrorBody("UNAVAILABLE", why), status_code=503)
    return Response({"status": "ready"})


async def _why_not_ready(edge: Edge) -> str | None:
    """Return why a submission would not be accepted now; None if it would."""
    if edge.draining.is_set():
        return "this edge is stopping"
    if (objection := edge.canary.objection) is not None:
        return objection
    if edge.keys is not None and (objection := edge.keys.objection) is not None:
        return objection
    troubles = await edge.jobs.troubles()
    return "; ".join(trouble.plain for trouble in troubles) or None


async def look(edge: Edge) -> None:
    """Look at whether the edge is ready, for the metrics that are written next."""
    edge.numbers.ready = await _why_not_ready(edge) is None


@get("/health")
async def health_now(request: _Request) -> Response[health.Health]:
    """Answer with the health of the whole service: 503 if it is unhealthy, otherwise 200."""
    seen = await _health(edge_of(request))
    return Response(seen, status_code=503 if seen.status == "unhealthy" else 200)


@get("/metrics")
async def metrics(request: _Request) -> Response[Any]:
    """Answer 200 with the numbers of the service in JSON, or, if `Accept` asks for that, of this edge for Prometheus.

    The former waits for the broker for up to `HEALTH_WITHIN_S`. Without its answer, all numbers but time and uptime are
    0.
    """
    edge, accept = edge_of(request), request.headers.get("accept", "")
    if not any(kind in accept for kind in TEXTS):
        return Response(health.metrics(await _health(edge)))
    exposition = await asyncio.to_thread(import_module, "contracts.process.exposition")
    await look(edge)
    text, kind = exposition.exposed(edge.numbers.metrics, accept)
    # Litestar itself adds the charset to every type that begins with text/.
    return Response(text, media_type=kind if kind.startswith("text/") else f"{kind}; charset=utf-8")


async def _health(edge: Edge) -> health.Health:
    """Return the health of the service, with what this edge asks of whoever sends requests."""
    return replace(await _health_of_service(edge), auth="off" if edge.keys is None else "keys")


async def _health_of_service(edge: Edge) -> health.Health:
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
