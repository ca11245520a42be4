"""The objects that the routes work with. `app` makes one `Edge` for the process and hands it to every route."""

import asyncio
from dataclasses import dataclass
from typing import Any

from litestar import Request

from contracts.broker import Bus
from contracts.stores import Store
from contracts.tenant import Tenant
from services.edge.auth.caller import Caller
from services.edge.auth.keys import Keys
from services.edge.auth.owners import Owners
from services.edge.body.bodies import Bodies
from services.edge.canary import Canary
from services.edge.identities import Identities
from services.edge.image.late_fetcher import LateFetcher
from services.edge.image.normalise import Normaliser
from services.edge.jobs import Jobs
from services.edge.live.follow import Follower
from services.edge.numbers import EdgeNumbers
from services.edge.videos import Videos
from services.edge.views import Views
from services.edge.webhooks import Webhooks


@dataclass(frozen=True)
class Edge:
    """The parts that the routes of an edge work with, all open for as long as the app's lifetime lasts.

    `began` is the start of the edge by the monotonic clock, in seconds. `origins` are the foreign origins whose pages
    may send requests. `keys` is None where no key is asked for. `jobs_max` is how many unfinished jobs a tenant without
    a limit of its own may have, None for any number. `inputs` is the store with the pictures of jobs. `draining` is set
    once the edge is stopping.
    """

    broker: Bus
    canary: Canary
    identities: Identities
    jobs: Jobs
    follower: Follower
    bodies: Bodies
    fetcher: LateFetcher
    normaliser: Normaliser
    views: Views
    videos: Videos
    webhooks: Webhooks
    keys: Keys | None
    owners: Owners
    inputs: Store
    numbers: EdgeNumbers
    began: float
    origins: tuple[str, ...]
    jobs_max: int | None
    draining: asyncio.Event

    def tenant_of(self, caller: Caller) -> Tenant:
        """Return whose a caller's submissions are, with the tenant's own limit of unfinished jobs or the edge's."""
        return Tenant(caller.tenant, caller.jobs_max or self.jobs_max)


def edge_of(request: Request[Any, Any, Any]) -> Edge:
    """Return the objects of the app that serves the request. Cheaper than Litestar's dependency injection."""
    return request.app.state.edge
