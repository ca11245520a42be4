"""The objects that the routes work with. `app` makes one `Edge` for the process and hands it to every route."""

import asyncio
from dataclasses import dataclass
from typing import Any

from litestar import Request

from contracts.broker import Bus
from services.edge.body.bodies import Bodies
from services.edge.canary import Canary
from services.edge.image.late_fetcher import LateFetcher
from services.edge.image.normalise import Normaliser
from services.edge.jobs import Jobs
from services.edge.videos import Videos


@dataclass(frozen=True)
class Edge:
    """The parts that the routes of an edge work with, all open for as long as the app's lifetime lasts.

    `began` is the start of the edge by the monotonic clock, in seconds. `origins` are the foreign origins whose pages
    may send requests. `draining` is set once the edge is stopping.
    """

    broker: Bus
    canary: Canary
    jobs: Jobs
    bodies: Bodies
    fetcher: LateFetcher
    normaliser: Normaliser
    videos: Videos
    began: float
    origins: tuple[str, ...]
    draining: asyncio.Event


def edge_of(request: Request[Any, Any, Any]) -> Edge:
    """Return the objects of the app that serves the request. Cheaper than Litestar's dependency injection."""
    return request.app.state.edge
